"""The sample images of jseg by name."""

import base64
from functools import cache
from pathlib import Path

from jseg.files import shipped_folder
from jseg.web.refusal import Refusal


@cache
def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_folder("samples").glob("*.png"))}


def samples() -> list[dict[str, str]]:
    """Returns name and base64 PNG data of each sample."""
    return [
        {"name": name, "data": base64.b64encode(path.read_bytes()).decode("ascii")}
        for name, path in _files().items()
    ]


def sample_body(name: str) -> bytes:
    """Returns the file content of a sample. `name` is looked up and never used as a path.

    Raises:
        Refusal: 404, if there is no such sample.
    """
    if name not in _files():
        raise Refusal(404, f"there is no such sample; there are {', '.join(_files())}")
    return _files()[name].read_bytes()
