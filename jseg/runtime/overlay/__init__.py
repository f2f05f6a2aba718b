"""The changes that jseg makes in its copy of Jittor 1.3.11: the files in `jittor/` here replace those of the
same names, and single lines are edited. The installed files are not changed."""

import shutil
from pathlib import Path

_FILES = Path(__file__).parent / "jittor"
EDITS = (
    # Headers of g++ 15 and newer no longer include it indirectly.
    ("jittor/src/types.h", "#include <vector>\n", "#include <cstdint>\n#include <vector>\n"),
    # g++ 15 checks templates that are not used.
    ("jittor/src/misc/stack_vector.h", "return self->at(index);", "return self->a[index];"),
    # Since Python 3.13, locals() does not contain names that exec() defines in a function.
    ("jittor/compiler.py", "mod = locals()[gen_name]", "mod = os.sys.modules[gen_name]"),
    ("jittor_utils/__init__.py", "mod = locals()[hash]", "mod = sys.modules[hash]"),
    # NumPy passes the requested dtype, and NumPy 2 also whether it needs a copy.
    (
        "jittor/__init__.py",
        "Var.__array__ = Var.numpy\n",
        """def _array_of_var(var, dtype=None, copy=None):
    if copy is False:
        raise ValueError("a Var cannot become an array without a copy; its attribute data shares memory")
    return var.numpy() if dtype is None else var.numpy().astype(dtype)
Var.__array__ = _array_of_var
""",
    ),
)
"""File, text in it, and replacement."""


def content() -> bytes:
    """Returns all changes, for names derived from the contents of a copy."""
    files = [path.relative_to(_FILES).as_posix().encode() + b"\0" + path.read_bytes() for path in _files()]
    return b"\0".join([repr(EDITS).encode(), *files])


def lay_over(packages: Path) -> None:
    """Applies the changes to the copied packages jittor and jittor_utils in the folder `packages`.

    Raises:
        OSError: if the folder cannot be written.
    """
    for file in _files():
        copy = packages / "jittor" / file.relative_to(_FILES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    for name, before, after in EDITS:
        file = packages / name
        file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


def _files() -> list[Path]:
    return sorted(path for path in _FILES.rglob("*") if path.is_file())
