"""A data loading process: `python -m jseg.datasets.worker`, started and fed by `jseg.datasets.ahead`.

Reads pickles from stdin: first (dataset, load), then requests, each a list of (index, epoch). Answers every
request on stdout with ('loaded', load(dataset, request)) or ('error', kind, message), or with ('no dataset',
kind, message) if the first pickle cannot be loaded. Ends when stdin is closed, or immediately when its parent
dies, even if it hangs in a read. It never runs the parent's main script, so it does not import its
dependencies, such as Jittor.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import traceback
from typing import Any

from jseg.datasets.batch import user_error

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serves requests until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        # May be sent to every process of a job; the parent handles them.
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # print must not write between the pickles
    try:
        try:
            dataset, load = pickle.load(requests)
        except Exception as problem:
            why = "the dataset cannot be loaded in a worker process: "
            _send(replies, ("no dataset", *_failure(problem, why)))
            return
        while True:
            try:
                wanted = pickle.load(requests)
            except EOFError:
                return
            try:
                reply: tuple[Any, ...] = ("loaded", load(dataset, wanted))
            except Exception as problem:
                reply = ("error", *_failure(problem))
            _send(replies, reply)
    except BrokenPipeError:
        os._exit(0)  # the parent has ended, so nothing can be flushed


def _die_with_parent() -> None:
    """Asks Linux for SIGKILL when the parent ends. On other systems, this process ends with stdin."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _failure(problem: Exception, prefix: str = "") -> tuple[str, str]:
    # User errors keep their type on the way to the parent. Others are sent with their traceback.
    kind = user_error(problem)
    if kind is None:
        return "RuntimeError", prefix + traceback.format_exc()
    return kind.__name__, prefix + str(problem)


def _send(stream: Any, reply: tuple[Any, ...]) -> None:
    pickle.dump(reply, stream, protocol=5)
    stream.flush()


if __name__ == "__main__":
    main()
