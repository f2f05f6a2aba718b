"""What is the same for all formats: words, images that stand on their side, lists, links, and refusals."""

import sys

import numpy as np
import pytest
from PIL import Image
from shapes import SIZE, box, label

from jseg.datasets import FolderDataset
from jseg.datasets.annotations.convert import Settings, convert, unique_ids
from jseg.datasets.annotations.core import Options, part_of
from jseg.datasets.annotations.formats import read


@pytest.fixture
def labelme(image, write):
    """Writes an image and its file: name, regions (word, rectangle), size (H, W) of the annotation."""

    def make(
        name="a", regions=(("cat", (1, 1, 3, 3)),), size=SIZE, stored=SIZE, orientation=None, suffix="jpg"
    ):
        image(f"{name}.{suffix}", stored, orientation)
        # Labelme's rectangles hold their outline: 1..2 are two pixels.
        shapes = [
            dict(label=word, points=box(left, top, right - 1, bottom - 1))
            for word, (left, top, right, bottom) in regions
        ]
        content = dict(shapes=shapes, imagePath=f"{name.rpartition('/')[2]}.{suffix}", imageData=None)
        write(f"{name}.json", content | dict(imageHeight=size[0], imageWidth=size[1]))

    return make


@pytest.mark.parametrize(
    "orientation, size", [(6, SIZE), (6, SIZE[::-1]), (8, SIZE), (3, SIZE), (5, SIZE[::-1])]
)
def test_images_with_an_orientation_tag(labelme, converted, tmp_path, orientation, size):
    """Annotations of the upright image and of the pixels as stored: the dataset gives both upright. Pillow
    turns the expected label."""
    labelme(regions=[("cat", (1, 2, 4, 6))], size=size, orientation=orientation)
    result, _ = converted("labelme")
    assert not result.problems
    image, found, _ = FolderDataset(str(tmp_path / "out")).raw(0)
    upright = SIZE[::-1] if orientation > 4 else SIZE
    assert image.shape[:2] == found.shape == upright
    expected = label((0, 1, 2, 4, 6), size=size)
    if size != upright:
        turn = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}[orientation]
        expected = np.asarray(Image.fromarray(expected).transpose(turn))
    np.testing.assert_array_equal(found, expected)
    assert any("orientation" in note for note in result.notes) is (size != upright)


def test_an_annotation_of_another_size_is_listed(labelme, converted):
    labelme("a")
    labelme("b", size=(16, 24))
    result, masks = converted("labelme")
    (problem,) = result.problems
    assert list(masks) == ["a"] and problem.file.endswith("b.json")
    assert "24x16" in problem.text and "12x8" in problem.text


def test_words_that_are_no_class(labelme, converted):
    regions = [
        ("dog", (0, 0, 4, 4)),
        ("background", (0, 0, 2, 2)),
        ("__ignore__", (2, 2, 4, 4)),
        ("blur", (4, 0, 6, 2)),
        (" big  cat", (6, 0, 8, 2)),
    ]
    labelme(regions=regions)
    result, masks = converted("labelme", ignored=("blur",), rest="ground")
    assert result.names == ("big cat", "dog", "ground")
    areas = [(2, 0, 0, 12, 8), (1, 0, 0, 4, 4), (2, 0, 0, 2, 2), (255, 2, 2, 4, 4), (255, 4, 0, 6, 2)]
    np.testing.assert_array_equal(masks["a"], label(*areas, (0, 6, 0, 8, 2)))


def test_the_classes_of_a_user(labelme, converted):
    """Their order is kept, and others are ignored; background is a class if it is listed."""
    labelme(regions=[("dog", (0, 0, 2, 2)), ("background", (2, 0, 4, 2)), ("cat", (4, 0, 6, 2))])
    result, masks = converted("labelme", classes=("cat", "fox", "background"))
    np.testing.assert_array_equal(masks["a"], label((2, 2, 0, 4, 2), (0, 4, 0, 6, 2)))
    assert any("fox" in note for note in result.notes) and any("dog" in note for note in result.notes)


def test_images_without_a_class_and_images_of_other_formats(labelme, converted, tmp_path):
    labelme("a", suffix="bmp")
    labelme("b", regions=[])
    labelme("c", suffix="JPG")
    result, masks = converted("labelme")
    assert list(masks) == ["a", "c"] and any("left out: 1 (b)" in note for note in result.notes)
    assert sorted(path.name for path in (tmp_path / "out/images").iterdir()) == ["a.png", "c.jpg"]


def test_damaged_images_are_listed(labelme, converted, source):
    labelme("a")
    labelme("b")
    (source / "b.jpg").write_bytes((source / "b.jpg").read_bytes()[:-200])
    result, masks = converted("labelme")
    assert list(masks) == ["a"] and "b.jpg" in result.problems[0].text


def test_links(labelme, source, converted, tmp_path):
    labelme("a")
    converted("labelme", link=True)
    link = tmp_path / "out/images/a.jpg"
    assert link.is_symlink() and link.samefile(source / "a.jpg")


def test_parts(labelme, converted):
    for name in ("train/a", "valid/b", "c"):
        labelme(name)
    result, _ = converted("labelme")
    assert {part: entry.ids for part, entry in result.parts.items()} == {"train": ["a"], "val": ["b"]}
    assert any("list: 1 (c)" in note for note in result.notes)


def test_a_test_part_stands_in_for_val(labelme, converted, tmp_path):
    for name in ("train/a", "test/b"):
        labelme(name)
    result, _ = converted("labelme")
    assert list(result.parts) == ["train", "val"] and (tmp_path / "out/val.txt").read_text() == "b\n"


def test_parts_are_told_by_whole_words():
    assert [
        part_of(name) for name in ("instances_val2017", "training", "valid", "TEST", "validation-set")
    ] == [
        "val",
        "train",
        "val",
        "test",
        "val",
    ]
    assert [part_of(name) for name in ("trains", "value", "contest", "")] == [None] * 4


def test_ids():
    assert unique_ids(["x/a.jpg", "b.png"]) == ["a", "b"]
    assert unique_ids(["x/a.jpg", "y/a.jpg", "../z/c.jpg"]) == ["x_a", "y_a", "c"]
    assert unique_ids(["a.jpg", "a.png", "a_1.png"]) == ["a_2", "a_3", "a_1"]


def test_ids_that_a_list_can_hold(labelme, converted):
    """A list of ids may hold names of files, and its only line no commas; hidden files are not read."""
    for name in ("train/x.png", "val/one,two"):
        labelme(name)
    result, masks = converted("labelme")
    assert list(masks) == ["one_two", "x_png"] and result.parts["val"].ids == ["one_two"]
    assert unique_ids([".x.jpg", " y .jpg"]) == ["_x", "y"]


def test_nothing_is_overwritten_and_nothing_half_made(labelme, source, tmp_path):
    labelme("a", regions=[("cat", (20, 20, 30, 30))])
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"region 1.*pixel of the image"):
        convert(read("labelme", source, Options()), out, Settings())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="out.*already"):
        convert(read("labelme", source, Options()), out, Settings())
    assert (out / "mine.txt").read_text() == "x"


def test_numbers_without_end_and_files_of_another_kind_are_listed(labelme, write, converted):
    labelme("a")
    write("b.json", '{"shapes": [], "imagePath": "a.jpg", "imageHeight": 1e999, "imageWidth": 3}')
    write("c.json", '{"shapes": [], "imagePath": ')
    result, masks = converted("labelme", ignored=("cart",))
    assert list(masks) == ["a"]
    assert [problem.text.split(" (")[0] for problem in result.problems] == [
        "the file does not have the form of this format",
        "not a valid JSON file",
    ]
    assert "words to ignore that no region and no class has: cart" in result.notes


def test_an_unknown_encoding(source, write):
    write("a.xml", '<?xml version="1.0" encoding="klingon"?><annotations></annotations>')
    with pytest.raises(ValueError, match=r"a\.xml.*encoding"):
        read("cvat", source, Options())


def test_missing_packages_are_named(source, write, monkeypatch):
    write("labels/a.txt", "0 0 0 1 0 1 1\n")
    write("data.yaml", "names: [cat]\n")
    for package, names in (("yaml", ["yolo"]), ("pycocotools.mask", ["coco", "cvat", "labelstudio", "yolo"])):
        monkeypatch.setitem(sys.modules, package, None)
        for name in names:
            with pytest.raises(ValueError, match=r"pip install -e '\.\[annotations\]'"):
                read(name, source, Options())


def test_wrong_input_is_explained(source, tmp_path, write):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read("coco", tmp_path / "nowhere", Options())
    with pytest.raises(ValueError, match="unpack"):
        read("coco", write("export.zip", "PK"), Options())
    with pytest.raises(FileNotFoundError, match="--images"):
        read("coco", source, Options(images=tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="labelme"):
        read("labelme", source, Options())
