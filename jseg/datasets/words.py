"""Text files with one entry per line: class words, unseen classes, ids of a split."""

from pathlib import Path


def read_words(path: str | Path, separators: str = ",;|\t") -> tuple[str, ...]:
    """Returns the lines of a UTF-8 text file, stripped and without empty lines.

    Args:
        separators: signs that an only line must not contain, since it would hold all entries.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if it is not text, is empty, or has all entries
            in one line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows editors write a byte order mark
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f"{path}: there is no such file; create it as text, one entry per line"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; write one entry per line") from None
    words = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not words:
        raise ValueError(f"{path}: the file is empty; write one entry per line")
    separator = next((sign for sign in separators if sign in words[0]), None)
    if len(words) == 1 and separator:
        count = words[0].count(separator) + 1
        raise ValueError(
            f"{path}: its only line, '{words[0][:60]}', has {count} entries separated by {separator!r}; "
            "write one entry per line"
        )
    return words
