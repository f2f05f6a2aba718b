"""What `pip wheel .` makes works without the clone."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools._distutils.filelist import FileList

ROOT = Path(__file__).resolve().parents[1]

_PROGRAM = """
import jseg
from jseg.datasets.classes import available_class_lists, load_class_list
from jseg.models.clip.tokenizer import default_tokenizer
print(jseg.__file__)
lists = [load_class_list(name) for name in available_class_lists()]
print(len(default_tokenizer().encode("a cat")), *(len(one.names) for one in lists))
"""


def test_the_wheel_holds_every_file_of_the_package(installed_wheel: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
        }

    shipped = {f"{name}/{path}" for name in ("configs", "weights", "samples") for path in files(ROOT / name)}
    assert files(installed_wheel / "jseg") == files(ROOT / "jseg") | shipped


def test_the_source_distribution_holds_every_tracked_file(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs the git repository")
    found = FileList()
    monkeypatch.chdir(ROOT)
    found.findall(".")
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        found.process_template_line(line)
    held = {Path(file).as_posix() for file in found.files}
    # setuptools adds the modules of the package and its own files.
    added = {"setup.py", "pyproject.toml", "MANIFEST.in", ".gitignore"}
    tracked = {
        name for name in listed.stdout.splitlines() if not (name.startswith("jseg/") and name.endswith(".py"))
    }
    assert tracked - held - added == set()


def test_the_installed_package_finds_its_data_from_an_empty_folder(
    installed_wheel: Path, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed_wheel)},
    )
    assert run.returncode == 0, run.stderr
    where, counts = run.stdout.splitlines()
    assert where.startswith(str(installed_wheel))
    assert counts.split()[0] == "2" and {"20", "59", "60", "171"} <= set(counts.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--help",), ("configs", "--help")])
def test_the_installed_command_runs_from_an_empty_folder(
    installed_wheel: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    run = _jseg(installed_wheel, tmp_path, *arguments)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("usage: jseg ") and list(tmp_path.iterdir()) == []
    assert (installed_wheel / "bin" / "jseg").is_file()


def test_what_needs_the_clone_says_so(installed_wheel: Path, tmp_path: Path) -> None:
    run = _jseg(installed_wheel, tmp_path, "gpu-check")
    assert run.returncode == 2 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert "clone" in run.stderr


@pytest.mark.slow
def test_the_installed_wheel_segments_trains_and_evaluates(installed_wheel: Path, tmp_path: Path) -> None:
    """In an empty folder, with the configs, weights and images that come with it, and without a network."""
    image = "data/zeroshapes/JPEGImages/test_00000.png"
    latest = "work_dirs/zeroshapes_demo/checkpoints/latest"
    for arguments in (
        "segment --sample",
        "configs table6",
        "zeroshapes --out data/zeroshapes --train 4 --val 2 --test 1",
        "train --config configs/clip_rc/zeroshapes_demo.py --set max_iters=1 batch_size=2",
        "val --config configs/clip_rc/zeroshapes_demo.py",
        f"segment {image} --output out --save mask --quiet --checkpoint {latest} --classes ring,circle",
    ):
        run = _jseg(installed_wheel, tmp_path, *shlex.split(arguments))
        assert run.returncode == 0, (arguments, run.stderr[-2000:])
    assert sum(1 for _ in (tmp_path / "segmented").glob("*.overlay.png")) == 4
    assert (tmp_path / "work_dirs" / "zeroshapes_demo" / "metrics.json").is_file()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["test_00000.png"]


def _jseg(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m jseg ...` of the installed package."""
    command = [sys.executable, "-m", "jseg", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site), "JSEG_CACHE": str(folder.parent / "cache")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
