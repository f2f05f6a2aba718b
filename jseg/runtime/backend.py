"""The only module from which jseg imports Jittor: `from jseg.runtime.backend import jt, nn`.

The first import on a machine compiles Jittor's core (minutes on two cores) into its cache. This happens in a
child process, so that Jittor never replaces or ends the current process.
"""

import atexit
import contextlib
import os
import signal
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jseg.runtime.cuda.prepare import FAILED
from jseg.runtime.damage import compile_problem, core_libraries, drop_unreadable_settings, remove_damaged
from jseg.runtime.device import Device, wanted_device, wanted_precision
from jseg.runtime.environment import (
    EnvironmentProblem,
    exact_division,
    find_compiler,
    jittor_cache,
    launched_by_mpi,
    prepare_jittor,
    shared_jittor,
    unwritable_cache,
)
from jseg.runtime.exchange import exchange_problem
from jseg.runtime.shared_cache import first_on_path
from jseg.runtime.trial import configuration_key, mark_of, process_kept, try_import
from jseg.runtime.waiting import wait_announced


def _import_jittor():
    if "jittor" in sys.modules:
        return _adopted(sys.modules["jittor"])
    device, place, key = _importable()
    if device.warning:
        _warn(device.warning)
    try:
        with first_on_path(place), process_kept(), _https_kept(), _interrupt_kept(), wait_announced(_tell):
            import jittor
        if place is not None:
            jittor.flags.python_path = str(place / "python")
        if device.kind == "cuda":
            jittor.flags.use_cuda = 1
            jittor.flags.use_tensorcore = int(wanted_precision() == "tf32")
            _copy_arrays_at_once(jittor)
    except (Exception, SystemExit) as error:
        # It was imported in this configuration before. Jittor cannot be imported twice in a process, and
        # exits with SystemExit(0) after rebuilding itself, so the next process must check again in a child.
        with contextlib.suppress(OSError):
            mark_of(jittor_cache(), key).unlink(missing_ok=True)
        reason = str(error) if isinstance(error, Exception) else "it rebuilt a part of itself"
        problem = compile_problem(reason, jittor_cache()) or f"{reason}; start the program again"
        raise EnvironmentProblem(f"Jittor does not start: {problem}") from error
    finally:
        _restore_signals()
    _end_compiler_processes()
    _compare_arrays(jittor)
    return jittor, device


def _copy_arrays_at_once(jittor: ModuleType) -> None:
    """Lets `jt.array` copy to the GPU without waiting for it.

    By default, Jittor 1.3.11 takes pinned memory for everything on the host, and then makes arrays on the
    CPU: each waits for the GPU, is copied from there before anything is in it, and copied back
    (src/pyjt/py_array_op.cc, src/executor.cc).
    """
    if "use_cuda_host_allocator" not in os.environ:
        jittor.flags.use_cuda_host_allocator = 0


def _adopted(jittor: ModuleType) -> tuple[ModuleType, Device]:
    """Returns Jittor as the program imported it before jseg, built and configured by itself. jseg's options
    are added for operators that are compiled from now on."""
    _compare_arrays(jittor)
    options = exact_division(jittor.flags.cc_path)
    if "recip" not in jittor.flags.cc_flags:
        jittor.flags.cc_flags = " ".join([jittor.flags.cc_flags, *options, ""])
    kind = "cuda" if jittor.flags.use_cuda else "cpu"
    return jittor, Device(kind, "as Jittor was set up before jseg was imported")


def _compare_arrays(jittor: ModuleType) -> None:
    problem = exchange_problem(jittor)
    if problem:
        raise EnvironmentProblem(problem)


def _importable() -> tuple[Device, Path | None, str]:
    """Returns the device, the folder that Jittor is imported from and the key of the configuration, after
    importing it once in a child process. If a GPU fails and was not requested, the CPU is used."""
    device = prepare_jittor()
    place = shared_jittor()
    compiler = find_compiler()
    key = configuration_key(device, str(place or sys.prefix), f"{compiler.path} {compiler.note}")
    try:
        _repair_cache(key)
        problem = try_import(jittor_cache(), key, place, device)
    except OSError as error:
        raise unwritable_cache(error) from error
    if not problem:
        return device, place, key
    if device.kind == "cpu":
        raise EnvironmentProblem(f"Jittor does not start: {problem}")
    reason = f"Jittor does not start with CUDA ({problem})"
    if wanted_device() == "cuda" or launched_by_mpi():
        raise EnvironmentProblem(f"{reason}; use --device cpu to compute without it")
    _warn(f"{reason}; computing on the CPU")
    os.environ[FAILED] = reason
    return _importable()


def _repair_cache(key: str) -> None:
    """Removes files that would keep Jittor from starting, so that the child process builds it again."""
    settings = drop_unreadable_settings(Path.home())
    damaged = remove_damaged(core_libraries(jittor_cache()))
    if damaged:
        mark_of(jittor_cache(), key).unlink(missing_ok=True)
    for path in [*damaged, *([settings] if settings else [])]:
        _warn(f"{path} was damaged and has been removed")


def _warn(text: str) -> None:
    _tell(f"warning: {text}")


def _tell(text: str) -> None:
    rank = os.environ.get("OMPI_COMM_WORLD_RANK")
    print(f"{text}{f' (rank {rank})' if rank else ''}", file=sys.stderr, flush=True)


def _end_compiler_processes() -> None:
    """Ends the pool of compiler processes that Jittor creates during its import.

    Jittor keeps the pool. If a signal to the whole process group (from a batch system or a terminal) ends
    these processes, Jittor's cleanup at exit waits for them forever. If Jittor needs a pool again, it creates
    another.
    """
    import jittor_utils

    if jittor_utils.pool_size:
        atexit.unregister(jittor_utils.pool_cleanup)
        jittor_utils.pool_cleanup()
        jittor_utils.pool_size = 0


@contextlib.contextmanager
def _https_kept() -> Iterator[None]:
    """Undoes that Jittor switches off the check of https certificates in the whole process (Jittor 1.3.11,
    jittor_utils/__init__.py)."""
    before = ssl._create_default_https_context
    try:
        yield
    finally:
        ssl._create_default_https_context = before


@contextlib.contextmanager
def _interrupt_kept() -> Iterator[None]:
    """Keeps Jittor from handling Ctrl-C during its import, since its handler ends the process immediately.

    Jittor does not handle SIGINT in Jupyter, which it recognises by this variable (Jittor 1.3.11,
    utils/log.cc). Its compiler processes inherit the handler, and are ended by this one.
    """
    own, set_here = os.getpid(), "JPY_PARENT_PID" not in os.environ

    def interrupt(*_: object) -> None:
        if os.getpid() == own:
            _restore_signals()  # child processes end with this one
            raise KeyboardInterrupt

    handled = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    os.environ.setdefault("JPY_PARENT_PID", str(os.getppid()))
    if handled:
        signal.signal(signal.SIGINT, interrupt)
    sys.meta_path.insert(0, _SignalKeeper)
    try:
        yield
    finally:
        sys.meta_path.remove(_SignalKeeper)
        if handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if set_here:
            del os.environ["JPY_PARENT_PID"]


class _SignalKeeper:
    """Called for every module that Jittor imports, to undo changes of signal handlers by libraries among
    them."""

    @staticmethod
    def find_spec(*_: object) -> None:
        _restore_signals()


def _restore_signals() -> None:
    """Restores SIGCHLD, which Jittor handles after its import.

    Jittor's handler ends the whole process when any child process dies, before anything can be reported.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


jt, device = _import_jittor()
nn = jt.nn
