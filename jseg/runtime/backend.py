"""The one place from which jseg imports Jittor: `from jseg.runtime.backend import jt, nn`.

The first import on a machine compiles Jittor's core (minutes on two cores) into its cache, in a child
process: this one is never replaced or ended.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jseg.runtime.cuda.prepare import FAILED
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
from jseg.runtime.waiting import wait_announced
from jseg.runtime.shared_cache import first_on_path
from jseg.runtime.trial import configuration_key, mark_of, process_kept, try_import


def _import_jittor():
    if "jittor" in sys.modules:
        return _adopted(sys.modules["jittor"])
    device, place, key = _importable()
    if device.warning:
        _warn(device.warning)
    try:
        with first_on_path(place), process_kept(), _interrupt_kept(), wait_announced(_tell):
            import jittor
        if place is not None:
            jittor.flags.python_path = str(place / "python")
        if device.kind == "cuda":
            jittor.flags.use_cuda = 1
            jittor.flags.use_tensorcore = int(wanted_precision() == "tf32")
    except (Exception, SystemExit) as error:
        # It was imported in this configuration before. Jittor cannot be imported twice by a process, and it
        # leaves with SystemExit(0) after it has rebuilt itself: the next process shall look again, in a
        # child.
        with contextlib.suppress(OSError):
            mark_of(jittor_cache(), key).unlink(missing_ok=True)
        reason = str(error) if isinstance(error, Exception) else "it has rebuilt a part of itself"
        raise EnvironmentProblem(f"Jittor does not start: {reason}; start the program again") from error
    finally:
        _restore_signals()
    _end_compiler_processes()
    _compare_arrays(jittor)
    return jittor, device


def _adopted(jittor: ModuleType) -> tuple[ModuleType, Device]:
    """Jittor as the program had imported it before jseg: built and configured by itself. What jseg asks of
    operators is added for those that are compiled from now on."""
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
    """The device, the folder that Jittor is imported from and the key of the configuration, after a child
    process has imported it once; the CPU takes the place of a GPU that fails, unless it was asked for."""
    device = prepare_jittor()
    place = shared_jittor()
    key = configuration_key(device, str(place or sys.prefix), find_compiler().note)
    try:
        problem = try_import(jittor_cache(), key, place, device)
    except OSError as error:
        raise unwritable_cache(error) from error
    if not problem:
        return device, place, key
    if device.kind == "cpu":
        raise EnvironmentProblem(f"Jittor does not start: {problem}")
    reason = f"Jittor does not start with CUDA ({problem})"
    if wanted_device() == "cuda" or launched_by_mpi():
        raise EnvironmentProblem(f"{reason}; --device cpu does without")
    _warn(f"{reason}; computing on the CPU")
    os.environ[FAILED] = reason
    return _importable()


def _warn(text: str) -> None:
    _tell(f"warning: {text}")


def _tell(text: str) -> None:
    rank = os.environ.get("OMPI_COMM_WORLD_RANK")
    print(f"{text}{f' (rank {rank})' if rank else ''}", file=sys.stderr, flush=True)


def _end_compiler_processes() -> None:
    """Ends the pool of processes in which Jittor compiles while it is imported.

    Jittor keeps it, and when a signal to the whole process group (a batch system's, a terminal's) ends these
    processes, its cleanup at exit waits for them for ever. Should Jittor need a pool again, it makes another.
    """
    import jittor_utils

    if jittor_utils.pool_size:
        atexit.unregister(jittor_utils.pool_cleanup)
        jittor_utils.pool_cleanup()
        jittor_utils.pool_size = 0


@contextlib.contextmanager
def _interrupt_kept() -> Iterator[None]:
    """Keeps Jittor from claiming Ctrl-C while it is imported, for its handler ends the process at once.

    It leaves SIGINT alone below Jupyter, which it knows by this variable (Jittor 1.3.11, utils/log.cc). Its
    compiler processes, which inherit the handler, are ended by this one.
    """
    own, set_here = os.getpid(), "JPY_PARENT_PID" not in os.environ

    def interrupt(*_: object) -> None:
        if os.getpid() == own:
            _restore_signals()  # children end with this process
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
    """Asked for every module that Jittor imports: takes back what the libraries among them have claimed."""

    @staticmethod
    def find_spec(*_: object) -> None:
        _restore_signals()


def _restore_signals() -> None:
    """Take back SIGCHLD, which Jittor claims while it is imported.

    Its handler ends the whole process when any child process dies, before anybody can say which one it was.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


jt, device = _import_jittor()
nn = jt.nn
