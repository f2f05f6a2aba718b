"""What every test may ask for."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Tolerances are those of a CPU, also where there is a GPU;
# `JSEG_DEVICE=cuda pytest tests/ops` is for that.
os.environ.setdefault("JSEG_DEVICE", "cpu")

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))  # for the helpers beside this file

# Folders in the order they run: what needs no Jittor, then models and operators, then whole programs.
_ORDER = (
    "config",
    "reproduce",
    "evaluation",
    "datasets",
    "download",
    "inference",
    "drawn",
    "visualization",
    "checkpoints",
    "runtime",
    "doctor",
    "clip",
    "golden",
    "ops",
    "optim",
    "models",
    "web",
    "runner",
    "cli",
    "docs",
    "configs",
    "distributed",
)


def pytest_configure() -> None:
    """A shell starts commands in the background with SIGINT ignored, also for their child processes. Some
    tests interrupt themselves or others."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheap tests first, so that a mistake shows in seconds."""

    def cost(item: pytest.Item) -> tuple[bool, int]:
        top, *rest = item.path.relative_to(TESTS.parent).parts
        folder = rest[0] if top == TESTS.name else "docs"
        return item.get_closest_marker("slow") is not None, _ORDER.index(folder) if folder in _ORDER else -1

    items.sort(key=cost)


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what `pip install` puts into
    site-packages for jseg alone; built once for all tests."""
    root, folder = TESTS.parent, tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves folders beside what it builds
    for name in ("jseg", "configs", "weights", "samples"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
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
def zeroshapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ZeroShapes dataset for whole programs. Do not change it."""
    from jseg.drawn import write_dataset

    root = tmp_path_factory.mktemp("data") / "zeroshapes"
    write_dataset("zeroshapes", root, {"train": 4, "val": 4, "test": 2})
    return root


@pytest.fixture(scope="session")
def trained_run(zeroshapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work folder of the demo's config, trained for two iterations by the README's command. Do not change it:
    tests that write into a run copy it."""
    run = tmp_path_factory.mktemp("run") / "zeroshapes_demo"
    command = [
        sys.executable,
        str(TESTS.parent / "tools" / "run_net.py"),
        "--task",
        "train",
        "--work-dir",
        str(run),
    ]
    options = [f"data_root={zeroshapes_root}", "max_iters=2", "batch_size=2", "visualize.num_images=1"]
    config = TESTS.parent / "configs" / "clip_rc" / "zeroshapes_demo.py"
    subprocess.run(
        [*command, "--config", str(config), "--set", *options], check=True, stdout=subprocess.DEVNULL
    )
    return run


@pytest.fixture(scope="session")
def openai_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tiny CLIP as a TorchScript archive like those of
    OpenAI, half precision inside. Do not change it."""
    path = tmp_path_factory.mktemp("clip") / "openai.pt"
    path.write_bytes(gzip.decompress((TESTS / "golden" / "clip_tiny" / "openai.pt.gz").read_bytes()))
    return path


@pytest.fixture
def running(monkeypatch):
    """A function listing the processes that this test started and that still run."""
    started, popen = [], subprocess.Popen

    def record(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", record)
    return lambda: [process for process in started if process.poll() is None]
