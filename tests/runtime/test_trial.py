"""Importing jseg's backend never replaces or ends the process, whatever Jittor does during its import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime import overlay
from jseg.runtime.environment import find_compiler

ROOT = Path(__file__).resolve().parents[2]

# An imitation of Jittor: notes who imports it, and behaves as the
# environment says for the import of that number.
_JITTOR = """
import os, sys
with open(os.environ["NOTES"], "a") as notes:
    notes.write(f"{os.getpid()}\\n")
number = len(open(os.environ["NOTES"]).readlines())
behaviour = os.environ["BEHAVIOUR"].split()
action = behaviour[number - 1] if number <= len(behaviour) else "work"
if action == "rebuild":
    print("jit_utils updated, please rerun your command.")
    sys.exit(0)
if action == "fail":
    raise RuntimeError("compiler error 42")
if action == "replace":  # as jittor_utils.install_cuda does
    try:
        os.execl(sys.executable, sys.executable, "-c", "print('REPLACED')")
    except:
        pass
nn = None


class flags:
    use_cuda, cc_path, cc_flags = 0, "g++", ""


class array:
    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values * (2 if action == "compute-wrong-values" else 1)

"""
_PROGRAM = """
import os
before = os.getpid()
try:
    import jseg.runtime.backend
    print("IMPORTED", os.getpid() == before)
except OSError as error:
    print("REFUSED", os.getpid() == before, error)
"""


@pytest.fixture
def start(tmp_path):
    """start("rebuild work") -> what a program that imports the backend prints, and who imported Jittor."""
    site, notes = tmp_path / "site", tmp_path / "notes"
    for name, text in (
        *((name, "") for name, _, _ in overlay.EDITS),
        ("jittor/__init__.py", _JITTOR),
        ("jittor/compiler.py", ""),
        ("jittor_utils/__init__.py", "pool_size = 0\n"),
        ("jittor-1.3.11.0.dist-info/METADATA", "Name: jittor\nVersion: 1.3.11.0\n"),
        ("jittor-1.3.11.0.dist-info/RECORD", "jittor/__init__.py,sha256=abc,5\n"),
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    unset = ("JITTOR_HOME", "JSEG_PYTHON", "cc_path")  # Jittor sets the last one in a process that imports it
    kept = {name: value for name, value in os.environ.items() if name not in unset}

    def run(behaviour: str, before: str = "", after: str = "") -> tuple[str, int]:
        notes.write_text("")
        environment = {
            **kept,
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))),
            "NOTES": str(notes),
            "BEHAVIOUR": behaviour,
        }
        done = subprocess.run(
            [sys.executable, "-c", "\n".join((before, _PROGRAM, after))],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1], len(notes.read_text().split())

    return run


def test_a_rebuild_happens_in_a_child_and_once(start):
    assert start("rebuild work") == ("IMPORTED True", 3)  # two attempts of children, then this process
    assert start("work") == ("IMPORTED True", 1)  # the configuration is known to work


def test_another_compiler_of_the_same_version_is_another_configuration(start, tmp_path):
    """Jittor would rebuild itself in the importing process, which ended the program at each change."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "g++").symlink_to(find_compiler().path)
    first = "import os; os.environ['PATH'] = '{}' + os.pathsep + os.environ['PATH']"
    assert [start("work", first.format(tmp_path / name))[1] for name in "abab"] == [2, 2, 1, 1]
    chosen = (
        f"import os; os.environ['cc_path'] = '{tmp_path / 'a' / 'g++'}'"  # Jittor sets it for child processes
    )
    assert start("work", chosen) == ("IMPORTED True", 1)


def test_jittor_cannot_start_the_program_anew(start):
    assert start("replace replace") == ("IMPORTED True", 2)


def test_a_path_object_on_the_search_path_does_no_harm(start):
    assert start("work", "import pathlib, sys; sys.path.append(pathlib.Path('/nowhere'))") == (
        "IMPORTED True",
        2,
    )


def test_a_jittor_that_was_imported_before_is_taken_as_it_is(start):
    """No second build; operators divide exactly from now on."""
    text, imports = start(
        "work", "import jittor; jittor.flags.cc_flags = '-O2'", "print(jittor.flags.cc_flags)"
    )
    assert imports == 1 and "-fno-reciprocal-math" in text.split()


def test_an_import_that_fails_is_one_sentence_and_is_tried_again(start, tmp_path):
    for _ in range(2):
        text, imports = start("fail")
        assert text.startswith("REFUSED True") and "compiler error 42" in text and imports == 1
        log = next((tmp_path / ".cache/jittor").rglob("*.log"))
        assert str(log) in text and "Traceback" in log.read_text()
    assert start("work work") == ("IMPORTED True", 2)
    assert not list((tmp_path / ".cache/jittor").rglob("*.log"))


@pytest.mark.parametrize("before", ["", "import jittor"])
def test_a_jittor_that_gets_other_values_is_refused(start, before):
    """Without preparation, Jittor raises no error with NumPy 2 and computes with wrong values."""
    text, imports = start("compute-wrong-values", before)
    assert text.startswith("REFUSED True") and "float32" in text and "pip install 'numpy<2'" in text
    assert imports == 1


def test_a_rebuild_without_end_is_refused(start):
    text, imports = start("rebuild rebuild rebuild")
    assert text.startswith("REFUSED True") and imports == 2


@pytest.mark.parametrize("behaviour", ["rebuild", "fail"])
def test_what_no_longer_works_is_refused_and_looked_at_anew(start, behaviour):
    """For example, the cache was damaged after the first import."""
    start("work")
    text, imports = start(behaviour)
    assert text.startswith("REFUSED True") and imports == 1
    assert start("rebuild work") == ("IMPORTED True", 3)
