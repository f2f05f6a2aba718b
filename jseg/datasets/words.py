"""Text files of one entry a line: class words, unseen classes, ids of a split."""

from pathlib import Path


def read_words(path: str | Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file without blanks at their ends; empty lines are skipped.

    Raises:
        FileNotFoundError: no such file. ValueError: it is no text, lists nothing, or all in one line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f"{path}: there is no such file; write it as text, one entry a line"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: this is no UTF-8 text; write one entry a line") from None
    words = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not words:
        raise ValueError(f"{path}: the file is empty; write one entry a line")
    separator = next((sign for sign in ",;|\t" if sign in words[0]), None)
    if len(words) == 1 and separator:
        count = words[0].count(separator) + 1
        raise ValueError(
            f"{path}: its only line, '{words[0][:60]}', holds {count} entries separated by {separator!r}; "
            "write one entry a line"
        )
    return words
