"""Folders in Jittor's cache that are named after their contents, so that clones and environments share
compiled files.

Jittor 1.3.11 recompiles whenever the text of a compiler call changes, and names its cache after the folder
that it is installed in. These calls contain the folders of Jittor, of the interpreter and of jseg's kernels,
so that by default each new virtual environment or clone compiles for minutes what an equal one has already
compiled. Therefore, Jittor is imported from a copy, and kernels are read from copies, whose names depend on
their contents and not on their origin. The copy is also where `overlay` changes Jittor.
"""

import base64
import contextlib
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from jseg.files import making_folder, replacing
from jseg.runtime import overlay

INTERPRETER = "JSEG_PYTHON"
"""Variable with the interpreter for Jittor's compile steps, read by a script in the cache."""

_PACKAGES = ("jittor", "jittor_utils")
RELEASE = "796447e6e960b0025de5ed272223e89d978786a5edc0053f9fa4a68c97870b69"
"""SHA-256 of the lines for Jittor 1.3.11.0 in the RECORD of its wheel, without the compiled Python files."""
_PREFIXES = tuple(f"{package}/" for package in _PACKAGES)

# Jittor compiles an operator with asm_tuner.py --cc_path=COMPILER SOURCE OPTION..., which goes through an
# assembly file to change the instructions between marks. A source without marks is compiled directly, with
# the precompiled header (overlay/jittor/jseg_build.py), or without it if that fails. Other steps import
# jittor_utils, from the same copy, since they would otherwise use another cache.
_SCRIPT = """#!/bin/sh
case "$1 $2" in
*/asm_tuner.py" "--cc_path=*g++*)
    if ! grep -q @begin "$3"; then
        compiler="${{2#--cc_path=}}"
        header="${{3%/jit/*}}/gen/operators.h"
        shift 2
        if [ -f "$header.gch" ]; then
            "$compiler" -include "$header" "$@" 2>/dev/null && exit
        fi
        exec "$compiler" "$@"
    fi ;;
esac
PYTHONPATH={folder}"${{PYTHONPATH:+:$PYTHONPATH}}" exec "${{{variable}:-python3}}" "$@"
"""


@cache
def header_copy(source: Path, folder: Path) -> Path:
    """Returns a copy of `source` at FOLDER/<digest of its contents>/<its name>, created if necessary.

    Raises:
        OSError: if the folder cannot be written.
    """
    content = source.read_bytes()
    copy = folder / hashlib.sha256(content).hexdigest()[:16] / source.name
    if not copy.is_file() or copy.read_bytes() != content:  # a power failure may leave an empty file
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy, durable=False) as temporary:
            temporary.write_bytes(content)
    return copy


def place_of_jittor(cache: Path) -> Path | None:
    """Returns the folder in `cache` for the copy of the installed Jittor, named after the files installed by
    pip and the changes of `overlay`.

    None if pip has no record of the files, for example in a checkout, or one was edited since. Jittor is then
    imported from its own folder.
    """
    installed = _installed_packages()
    digest = installed and _recorded_digest(installed)
    return cache / "jseg" / f"jittor-{digest}" if digest else None


def jittor_copy(cache: Path) -> Path | None:
    """Returns `place_of_jittor` with the packages and the script `python` in it, copied if necessary.

    Raises:
        OSError: if the cache cannot be written.
    """
    folder = place_of_jittor(cache)
    if folder is None:
        return None
    text = _SCRIPT.format(folder=shlex.quote(str(folder)), variable=INTERPRETER)
    if not folder.is_dir():
        _make_copy(_installed_packages(), folder, text)
    script = folder / "python"
    if script.read_text() != text:  # written by another version of jseg
        with replacing(script, durable=False) as temporary:
            _write_script(temporary, text)
    return folder


def _make_copy(installed: Path, folder: Path, script: str) -> None:
    with making_folder(folder) as temporary:
        for package in _PACKAGES:
            shutil.copytree(
                installed / package, temporary / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        overlay.lay_over(temporary)
        _write_script(temporary / "python", script)
        os.sync()  # once, since the files are not checked again after a power failure


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def interpreter() -> str:
    """Returns a Python that can be started. `sys.executable` is not one if Python is embedded in another
    program."""
    beside = Path(sys.prefix) / "bin" / "python3"
    return sys.executable if "python" in Path(sys.executable or "").name else str(beside)


@contextlib.contextmanager
def first_on_path(folder: Path | None) -> Iterator[None]:
    """Puts `folder` first on the import path; None changes nothing."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def point_link(link: Path, target: Path) -> None:
    """Points `link` at `target` atomically, since several ranks may do this at the same time.

    Anything but a link is kept.
    """
    if link.is_symlink() and link.readlink() == target:
        return
    if link.exists() and not link.is_symlink():
        return
    temporary = link.with_name(f"{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # left by a killed process with the same id
    temporary.symlink_to(target)
    temporary.replace(link)


def _installed_packages() -> Path | None:
    """Returns the folder of the packages jittor and jittor_utils in this environment."""
    for entry in sys.path:
        if (Path(entry) / "jittor" / "compiler.py").is_file() and (Path(entry) / "jittor_utils").is_dir():
            return Path(entry).resolve()
    return None


def _recorded_digest(installed: Path) -> str | None:
    """Returns the digest of Jittor's files as recorded by pip, independent of who installed them and where,
    and of the changes to them."""
    record = _record(installed)
    if record is None:
        return None
    lines = record.read_text(encoding="utf-8").splitlines()
    if record.name == "RECORD":
        files = sorted(line for line in lines if line.startswith(_PREFIXES) and ",sha256=" in line)
    else:
        files = _contents(installed, (line.removeprefix("../") for line in lines))
    if not files:
        return None
    if _touched(installed, record.stat().st_ctime) and not _released(installed, files):
        return None
    return hashlib.sha256("\n".join(files).encode() + overlay.content()).hexdigest()[:16]


def _record(installed: Path) -> Path | None:
    """Returns the list of files that pip wrote. Before 23.1, in an environment without the package wheel, pip
    runs Jittor's setup.py, and the list is another file, without hashes."""
    wheels = installed.glob("jittor-*.dist-info/RECORD")
    return next(wheels, None) or next(installed.glob("jittor-*.egg-info/installed-files.txt"), None)


def _contents(installed: Path, names: Iterable[str]) -> list[str]:
    """Returns the lines for Jittor's files in the RECORD of a wheel."""
    lines = []
    for name in names:
        if name.startswith(_PREFIXES) and "/__pycache__/" not in name:
            content = (installed / name).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            lines.append(f"{name},sha256={digest},{len(content)}")
    return sorted(lines)


def _touched(installed: Path, recorded: float) -> bool:
    """Whether a file of Jittor changed after pip wrote its record, which it does last. Compares the time of
    the last status change, which programs cannot set when they write or copy a file."""
    for package in _PACKAGES:
        for parent, folders, names in os.walk(installed / package):
            folders[:] = [name for name in folders if name != "__pycache__"]
            if any(Path(parent, name).stat().st_ctime > recorded for name in names):
                return True
    return False


def _released(installed: Path, files: list[str]) -> bool:
    """Whether the contents of the files are those of the release. Copying an environment, also as an image of
    a container, and chown change the times of all files."""
    try:
        contents = _contents(installed, (line.split(",")[0] for line in files))
    except OSError:
        return False
    return hashlib.sha256("\n".join(contents).encode()).hexdigest() == RELEASE
