"""A data loading process: `python -m jseg.datasets.worker`, started and fed by `jseg.datasets.loader`.

Reads pickles from stdin: first (data set, skip_unreadable), then requests, each a list of (index, epoch);
answers every request on stdout with ('batch', dict) or ('error', kind, message). Ends when stdin does, and at
once when its parent dies, even if it hangs in a read. It never runs the parent's main script, so it never
imports what that imports, such as Jittor.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import traceback
from typing import Any

from jseg.datasets.batch import load_batch, user_error

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serve requests until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these may reach every process of a job; the parent decides
    _die_with_parent()
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not end up between the pickles
    try:
        try:
            dataset, skip_unreadable = pickle.load(requests)
        except Exception as problem:
            _send(replies, _failure(problem, "the data set cannot be loaded in a worker process: "))
            return
        while True:
            try:
                wanted = pickle.load(requests)
            except EOFError:
                return
            try:
                reply: tuple[Any, ...] = ("batch", load_batch(dataset, wanted, skip_unreadable))
            except Exception as problem:
                reply = _failure(problem)
            _send(replies, reply)
    except BrokenPipeError:
        os._exit(0)  # the parent has left; there is nobody to flush to


def _die_with_parent() -> None:
    """Asks Linux for SIGKILL when the parent ends; elsewhere the end of stdin has to do."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _failure(problem: Exception, prefix: str = "") -> tuple[str, str, str]:
    # Errors a user can cause keep their kind on the way to the
    # parent; the others arrive with their traceback.
    kind = user_error(problem)
    if kind is None:
        return "error", "RuntimeError", prefix + traceback.format_exc()
    return "error", kind.__name__, prefix + str(problem)


def _send(stream: Any, reply: tuple[Any, ...]) -> None:
    pickle.dump(reply, stream, protocol=5)
    stream.flush()


if __name__ == "__main__":
    main()
