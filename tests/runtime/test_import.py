"""`import jseg` is fast: it works in any folder, and only modules that compute load Jittor."""

import json
import subprocess
import sys
from pathlib import Path

import jseg

_WITHOUT_JITTOR = (
    "jseg",
    "jseg.registry",
    "jseg.config",
    "jseg.datasets",
    "jseg.drawn",
    "jseg.evaluation",
    "jseg.inference",
    "jseg.inference.stored_masks",
    "jseg.checkpoints",
    "jseg.visualization",
    "jseg.runtime",
    "jseg.runtime.environment",
    "jseg.doctor.report",
    "jseg.cli.main",
    "jseg.parity",
    "jseg.gpu_check",
)
_PROGRAM = """
import importlib, json, sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
import jseg
seconds = time.perf_counter() - start
guilty = []
for name in sys.argv[2:]:
    importlib.import_module(name)
    if any(module in sys.modules for module in ("jittor", "jittor_utils", "jseg.runtime.backend")):
        guilty.append(name)
        break
print(json.dumps([seconds, guilty]))
"""


def test_import_from_another_folder_is_fast_and_leaves_jittor_alone(tmp_path):
    root = str(Path(jseg.__file__).resolve().parents[1])
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, root, *_WITHOUT_JITTOR],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    seconds, guilty = json.loads(run.stdout)
    assert guilty == []
    assert seconds < 1.0
    assert list(tmp_path.iterdir()) == []


def test_doctor_starts_without_any_package(tmp_path):
    """Before `pip install`: -S hides site-packages, -E the user's variables."""
    script = Path(jseg.__file__).resolve().parents[1] / "tools" / "doctor.py"
    run = subprocess.run(
        [sys.executable, "-S", "-E", str(script), "--no-self-test"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1 and run.stderr == ""
    assert "missing  Jittor" in run.stdout and "fix: " in run.stdout


def test_signals_are_ours_after_jittor_is_loaded():
    """Jittor ends the process at once when a child is killed and on Ctrl-C; a dead loader worker could not be
    named, and `--resume` not be offered."""
    # Set first: a suite started in the background inherits an
    # ignored SIGINT, which would rightly stay ignored.
    program = (
        "import subprocess, os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from jseg.runtime.backend import jt\n"
        "child = subprocess.Popen(['sleep', '60'])\nchild.kill()\nchild.wait()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    import time; time.sleep(5)\n"
        "except KeyboardInterrupt:\n    print('still here')\n"
    )
    root = str(Path(jseg.__file__).resolve().parents[1])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert run.stdout.strip().endswith("still here"), run.stderr


def test_ctrl_c_while_jittor_is_imported():
    """Jittor's handler used to end the process with status 1 and its own message."""
    program = (
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from jseg.runtime.command import exit_status\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'jittor.dataset':\n"  # its core is loaded by then
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "def load():\n    from jseg.runtime.backend import jt\n"
        "sys.exit(exit_status(load))\n"
    )
    root = str(Path(jseg.__file__).resolve().parents[1])
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=300
    )
    said = run.stderr.splitlines()  # maybe also that it waits for another process
    assert (run.returncode, run.stdout, said[-1]) == (
        130,
        "",
        "interrupted",
    ) and "Traceback" not in run.stderr


def test_jittor_leaves_no_processes_and_no_open_https_behind():
    """The compiler processes started during the import would block the exit of a program whose whole process
    group is stopped. Jittor also switches off the check of certificates for everything in its process."""
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from jseg.runtime.backend import jt; "
        "print('children:', open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read().split()); "
        "import ssl; print(ssl._create_default_https_context is ssl.create_default_context)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(Path(jseg.__file__).resolve().parents[1])],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-2:] == ["children: []", "True"]
