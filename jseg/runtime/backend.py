"""The one place from which jseg imports Jittor: `from jseg.runtime.backend import jt, nn`.

The first import on a machine compiles Jittor's core (minutes on two cores) into its cache.
"""

import os
import signal
import sys
import threading

from jseg.runtime.environment import prepare_jittor

_RERUN_MARK = "JSEG_RERUN_AFTER_JITTOR_BUILD"


def _import_jittor():
    prepare_jittor()
    try:
        import jittor
    except SystemExit:
        # Jittor rebuilt its bootstrap library and asks to be run again, with exit status 0. A second
        # such exit is an error: without the mark a broken cache would loop here for ever.
        if os.environ.get(_RERUN_MARK):
            raise RuntimeError("Jittor rebuilt itself twice in a row; remove its cache folder and try again")
        os.environ[_RERUN_MARK] = "1"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ.pop(_RERUN_MARK, None)
    _restore_signals()
    return jittor


def _restore_signals() -> None:
    """Take back the signals that Jittor claims while it is imported.

    Its handlers end the whole process at once: on Ctrl-C without KeyboardInterrupt, and when any child process dies,
    before anybody can say which one it was.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT) or signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


jt = _import_jittor()
nn = jt.nn
