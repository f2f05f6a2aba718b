"""Outlines of masks cover the pixels that they came from, without holes; files hold what tools read."""

import json

import numpy as np
import pytest

from jseg.datasets.outlines import CocoFile, class_outlines, find_outlines, save_labelme


def filled(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool (H, W): the pixels whose centre a polygon surrounds, by the even-odd rule."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0)):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


@pytest.fixture
def mask():
    """A ring around a disc, a bar at the border, a speck; 1 elsewhere, and nothing (255) in a corner."""
    y, x = np.mgrid[:60, :80]
    radius = np.hypot(y - 30, x - 40)
    label = np.ones((60, 80), np.uint8)
    label[radius < 25] = 0
    label[radius < 12] = 2
    label[:, 75:] = 2
    label[:9, :9] = 255
    label[50:53, 3:6] = 0  # 9 pixels
    return label


def test_polygons_cover_their_pixels(mask):
    found = class_outlines(mask, ["ring", "ground", "disc", "absent"])
    assert list(found) == ["ring", "ground", "disc"] and [len(each) for each in found.values()] == [1, 1, 2]
    for index, outlines in enumerate(found.values()):
        painted = np.zeros(mask.shape, bool)
        for outline in outlines:
            painted ^= filled(outline.points, mask.shape)
        wanted = mask == index
        if index == 0:
            wanted[50:53, 3:6] = False  # the speck is left out
        assert (painted ^ wanted).sum() <= 0.02 * wanted.sum()
    assert not filled(found["ring"][0].points, mask.shape)[25:35, 35:45].any()  # the hole
    assert len(found["ring"][0].points) < 80  # not one corner for each pixel of 230 at its edges
    bar = found["disc"][1]
    assert bar.box == (75, 0, 80, 60)
    assert bar.area == pytest.approx(300, abs=1)


def test_no_pixels_no_outlines():
    assert find_outlines(np.zeros((4, 4), bool)) == []
    (all_of_it,) = find_outlines(np.ones((4, 5), bool))
    assert all_of_it.area == pytest.approx(20, abs=1)


def test_a_labelme_file(mask, tmp_path):
    outlines = class_outlines(mask, ["ring", "ground", "disc"])
    save_labelme(tmp_path / "out" / "a.json", tmp_path / "photos" / "a.jpg", (60, 80), outlines)
    content = json.loads((tmp_path / "out" / "a.json").read_text())
    assert content["imagePath"] == "../photos/a.jpg" and content["imageData"] is None
    assert (content["imageHeight"], content["imageWidth"]) == (60, 80)
    assert [shape["label"] for shape in content["shapes"]] == ["ring", "ground", "disc", "disc"]
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
    np.testing.assert_allclose(content["shapes"][0]["points"], outlines["ring"][0].points, atol=0.006)


def test_a_coco_file_in_the_order_of_the_images(mask, tmp_path):
    names = ["ring", "ground", "disc"]
    first, second = CocoFile(names, [7, 3, 5]), CocoFile(names, [7, 3, 5])
    first.add(1, "b.jpg", (60, 80), class_outlines(mask, names))
    second.add(0, "a.jpg", (60, 80), class_outlines(np.full((60, 80), 2, np.uint8), names))
    first.take(json.loads(json.dumps(second.entries()), object_hook=_numbers))
    first.save(tmp_path / "coco.json")
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [(image["id"], image["file_name"]) for image in content["images"]] == [(1, "a.jpg"), (2, "b.jpg")]
    assert [(row["id"], row["name"]) for row in content["categories"]] == [
        (7, "ring"),
        (3, "ground"),
        (5, "disc"),
    ]
    rows = content["annotations"]
    assert [row["id"] for row in rows] == [1, 2, 3, 4, 5]
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(1, 5), (2, 7), (2, 3), (2, 5), (2, 5)]
    assert rows[0]["bbox"] == [0, 0, 80, 60] and rows[0]["iscrowd"] == 0
    assert len(rows[0]["segmentation"]) == 1 and len(rows[0]["segmentation"][0]) % 2 == 0


def _numbers(entries: dict) -> dict:
    return {int(key) if key.isdigit() else key: value for key, value in entries.items()}
