"""What all tools do at their edges: exit statuses, user errors
in one sentence, outputs tried before the work."""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

from jseg.runtime.damage import compile_problem
from jseg.runtime.environment import jittor_cache

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT
_READER_LEFT = 141  # 128 + SIGPIPE, as the shell reports a program that this signal ended


def exit_status(run: Callable[[], int | None]) -> int:
    """Runs a tool; what it returns, None meaning 0, is its exit status.

    A ValueError or OSError is one of the user: `error: <message>` on stderr and status 2. Where the reader of
    the output has left (`| head`), the tool ends in silence, with status 141. Ctrl-C gives status 130. An
    operator that cannot be compiled or loaded is explained the same way as an error of the user.
    """
    make_encodable()
    try:
        with interrupt_first():
            status = run() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        lead_nowhere(sys.stdout)  # Python flushes once more when it ends
        return _READER_LEFT
    except (ValueError, OSError) as error:
        return refuse(str(error))
    except RuntimeError as error:
        problem = compile_problem(str(error), jittor_cache())
        if problem is None:
            raise
        return refuse(problem)
    except KeyboardInterrupt:
        say("interrupted", sys.stderr)
        return INTERRUPTED
    return status


@contextlib.contextmanager
def interrupt_first() -> Iterator[None]:
    """Within, Ctrl-C is reported rather than the error that it has caused.

    It reaches compilers that Jittor has started too, whose end Jittor takes for an error before Python heeds
    the signal.

    Raises:
        KeyboardInterrupt: instead of an exception that left the block while Ctrl-C waited to be heeded.
    """
    try:
        yield
    except Exception:
        time.sleep(0)  # Python heeds signals at calls
        raise


def refuse(sentence: str) -> int:
    """Says what is wrong; the exit status after an error of the user."""
    say(f"error: {sentence}", sys.stderr)
    return USER_ERROR


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line at once; the program goes on where nobody can read it any more.

    A pipe whose reader has left, a terminal that is gone, and a full disk behind `> file` must not end hours
    of work: from then on the stream leads nowhere.

    Args:
        stream: to print to; None for stdout.
    """
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        say(text.encode(encoding, "backslashreplace").decode(encoding), stream)
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a descriptor
            lead_nowhere(stream)


def lead_nowhere(stream: TextIO) -> None:
    """What is written to `stream` from now on, and what it still holds, is dropped.

    Raises:
        OSError: it has no descriptor.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


def make_encodable() -> None:
    """Lets stdout and stderr print every text: what their encoding lacks appears as an escape.

    File names and class words may hold any character, and an encoding such as ASCII few.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def quiet_interrupt() -> None:
    """From now on Ctrl-C ends the program with a word and status 130, not with a traceback.

    For the time before `exit_status`, since importing a command takes a while too.
    """
    sys.excepthook = _without_interrupt


def _without_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    say("interrupted", sys.stderr)
    raise SystemExit(INTERRUPTED)  # of the hook, which Python takes for the status


def prove_writable(path: str | Path, replaced: bool = False) -> None:
    """Makes the folder of `path` and tries to write there, so that
    no long work ends in a refusal; leaves no file.

    Args:
        path: the file. If it exists, being allowed to write it is enough.
        replaced: it will be written beside itself and renamed, for which its folder must allow a new file.

    Raises:
        OSError: names `path` and what to do.
    """
    path = Path(path)
    try:
        folder = path.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not folder:
            with path.open("ab"):
                pass
        if replaced or not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
                pass
    except OSError as problem:
        raise OSError(f"{path} cannot be written ({problem.strerror}); choose another path") from problem
    if folder:
        raise IsADirectoryError(f"{path} is a folder; name the file to write in it")
