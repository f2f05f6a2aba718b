"""The one place from which jseg imports Jittor: `from jseg.runtime.backend import jt, nn`.

The first import on a machine compiles Jittor's core (minutes on two cores) into its cache.
"""

import atexit
import os
import signal
import sys
import threading

from jseg.runtime.cuda.prepare import FAILED
from jseg.runtime.device import wanted_device, wanted_precision
from jseg.runtime.environment import EnvironmentProblem, launched_by_mpi, prepare_jittor, shared_jittor
from jseg.runtime.shared_cache import first_on_path

_RERUN_MARK = "JSEG_RERUN_AFTER_JITTOR_BUILD"


def _import_jittor():
    device = prepare_jittor()
    if device.warning:
        rank = os.environ.get("OMPI_COMM_WORLD_RANK")
        print(f"warning: {device.warning}{f' (rank {rank})' if rank else ''}", file=sys.stderr, flush=True)
    copy = shared_jittor()
    try:
        with first_on_path(copy):
            import jittor
        if copy is not None:
            jittor.flags.python_path = str(copy / "python")
        if device.kind == "cuda":
            jittor.flags.use_cuda = 1
            jittor.flags.use_tensorcore = int(wanted_precision() == "tf32")
    except Exception as error:
        if device.kind == "cuda":
            _go_on_without_cuda(error)
        raise
    except SystemExit:
        # Jittor rebuilt its bootstrap library and asks to be run again, with exit status 0. A second
        # such exit is an error: without the mark a broken cache would loop here for ever.
        if os.environ.get(_RERUN_MARK):
            raise RuntimeError(
                "Jittor rebuilt itself twice in a row; remove its cache folder and try again"
            ) from None
        os.environ[_RERUN_MARK] = "1"
        _start_anew()
    os.environ.pop(_RERUN_MARK, None)
    _end_compiler_processes()
    _restore_signals()
    return jittor, device


def _start_anew() -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _go_on_without_cuda(error: Exception) -> None:
    """Starts this program again on the CPU, unless CUDA was asked for: Jittor cannot be imported a second
    time."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    named = next((line for line in reversed(lines) if "rror" in line), lines[0])
    reason = f"Jittor does not start with CUDA ({named[:200]})"
    if wanted_device() == "cuda" or launched_by_mpi():
        raise EnvironmentProblem(f"{reason}; --device cpu does without") from error
    print(f"warning: {reason}; computing on the CPU", file=sys.stderr, flush=True)
    os.environ[FAILED] = reason
    _start_anew()


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


def _restore_signals() -> None:
    """Take back the signals that Jittor claims while it is imported.

    Its handlers end the whole process at once: on Ctrl-C without KeyboardInterrupt, and when any child
    process dies, before anybody can say which one it was.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT) or signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


jt, device = _import_jittor()
nn = jt.nn
