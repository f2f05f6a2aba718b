"""What every test may ask for."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Tolerances are those of a processor, also where there is a GPU; `JSEG_DEVICE=cuda pytest tests/ops` is for
# that.
os.environ.setdefault("JSEG_DEVICE", "cpu")

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))  # for the helpers beside this file

# Folders in the order they run: what needs no Jittor, then models and operators, then whole programs.
_ORDER = (
    "config",
    "evaluation",
    "datasets",
    "inference",
    "zeroshapes",
    "visualization",
    "checkpoints",
    "runtime",
    "doctor",
    "clip",
    "golden",
    "ops",
    "optim",
    "models",
    "runner",
    "cli",
    "configs",
    "distributed",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheap tests first, so that a mistake shows in seconds."""

    def cost(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.relative_to(TESTS).parts[0]
        return item.get_closest_marker("slow") is not None, _ORDER.index(folder) if folder in _ORDER else -1

    items.sort(key=cost)


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what `pip install` puts into site-packages for jseg alone; built once for all
    tests."""
    root, folder = TESTS.parent, tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves folders beside what it builds
    shutil.copytree(root / "jseg", source / "jseg", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [
            *pip,
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--wheel-dir",
            str(folder),
            str(source),
        ],
        check=True,
    )
    (wheel,) = folder.glob("jseg-*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)], check=True
    )
    return folder / "site"


@pytest.fixture(scope="session")
def openai_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tiny CLIP as a TorchScript archive like those of OpenAI, half precision inside. Do not
    change it."""
    path = tmp_path_factory.mktemp("clip") / "openai.pt"
    path.write_bytes(gzip.decompress((TESTS / "golden" / "clip_tiny" / "openai.pt.gz").read_bytes()))
    return path
