"""The config key `imports`: the user's own modules that register heads, losses, datasets and models."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path


def import_plugins(modules: Sequence[str]) -> None:
    """Imports modules by their dotted names, in order.

    Modules are looked up on Python's path and in the current folder, which is appended to `sys.path` if
    needed.

    Raises:
        ValueError: if there is no such module, or importing it fails. The message gives the name, file and
            line.
    """
    for name in modules:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"config key imports: {name!r} is not the dotted name of a module, "
                "such as 'my_package.my_head'"
            )
        if not _found(name) and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
            importlib.invalidate_caches()
        if not _found(name):
            raise ValueError(
                f"config key imports: there is no module {name!r}; run in the folder that holds "
                f"{name.split('.')[0]}, install it, or add its folder to PYTHONPATH"
            )
        _import(name)


def _found(name: str) -> bool:
    """Whether the top-level package of a module exists. The rest of the name is checked by importing it."""
    return name.split(".")[0] in sys.modules or importlib.util.find_spec(name.split(".")[0]) is not None


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ValueError(f"config key imports: there is no module {name!r} (no {error.name})") from error
        raise ValueError(
            f"config key imports: {name!r} needs {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise ValueError(
            f"config key imports: {name!r} failed to import: {_where(error)}{type(error).__name__}: {error}"
        ) from error


def _where(error: Exception) -> str:
    """File and line of the code that failed, if known."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: "
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename
    ]
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<")]
    return f"{own[0].filename}, line {own[0].lineno}: " if own else ""
