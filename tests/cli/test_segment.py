"""`jseg segment`: its output, and options refused before a model is loaded."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.cli import segment
from jseg.cli.main import main
from jseg.datasets.classes import load_class_list

WORDS = "red circle, blue ring|azure ring"


@pytest.fixture
def call(trained_run, tmp_path, monkeypatch, capsys):
    """call(*arguments) -> (status, stdout, stderr), in an empty folder with the checkpoint of the session."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, checkpoint: bool = True) -> tuple[int, str, str]:
        more = ["--checkpoint", str(trained_run / "checkpoints" / "latest")] if checkpoint else []
        status = main(["segment", *arguments, *more])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture(scope="module")
def images(zeroshapes_root):
    return sorted(str(path) for path in (zeroshapes_root / "JPEGImages").glob("test_*.png"))


def test_files_and_lines_for_every_image(call, images):
    status, out, _ = call(*images, "--classes", WORDS)
    assert status == 0
    lines = [line for line in out.splitlines() if " %" in line]
    assert [line.split(":")[0] for line in lines] == images and all(
        "red circle" in line or "blue ring" in line for line in lines
    )
    assert {path.name for path in Path("segmented").iterdir()} == {
        f"test_0000{index}{ending}" for index in (0, 1) for ending in (".png", ".overlay.png", ".json")
    }
    with Image.open("segmented/test_00000.png") as mask:
        assert mask.mode == "P" and set(np.unique(np.asarray(mask))) <= {0, 1}
    status, _, error = call(*images, "--classes", WORDS)
    assert status == 2 and "test_00000.png" in error and "--force" in error
    assert call(*images, "--classes", WORDS, "--force", "--quiet")[:2] == (0, "")


def test_json_lines_and_classes_of_a_file(call, images, tmp_path):
    Path("words.txt").write_text("red circle\nblue ring\n")
    status, out, _ = call(images[0], "--classes-file", "words.txt", "--json", "--save", "--threshold", "1")
    (record,) = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert status == 0 and record["image"] == images[0] and record["files"] == []
    assert [row["name"] for row in record["classes"]] == ["red circle", "blue ring"]
    assert sum(row["pixels"] for row in record["classes"]) + record["nothing"]["pixels"] == 64 * 64
    assert not Path("segmented").exists()


def test_outlines_and_label_numbers_of_a_data_set(call, images):
    status, _, _ = call(
        *images, "--class-list", "zeroshapes", "--published-values", "--save", "mask", "labelme", "coco"
    )
    content = json.loads(Path("segmented/coco.json").read_text())
    assert status == 0 and [image["file_name"] for image in content["images"]] == [
        "test_00000.png",
        "test_00001.png",
    ]
    assert [row["id"] for row in content["categories"]] == list(range(1, 21))
    with Image.open("segmented/test_00000.png") as mask:
        values = set(np.unique(np.asarray(mask)).tolist())
    assert values <= set(range(1, 21)) and {row["category_id"] for row in content["annotations"]} <= set(
        range(1, 21)
    )
    shapes = json.loads(Path("segmented/labelme/test_00000.json").read_text())["shapes"]
    assert {shape["label"] for shape in shapes} <= set(load_class_list("zeroshapes").names) and shapes
    assert call(images[0], "--classes", WORDS, "--save", "coco")[0] == 2


def test_an_unreadable_image_does_not_stop_the_others(call, images):
    Path("broken.png").write_bytes(Path(images[0]).read_bytes()[:200])
    status, _, error = call("broken.png", images[0], "--classes", WORDS, "--save", "mask")
    assert status == 1 and "broken.png" in error and "1 of 2" in error
    assert [path.name for path in Path("segmented").iterdir()] == ["test_00000.png"]
    assert call("broken.png", "--classes", WORDS, "--save", "mask")[0] == 2


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["none.png", "--classes", "cat"], "none.png"),
        (["*.gif", "--classes", "cat"], r"*.gif"),
        (["IMAGE", "--classes", "cat,,dog"], "2 of 3"),
        (["IMAGE", "--classes-file", "none.txt"], "none.txt"),
        (["IMAGE", "--classes", "cat", "--output", "file/x"], "file"),
        (["IMAGE", "--classes", "cat", "--checkpoint", "none.safetensors"], "none.safetensors"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(call, images, arguments, named):
    Path("file").write_text("")
    arguments = [images[0] if item == "IMAGE" else item for item in arguments]
    status, _, error = call(*arguments, checkpoint="--checkpoint" not in arguments)
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert status == 2 and named in line and "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.png"],
        ["a.png", "--sample"],
        ["a.png", "--classes", "cat", "--threshold", "7"],
        ["a.png", "--classes", "cat", "--num-regions", "3"],
        ["a.png", "--classes", "cat", "--seen-bias", "nan"],
        ["a.png", "--classes", "cat", "--published-values"],
        ["a.png", "--class-list", "voc"],
    ],
)
def test_incomplete_command_lines(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        segment.parse_args(arguments)
    assert stop.value.code == 2


def test_images_of_equal_names_are_told_apart():
    paths = [Path("a/x.png"), Path("b/x.png"), Path("b/y.png")]
    assert segment.name_outputs(paths) == ["a_x", "b_x", "y"]
    with pytest.raises(ValueError, match="x.png"):
        segment.name_outputs([Path("a/x.png"), Path("a/x.jpg")])


def test_ctrl_c_keeps_what_is_finished(call, images, monkeypatch):
    report = segment.report

    def stop_after_one(result):
        report(result)
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "report", stop_after_one)
    status, _, error = call(*images, "--classes", WORDS, "--save", "mask", "coco")
    assert status == 130 and "interrupted" in error
    assert {path.name for path in Path("segmented").iterdir()} == {"test_00000.png", "coco.json"}
    assert len(json.loads(Path("segmented/coco.json").read_text())["images"]) == 1
