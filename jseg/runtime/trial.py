"""Imports Jittor in a separate process first, once for each configuration.

Jittor builds itself during its import. If it has to rebuild a part that is already running, it ends the
process and must be started again, and a failed import cannot be repeated. Neither may happen in a notebook or
a program that embeds jseg. So a configuration that has not been imported successfully before is tried in a
child process.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jseg.runtime.device import Device
from jseg.runtime.machine import cpu_name, instruction_sets
from jseg.runtime.shared_cache import interpreter
from jseg.runtime.versions import JITTOR_VERSION, installed_version
from jseg.runtime.waiting import PROGRESS, StatusLine, building_sentence, waiting_sentence

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from jseg.runtime.environment import prepare_jittor
from jseg.runtime.exchange import exchange_problem
from jseg.runtime.trial import process_kept
prepare_jittor()
sys.path[:0] = [place for place in sys.argv[2:3] if place]
with process_kept():
    import jittor
if sys.argv[3] == "cuda":
    jittor.flags.use_cuda = 1
problem = exchange_problem(jittor)
if problem:
    sys.exit(f"Error: {problem}")
print("IMPORTED", flush=True)
"""
# The first attempt may rebuild Jittor's bootstrap library and end with status 0 without having imported
# anything.
_ATTEMPTS = 2
_QUIET_SECONDS = 10.0  # an import without building takes less
# Variables that Jittor reads besides cc_path and those that begin with use_, and those that identify a rank
# of mpirun.
_VARIABLES = (
    "cc_flags",
    "kernel_flags",
    "nvcc_path",
    "nvcc_flags",
    "cuda_archs",
    "conv_opt",
    "cache_name",
    "debug",
    "enable_lto",
    "python_config_path",
)
_MPI = ("OMPI_", "PMIX_", "PMI_", "PRTE_")


@contextmanager
def process_kept() -> Iterator[None]:
    """Within this context, Jittor's import cannot replace this process by another program.

    It does so to change LD_LIBRARY_PATH if it has downloaded CUDA before, but also works without. Warnings of
    Python 3.12 about backslashes in Jittor's comments are disabled.
    """

    def refuse(*_: object) -> None:
        raise RuntimeError("jseg keeps Jittor from starting the program anew")

    kept, os.execl = os.execl, refuse
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            yield
    finally:
        os.execl = kept


def configuration_key(device: Device, place: str, compiler: str) -> str:
    """Digest of everything that determines what Jittor builds and loads.

    Args:
        device: the selected device.
        place: folder that Jittor is imported from.
        compiler: path and version of the C++ compiler.
    """
    chosen = {
        name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith("use_")
    }
    chosen.pop("use_mpi", None)  # does not change the core
    parts = [
        place,
        compiler,
        device.line,
        sys.version,
        f"NumPy {installed_version('numpy')}",
        platform.platform(),
        platform.node(),
        cpu_name(),
        instruction_sets(),
        *sorted(map("=".join, chosen.items())),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def try_import(cache: Path, key: str, place: Path | None, device: Device) -> str:
    """Imports Jittor in a child process, unless this configuration has been imported before.

    Args:
        cache: Jittor's cache folder, which contains a file for each working configuration.
        key: `configuration_key`.
        place: folder that Jittor is imported from, or None for its own.
        device: the selected device.

    Returns:
        "" if Jittor can be imported, else the most informative line of the output, with the file of the whole
        output.

    Raises:
        OSError: if the cache cannot be written.
    """
    mark = mark_of(cache, key)
    if mark.is_file():
        return ""
    mark.parent.mkdir(parents=True, exist_ok=True)
    output = import_in_child(place, device)
    if output:
        log = mark.with_suffix(".log")
        log.write_text(output, encoding="utf-8")
        return f"{_most_telling(output)}; the complete output is in {log}"
    mark.with_suffix(".log").unlink(missing_ok=True)
    mark.touch()
    return ""


def mark_of(cache: Path, key: str) -> Path:
    """Returns the file that marks a configuration as imported. Without it, the next process tries again. It
    is removed together with Jittor's build."""
    return cache / f"jt{JITTOR_VERSION}" / "imported" / key


def import_in_child(place: Path | None, device: Device) -> str:
    """Imports Jittor in a child process, which builds what is missing.

    Args:
        place: folder that Jittor is imported from, or None for its own.
        device: the selected device.

    Returns:
        "" after a successful import, else the output of the child.
    """
    command = [
        interpreter(),
        "-c",
        _PROGRAM,
        json.dumps([str(entry) for entry in sys.path]),
        str(place or ""),
        device.kind,
    ]
    text = ""
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryFile() as output:
            try:
                status = _run(command, output)
            except OSError as error:
                return f"OSError: {command[0]} cannot be started: {error}"
            output.seek(0)
            text = output.read().decode(errors="replace")
        if status or "IMPORTED" in text:
            break
    if status == 0 and "IMPORTED" in text:
        return ""
    return f"{text}\n{_ending(status)}"


def _run(command: list[str], output) -> int:
    with tempfile.TemporaryDirectory(prefix="jseg-") as folder:
        progress = Path(folder, "progress")
        environment = {**_environment(os.environ), PROGRESS: str(progress)}
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        line, seconds = StatusLine(), _QUIET_SECONDS
        try:
            while True:
                try:
                    return process.wait(seconds)
                except subprocess.TimeoutExpired:
                    seconds = 1.0 if sys.stderr.isatty() else _QUIET_SECONDS
                    if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0":
                        line.show(waiting_sentence(process.pid) or building_sentence(progress))
        finally:
            line.clear()
            if process.poll() is None:  # Ctrl-C
                process.kill()
                process.wait()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns variables without those that would make the child a rank of mpirun. The core does not depend on
    MPI."""
    return {**{name: value for name, value in variables.items() if not name.startswith(_MPI)}, "use_mpi": "0"}


def _ending(status: int) -> str:
    if status < 0:
        return f"ended by signal {-status}"
    return (
        f"exit status {status}" if status else "Jittor rebuilt itself twice in a row; remove its cache folder"
    )


def _most_telling(text: str) -> str:
    """Returns the last line that contains an error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1])[:200]
