"""Reports on one screen what jseg found on this machine and how to fix what is missing.

This module needs only the standard library, so that it also runs before anything is installed. Jittor is
imported only by the self-test, in a process of its own.
"""

import contextlib
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jseg
from jseg.doctor import selftest_process
from jseg.runtime import environment, machine, versions
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.damage import all_libraries, remove_damaged
from jseg.runtime.device import VARIABLE
from jseg.runtime.shared_cache import place_of_jittor

OK, MISSING, NOTE = "ok", "missing", "note"
COLUMNS = 100
ROOT = Path(jseg.__file__).resolve().parents[1]

_GIB = 1 << 30
_CACHE_BYTES = 2 * _GIB  # Jittor and the kernels of a few models, with a margin
# With these, mpirun starts processes in another way.
_SSH_VARIABLES = {"OMPI_MCA_plm", "OMPI_MCA_plm_rsh_agent", "SLURM_JOB_ID"}
_SETTLED = 60.0  # seconds; the linker of a running job may still write newer files
_MEMORY_BYTES = 2 * _GIB  # two compilers, or training of a small model


@dataclass(frozen=True)
class Finding:
    """One line of the report. `mark` is OK, MISSING (jseg cannot work) or NOTE, and `fix` is a command. The
    text is cut to the width of the screen unless `whole` is set."""

    mark: str
    name: str
    text: str
    fix: str | None = None
    whole: bool = False


def diagnose() -> list[Finding]:
    """Runs all checks that do not start Jittor, in the order of the report."""
    checks: tuple[Callable[[], Finding], ...] = (
        _system,
        _python,
        _jseg,
        _jittor,
        _numpy,
        _packages,
        _compiler,
        _python_headers,
        _onednn,
        _open_mpi,
    )
    return [*(check() for check in checks), *_cuda(), _cache(), _libraries(), _cpu(), _memory()]


def report(
    self_test: bool = True, patience: float = 1800.0, write: Callable[[str], None] = print
) -> list[Finding]:
    """Prints the report.

    Args:
        self_test: also compute something with Jittor. The first run compiles Jittor.
        patience: seconds without progress after which the self-test is ended.
        write: function that prints one line of text.

    Returns:
        All lines. jseg works if none is marked MISSING.
    """
    shown: set = set()
    findings = diagnose()
    for finding in findings:
        _write(finding, shown, write)
    if not self_test:
        findings.append(Finding(NOTE, "self-test", "not run (--no-self-test)"))
    elif any(finding.mark == MISSING for finding in findings):
        findings.append(Finding(NOTE, "self-test", "not run: fix the missing items above first"))
    else:
        if not _core_is_compiled():
            write("         (first run: Jittor now compiles itself, 3-4 minutes on two cores)")
            sys.stdout.flush()
        findings.append(
            _self_test(patience, any(found.name == "CUDA" and found.mark == OK for found in findings))
        )
    _write(findings[-1], shown, write)
    problems = sum(finding.mark == MISSING for finding in findings)
    write(
        f"{problems} problem{'s' * (problems > 1)}: follow the lines marked fix, then run this again"
        if problems
        else "everything required is present and works"
    )
    return findings


def _write(finding: Finding, shown: set, write: Callable[[str], None]) -> None:
    """Prints one line, cut or wrapped to the screen, and below it the fix: not cut, so that it can be copied,
    and only once if several lines share it."""
    start = f"{finding.mark:<8} {finding.name:<11} "
    line = start + " ".join(finding.text.split())
    if finding.whole:
        for part in textwrap.wrap(
            line, COLUMNS, subsequent_indent=" " * len(start), break_long_words=False, break_on_hyphens=False
        ):
            write(part)
    else:
        write(line if len(line) <= COLUMNS else line[: COLUMNS - 3] + "...")
    if finding.fix and finding.fix not in shown:
        shown.add(finding.fix)
        write(f"         fix: {finding.fix}")


def _install_command() -> str:
    """Command that installs jseg with all dependencies into this virtual environment, or into a new one."""
    if sys.prefix == sys.base_prefix and (ROOT / "Makefile").is_file():
        return _make("setup")
    return _pip(f"-e {_short(ROOT)}" if (ROOT / "setup.py").is_file() else "--force-reinstall jseg")


def _make(target: str) -> str:
    folder = _short(ROOT)
    return f"make {target}" if folder == "." else f"make -C {folder} {target}"


def _pip(what: str) -> str:
    return f"{_short(Path(sys.executable))} -m pip install {what}"


def _pip_command(hint: str) -> str:
    """`pip install ...` for this Python."""
    return _pip(hint.split(" install ", 1)[1])


def _wheel_command(hint: str) -> str:
    """`_pip_command`, or before jseg is installed, the command that installs everything."""
    return _pip_command(hint) if versions.installed_version("jittor") else _install_command()


def _short(path: Path) -> str:
    """The path for a command line: relative if it is inside the current folder."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except (ValueError, OSError):
        return shlex.quote(str(path))


def _system() -> Finding:
    name = platform.platform()
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
        pretty = next(line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME="))
        name = f"{pretty} ({name})"
    except (OSError, StopIteration):
        pass
    return Finding(
        OK if sys.platform == "linux" else NOTE,
        "system",
        name if sys.platform == "linux" else f"{name}: jseg is only tested on Linux",
    )


def _python() -> Finding:
    refusal = versions.python_refusal()
    if refusal:
        return Finding(
            MISSING, "Python", f"{sys.executable}: {refusal.text}", _make(refusal.fix.split(" ", 1)[1])
        )
    return Finding(OK, "Python", f"{platform.python_version()} at {sys.executable}")


def _jseg() -> Finding:
    return Finding(OK, "jseg", f"{jseg.__version__} at {ROOT}")


def _jittor() -> Finding:
    version = versions.installed_version("jittor")
    if version is None:
        # pip cannot resolve Jittor's metadata for every Python, so jseg may be installed without it.
        alone = versions.installed_version("jseg") is not None
        fix = _pip_command(versions.INSTALL_JITTOR) if alone else _install_command()
        return Finding(MISSING, "Jittor", "not installed in this Python", fix)
    refusal = versions.jittor_refusal(version)
    if not refusal and place_of_jittor(environment.jittor_cache()) is None:
        refusal = versions.original_refusal(versions.installed_version("numpy"))
    if refusal:
        return Finding(MISSING, "Jittor", refusal.text, _pip_command(refusal.fix), whole=True)
    return Finding(OK, "Jittor", version)


def _numpy() -> Finding:
    version = versions.installed_version("numpy")
    if version is None:
        return Finding(MISSING, "NumPy", "not installed in this Python", _install_command())
    refusal = versions.numpy_refusal(version)
    if refusal:
        return Finding(MISSING, "NumPy", refusal.text, _pip_command(refusal.fix))
    return Finding(OK, "NumPy", version)


def _packages() -> Finding:
    found = {
        name: versions.installed_version(name) for name in ("pillow", "ftfy", "regex", "tqdm", "astunparse")
    }
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return Finding(MISSING, "packages", f"not installed: {', '.join(missing)}", _install_command())
    return Finding(OK, "packages", ", ".join(f"{name} {version}" for name, version in found.items()))


def _reason(found: environment.Found) -> str:
    """The problem without the hint that follows it, which is shown as the fix."""
    return found.note.split("; ")[0]


def _compiler() -> Finding:
    found = environment.find_compiler()
    if found.path is None:
        return Finding(MISSING, "compiler", _reason(found), found.note.split("; ")[-1])
    return Finding(OK, "compiler", f"{found.path}: {found.note}")


def _python_headers() -> Finding:
    found = environment.find_python_headers()
    if found.path is None:
        return Finding(MISSING, "headers", _reason(found), environment.headers_hint())
    return Finding(OK, "headers", str(found.path))


def _onednn() -> Finding:
    if os.environ.get("use_mkl", "1") != "1":
        return Finding(NOTE, "oneDNN", "switched off by use_mkl: matrix products are slow", "unset use_mkl")
    found = environment.find_onednn()
    if found.path is None:
        fix = _wheel_command(environment.ONEDNN_HINT)
        return Finding(MISSING, "oneDNN", _reason(found), fix)
    return Finding(OK, "oneDNN", f"{found.note} in {found.path}")


def _open_mpi() -> Finding:
    found = environment.find_mpicc()
    if found.path is None:
        fix = _wheel_command(environment.MPI_HINT)
        return Finding(NOTE, "Open MPI", _reason(found), fix)
    version = versions.installed_version("mpi4py")
    if version is None:
        text = "mpi4py is not installed (only needed for training with mpirun)"
        return Finding(NOTE, "Open MPI", text, _wheel_command("pip install mpi4py"))
    if not any(shutil.which(name) for name in ("ssh", "rsh")) and not _SSH_VARIABLES & os.environ.keys():
        text = "mpirun does not start without ssh, even on one machine"
        return Finding(NOTE, "Open MPI", text, "apt-get install openssh-client")
    return Finding(OK, "Open MPI", f"{found.note} at {found.path.parent}, mpi4py {version}")


def _cuda() -> list[Finding]:
    compiler = environment.find_compiler().path
    lines = cuda_lines(environment.jittor_cache(), str(compiler) if compiler else None)
    marks = [OK if line.usable else NOTE for line in lines]
    if not lines[0].usable and os.environ.get(VARIABLE) == "cuda":
        marks[0] = MISSING
    return [Finding(mark, line.name, line.text, line.fix, whole=True) for mark, line in zip(marks, lines)]


def _cache() -> Finding:
    folder = environment.jittor_cache()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        return Finding(
            MISSING,
            "cache",
            f"{folder}: {existing} is not writable",
            f'sudo chown -R "$(id -un)" {shlex.quote(str(existing))}',
        )
    free = shutil.disk_usage(existing).free
    text = f"{folder}: {_folder_bytes(folder) / _GIB:.1f} GiB used, {free / _GIB:.1f} GiB free, writable"
    if free < _CACHE_BYTES:
        return Finding(NOTE, "cache", text, f"free some space: kernels may need {_CACHE_BYTES // _GIB} GiB")
    return Finding(OK, "cache", text)


def _libraries() -> Finding:
    """Checks the compiled files, which a power failure or a full disk may have left truncated. Jittor builds
    the removed ones again."""
    libraries = all_libraries(environment.jittor_cache())
    limit = time.time() - _SETTLED
    try:
        damaged = remove_damaged(path for path in libraries if path.lstat().st_mtime < limit)
    except OSError as error:
        return Finding(NOTE, "compiled", f"damaged files cannot be removed: {error}", whole=True)
    if damaged:
        return Finding(
            NOTE,
            "compiled",
            f"{len(damaged)} of {len(libraries)} libraries were damaged and have been removed",
        )
    return Finding(OK, "compiled", f"{len(libraries)} libraries in the cache, none damaged")


def _folder_bytes(folder: Path) -> int:
    """Size of the files in a folder. Files that Jittor removes in the meantime count as 0."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total


def _cpu() -> Finding:
    cores = machine.usable_cores()
    return Finding(OK, "CPU", f"{machine.cpu_name()}, {cores} core{'s' * (cores > 1)} usable")


def _memory() -> Finding:
    sizes = machine.memory()
    if sizes is None:
        return Finding(NOTE, "memory", "unknown: the kernel does not report it")
    text = f"{sizes[0] / _GIB:.1f} GiB available of {sizes[1] / _GIB:.1f} GiB"
    if sizes[0] < _MEMORY_BYTES:
        return Finding(NOTE, "memory", text, f"close programs: {_MEMORY_BYTES // _GIB} GiB should be free")
    return Finding(OK, "memory", text)


def _core_is_compiled() -> bool:
    """Whether the cache contains Jittor's compiled core for this Python and this installation."""
    cache = environment.jittor_cache()
    copy, spec = place_of_jittor(cache), importlib.util.find_spec("jittor_utils")
    if spec is None or spec.origin is None:
        return False
    key = selftest_process.place_key(str(copy / "jittor_utils" / "__init__.py") if copy else spec.origin)
    folder = f"{key}/{environment.cache_name()}"
    return any(cache.glob(f"jt*/*/py{platform.python_version()}/*/*/{folder}/jittor_core*.so"))


def _self_test(patience: float, on_cuda: bool) -> Finding:
    """Runs the self-test and turns its outcome into a finding. `on_cuda`: a usable GPU was found."""
    outcome = selftest_process.run(patience, environment.jittor_cache(), ROOT)
    if outcome.result is None:
        return Finding(MISSING, "self-test", outcome.problem, outcome.fix, whole=True)
    result = outcome.result
    if result["wrong"]:
        worst = ", ".join(f"{name} (error {result['errors'][name]:.1e})" for name in result["wrong"])
        return Finding(
            MISSING,
            "self-test",
            f"differs from NumPy: {worst}",
            f"rm -r {shlex.quote(str(environment.jittor_cache() / ('jt' + versions.JITTOR_VERSION)))}",
        )
    seconds = f"import {result['import_seconds']:.0f} s, checks {result['check_seconds']:.0f} s"
    if on_cuda and result["device"] != "CUDA":
        return Finding(
            NOTE,
            "self-test",
            f"passed, but without CUDA: {result['line']}",
            "python tools/doctor.py --device cuda   (shows the whole error)",
            whole=True,
        )
    return Finding(
        OK, "self-test", f"operators and gradients match NumPy on the {result['device']} ({seconds})"
    )
