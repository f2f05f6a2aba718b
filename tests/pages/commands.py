"""Bash blocks of the documentation as lists of commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "weights/README.md",
    "benchmarks/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
"""Pages whose blocks are run, relative to the clone."""

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<\s*'?(\w+)'?\s*$")
_SEPARATORS = frozenset(("&&", ";", "&", "|"))


class Command(NamedTuple):
    """A simple command.

    Attributes:
        words: as the shell splits them, without comments.
        stdin: text of a here-document.
        target: file that stdout is redirected to, or "".
    """

    words: tuple[str, ...]
    stdin: str = ""
    target: str = ""

    @property
    def text(self) -> str:
        """The words with one space between them, and the here-document; rules are matched against it."""
        return " ".join(self.words) + (f"\n{self.stdin}" if self.stdin else "")


def parse(block: str) -> list[Command]:
    """Splits a block. Pipes, `&`, `;` and `&&` all separate commands, which run one after the other.

    Raises:
        ValueError: a quotation or here-document does not end.
    """
    found: list[Command] = []
    lines = iter(block.replace("\\\n", " ").splitlines())
    for line in lines:
        heredoc, stdin = _HEREDOC.search(line), ""
        if heredoc is not None:
            line = line[: heredoc.start()]
            content = []
            while (text := next(lines, None)) != heredoc[1]:
                if text is None:
                    raise ValueError(f"the here-document {heredoc[1]} does not end")
                content.append(f"{text}\n")
            stdin = "".join(content)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for words in _split(list(lexer)):
            target = words[words.index(">") + 1] if ">" in words else ""
            kept = words[: words.index(">")] if ">" in words else words
            found.append(Command(tuple(kept), stdin, target))
    return found


def _split(tokens: list[str]) -> Iterator[list[str]]:
    words: list[str] = []
    for token in [*tokens, ";"]:
        if token not in _SEPARATORS:
            words.append(token)
        elif words:
            yield words
            words = []


def commands_of(page: str) -> list[Command]:
    """All commands of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [command for block in _BLOCK.findall(text) for command in parse(block)]
