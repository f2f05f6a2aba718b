"""What all tools do at their edges: exit statuses, user errors
in one sentence, outputs tried before the work."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

USER_ERROR = 2
_READER_LEFT = 141  # 128 + SIGPIPE, as the shell reports a program that this signal ended


def exit_status(run: Callable[[], int | None]) -> int:
    """Runs a tool; what it returns, None meaning 0, is its exit status.

    A ValueError or OSError is one of the user: `error: <message>` on stderr and status 2. Where the reader of
    the output has left (`| head`), the tool ends in silence, with status 141.
    """
    try:
        status = run() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_LEFT
    except (ValueError, OSError) as error:
        return refuse(str(error))
    return status


def refuse(sentence: str) -> int:
    """Says what is wrong; the exit status after an error of the user."""
    print(f"error: {sentence}", file=sys.stderr)
    return USER_ERROR


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
