"""Checks that Python, NumPy and Jittor work together. Other combinations are refused before Jittor is loaded,
since some of them silently compute wrong values."""

import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from dataclasses import dataclass

PYTHON_VERSIONS = ((3, 10), (3, 14))
"""First and last version, as in setup.py."""
JITTOR_VERSION = "1.3.11"
"""The release that jseg prepares. Its cache folder is named after it."""
INSTALL_JITTOR = "pip install --no-deps jittor==1.3.11.0"
"""Without its dependencies: Jittor's metadata require numpy<2, and jseg's require the others."""
_NUMPY_MAJORS = (1, 2)


@dataclass(frozen=True)
class Refusal:
    """A problem, and the command that fixes it."""

    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}"


def installed_version(package: str) -> str | None:
    """Returns the version of an installed package without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def python_refusal() -> Refusal | None:
    """Returns why the running Python is refused, or None."""
    first, last = PYTHON_VERSIONS
    if not first <= sys.version_info[:2] <= last:
        text = f"Python {platform.python_version()}: jseg works with 3.{first[1]} to 3.{last[1]}"
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        text = "this Python is a free-threaded build, and Jittor counts references without a lock"
    else:
        return None
    return Refusal(text, f"make setup PYTHON=python3.{last[1] - 1}")


def jittor_refusal(version: str | None) -> Refusal | None:
    """Returns why the installed Jittor is refused, or None. `version` is None if pip has no record of it, for
    example in a checkout on the search path."""
    if version is None:
        return _missing("jittor", Refusal("Jittor is not installed in this Python", INSTALL_JITTOR))
    if not f"{version}.".startswith(f"{JITTOR_VERSION}."):
        return Refusal(f"Jittor {version}: jseg works with {JITTOR_VERSION}", INSTALL_JITTOR)
    return None


def numpy_refusal(version: str | None) -> Refusal | None:
    """Returns why the installed NumPy is refused, or None. `version` is None if pip has no record of it."""
    if version is None:
        return _missing("numpy", Refusal("NumPy is not installed in this Python", "pip install 'numpy<3'"))
    if _major(version) not in _NUMPY_MAJORS:
        return Refusal(f"NumPy {version}: jseg works with NumPy 1 and 2", "pip install 'numpy<3'")
    return None


def original_refusal(numpy: str | None) -> Refusal | None:
    """Returns why the original Jittor is refused, without the changes that `overlay` makes in a copy, or
    None.

    Args:
        numpy: version of the installed NumPy according to pip, or None.
    """
    if sys.version_info >= (3, 13):
        reason = f"Python {platform.python_version()}, with which it does not start"
    elif numpy is not None and _major(numpy) > 1:
        reason = f"NumPy {numpy}, with which it computes wrong values"
    else:
        return None
    return Refusal(
        f"this Jittor was edited, or not installed by pip, and cannot be adapted to {reason}",
        f"{INSTALL_JITTOR} --force-reinstall",
    )


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _missing(module: str, refusal: Refusal) -> Refusal | None:
    return refusal if importlib.util.find_spec(module) is None else None


def first_refusal() -> Refusal | None:
    """Returns why importing Jittor in this Python is refused because of versions, or None."""
    return (
        python_refusal()
        or jittor_refusal(installed_version("jittor"))
        or numpy_refusal(installed_version("numpy"))
    )
