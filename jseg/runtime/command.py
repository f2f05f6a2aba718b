"""Common behaviour of all commands: exit statuses, user errors in one sentence, early checks of output
paths."""

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


def exit_status(run: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Runs a command. Its return value is the exit status, with None meaning 0.

    ValueError and OSError are user errors: `error: <message>` is printed to stderr, and the status is 2. If
    the reader of the output has gone (`| head`), the command ends silently with status 141. Ctrl-C gives
    status 130. An operator that cannot be compiled or loaded is also explained as a user error.

    Args:
        interrupted: message printed after Ctrl-C.
    """
    make_encodable()
    try:
        with interrupt_first():
            status = run() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        lead_nowhere(sys.stdout)  # Python flushes again at exit
        return _READER_LEFT
    except (ValueError, OSError) as error:
        return refuse(str(error))
    except RuntimeError as error:
        problem = compile_problem(str(error), jittor_cache())
        if problem is None:
            raise
        return refuse(problem)
    except KeyboardInterrupt:
        say(interrupted, sys.stderr)
        return INTERRUPTED
    return status


@contextlib.contextmanager
def interrupt_first() -> Iterator[None]:
    """Within this context, Ctrl-C is reported instead of an error that it caused.

    Ctrl-C also reaches compilers started by Jittor, and Jittor reports their end as an error before Python
    handles the signal.

    Raises:
        KeyboardInterrupt: instead of an exception that left the block while Ctrl-C was pending.
    """
    try:
        yield
    except Exception:
        time.sleep(0)  # Python handles signals at calls
        raise


def refuse(sentence: str) -> int:
    """Prints an error, and returns the exit status of a user error."""
    say(f"error: {sentence}", sys.stderr)
    return USER_ERROR


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line immediately. If the stream can no longer be written, the program continues.

    A closed pipe or terminal, or a full disk behind `> file`, must not end hours of work. From then on, the
    stream is discarded.

    Args:
        stream: stream to print to, or None for stdout.
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
    """Discards everything written to `stream` from now on, and its buffered output.

    Raises:
        OSError: if it has no descriptor.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


def make_encodable() -> None:
    """Lets stdout and stderr print any text. Characters missing from their encoding are escaped.

    File names and class words may contain any character, but encodings such as ASCII have few.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def quiet_interrupt() -> None:
    """From now on, Ctrl-C ends the program with a short message and status 130 instead of a traceback.

    This covers the time before `exit_status`, since importing a command also takes a while.
    """
    sys.excepthook = _without_interrupt


def _without_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    say("interrupted", sys.stderr)
    raise SystemExit(INTERRUPTED)  # raised by the hook, and used by Python as the status


def prove_writable(path: str | Path, replaced: bool = False) -> None:
    """Creates the folder of `path` and checks that it can be written, so that long work does not end in an
    error.

    No file is left behind.

    Args:
        path: the file. If it exists, it must be writable.
        replaced: the file will be written under another name and renamed, so its folder must allow new files.

    Raises:
        OSError: if not. The message names `path` and gives advice.
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
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
