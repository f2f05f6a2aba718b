"""The one place from which jseg imports Jittor: `from jseg.runtime.backend import jt, nn`.

The first import on a machine compiles Jittor's core (minutes on two cores) into its cache.
"""

import os
import sys

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
    return jittor


jt = _import_jittor()
nn = jt.nn
