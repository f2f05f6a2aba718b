"""`jseg annotations` and the hints of `jseg check-dataset`, on the photographs in samples/annotated."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jseg.cli import annotations, check_dataset
from jseg.cli.annotations import sheet_images
from jseg.datasets import FolderDataset, read_image, read_mask

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples" / "annotated"
IMAGES = ("--images", SAMPLES / "photos")


@pytest.fixture
def main(capsys):
    """The command in this process: arguments -> exit status, what it printed to stdout and to stderr."""

    def call(command, *arguments):
        status = command.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return call


def test_three_formats_of_the_same_photographs(main, tmp_path):
    """Polygons drawn once, stored in three forms. Labelme draws the outline too: a fringe of one pixel."""
    masks = {}
    for name, rule in (("labelme", "later"), ("cvat", "later"), ("coco", "later")):
        out = tmp_path / name
        status, printed, wrong = main(annotations, name, SAMPLES / name, out, *IMAGES, "--overlap", rule)
        assert status == 0 and not wrong
        assert "5 images" in printed and "17 classes" in printed and "contact_sheet.png" in printed
        assert read_image(out / "contact_sheet.png").shape[1] > 1000
        masks[name] = [read_mask(path) for path in sorted((out / "masks").iterdir())]
        assert len((out / "classes.txt").read_text().split("\n")) == 18
    for first, second, third in zip(*masks.values()):
        np.testing.assert_array_equal(second, third)
        differs = np.argwhere(first != second)
        assert 0 < len(differs) < 0.03 * first.size
        edges = np.zeros(first.shape, bool)
        for axis in (0, 1):
            edges |= (np.roll(second, 1, axis) != second) | (np.roll(second, -1, axis) != second)
        near = np.pad(edges, 1)
        near = near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:] | edges
        assert near[first != second].all()


def test_problems_are_printed_and_stored(main, tmp_path):
    folder = tmp_path / "labelme"
    shutil.copytree(SAMPLES / "labelme", folder)
    for name in ("rocket", "camera"):
        text = (folder / f"{name}.json").read_text()
        (folder / f"{name}.json").write_text(text.replace('"polygon"', '"linestrip"'))
    (folder / "coffee.json").write_text("{")
    status, printed, wrong = main(annotations, "labelme", folder, tmp_path / "out", *IMAGES)
    listed = (tmp_path / "out/left_out.txt").read_text().splitlines()
    assert status == 1 and len(listed) == 12 and len(wrong.splitlines()) == 12
    assert "12 things" in printed and "2 (camera, rocket)" in printed
    assert len(FolderDataset(str(tmp_path / "out"))) == 2


def test_mistakes_of_the_command_line(main, tmp_path):
    status, _, wrong = main(annotations, "coco", tmp_path / "nowhere", tmp_path / "out")
    assert status == 2 and "nowhere" in wrong and not (tmp_path / "out").exists()
    status, _, wrong = main(annotations, "yolo", SAMPLES / "labelme", tmp_path / "out")
    assert status == 2 and ("jseg annotations labelme" in wrong or "classes.txt" in wrong)
    (tmp_path / "file").touch()
    status, _, wrong = main(annotations, "coco", SAMPLES / "coco", tmp_path / "file/out", *IMAGES)
    assert status == 2 and "cannot be written" in wrong
    status, _, wrong = main(annotations, "coco", SAMPLES / "coco", tmp_path / "out", "--mask-ending", "_m")
    assert status == 2 and "--mask-ending is only for voc and mmseg" in wrong
    with pytest.raises(SystemExit) as stop:
        main(annotations, "cocoa", SAMPLES, tmp_path / "out")
    assert stop.value.code == 2


@pytest.mark.parametrize("name", ["coco", "labelme", "cvat"])
def test_check_dataset_names_the_command(main, tmp_path, name):
    """Annotations where masks were expected."""
    root = tmp_path / "mine"
    shutil.copytree(SAMPLES / "photos", root / "images")
    shutil.copytree(SAMPLES / name, root / "masks")
    (root / "classes.txt").write_text("person\ncat\n")
    config = ROOT / "configs/clip_rc/custom_tiny.py"
    status, _, wrong = main(check_dataset, "--config", config, "--set", f"data_root={root}")
    assert status == 2 and f"`jseg annotations {name} {root} NEW_FOLDER`" in wrong
    assert main(annotations, name, root, tmp_path / "new")[0] == 0
    assert main(check_dataset, "--config", config, "--set", f"data_root={tmp_path / 'new'}")[0] == 0


def test_check_dataset_knows_masks_in_colours(main, tmp_path):
    from PIL import Image

    out, _ = tmp_path / "out", main(annotations, "cvat", SAMPLES / "cvat", tmp_path / "out", *IMAGES)
    for path in (out / "masks").iterdir():
        Image.open(path).convert("RGB").save(path)
    config = ROOT / "configs/clip_rc/custom_tiny.py"
    status, printed, wrong = main(check_dataset, "--config", config, "--set", f"data_root={out}")
    assert status == 1 and "mode RGB" in wrong and f"jseg annotations voc {out}" in printed


def test_the_contact_sheet_shows_all_classes():
    shown = {"a": [0], "b": [0, 1], "c": [2], "d": [0]}
    assert sheet_images(shown, 2) == ["b", "c"]
    assert sheet_images(shown, 9) == ["b", "c", "a", "d"]
