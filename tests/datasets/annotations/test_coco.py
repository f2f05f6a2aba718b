"""COCO JSON against pycocotools and against masks written down by hand."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from shapes import SIZE, box, flat, label

from jseg.datasets.annotations.core import Options
from jseg.datasets.annotations.formats import read, recognised


def content(annotations, images=(("a.png", 1),), categories=("cat", "dog")):
    return {
        "images": [dict(id=number, file_name=name, height=SIZE[0], width=SIZE[1]) for name, number in images],
        "annotations": [dict(id=number, **entry) for number, entry in enumerate(annotations, 1)],
        "categories": [dict(id=10 * number, name=name) for number, name in enumerate(categories, 1)],
    }


def region(category, segmentation, image=1, crowd=0):
    return dict(category_id=category, segmentation=segmentation, image_id=image, iscrowd=crowd)


def test_polygons_and_both_kinds_of_run_lengths(image, write, converted):
    """A hole comes with the run lengths; parts of an annotation are united."""
    ring = np.zeros(SIZE, np.uint8)
    ring[1:6, 1:6] = 1
    ring[2:5, 2:5] = 0
    compressed = coco_mask.encode(np.asfortranarray(ring))
    compressed["counts"] = compressed["counts"].decode()
    spot = np.zeros(SIZE, bool)
    spot[7, 11] = True
    runs = [int(np.flatnonzero(spot.T.reshape(-1))[0]), 1]
    image("images/a.png")
    write(
        "annotations/instances_default.json",
        content(
            [
                region(10, [flat(8, 0, 10, 2), flat(9, 1, 12, 3)]),
                region(20, compressed),
                region(10, {"size": list(SIZE), "counts": runs}),
            ]
        ),
    )
    result, masks = converted("coco")
    expected = label(
        (0, 8, 0, 10, 2), (0, 9, 1, 12, 3), (1, 1, 1, 6, 6), (255, 2, 2, 5, 5), (0, 11, 7, 12, 8)
    )
    np.testing.assert_array_equal(masks["a"], expected)
    assert result.names == ("cat", "dog") and not result.problems and list(result.parts) == ["all"]


@pytest.mark.parametrize("seed", range(3))
def test_polygons_of_any_form_are_those_of_pycocotools(image, write, converted, seed):
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-2, 14, (rng.integers(3, 8), 2)).reshape(-1).tolist() for _ in range(2)]
    image("a.png")
    write("x.json", content([region(10, polygons)]))
    _, masks = converted("coco")
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE)))
    np.testing.assert_array_equal(masks["a"], np.where(expected, 0, 255))


@pytest.mark.parametrize("overlap, winner", [(None, 1), ("smaller", 1), ("later", 0)])
def test_overlaps_and_crowds(image, write, converted, overlap, winner):
    """The dog is smaller and comes first. A crowd lies below everything, small as it is."""
    image("a.png")
    regions = [
        region(20, [flat(2, 2, 5, 5)]),
        region(10, [flat(0, 0, 8, 8)]),
        region(20, [flat(6, 6, 10, 8)], crowd=1),
    ]
    write("x.json", content(regions))
    result, masks = converted("coco", overlap=overlap)
    expected = label((1, 6, 6, 10, 8), (0, 0, 0, 8, 8), (winner, 2, 2, 5, 5))
    np.testing.assert_array_equal(masks["a"], expected)
    assert any(str(9 + 4) in note and "smaller" in note for note in result.notes) is (overlap != "later")


def test_instances_and_stuff_of_two_parts(image, write, converted):
    """As COCO publishes them: images in folders of the parts, two files a part."""
    for part, name in (("train2017", "a"), ("val2017", "b")):
        image(f"{part}/{name}.png")
        images = [(f"{name}.png", 1)]
        write(f"annotations/instances_{part}.json", content([region(10, [flat(0, 0, 4, 4)])], images))
        stuff = content([region(10, [flat(0, 0, 12, 8)])], images, ("sky",))
        write(f"annotations/stuff_{part}.json", stuff)
    result, masks = converted("coco")
    assert result.names == ("cat", "dog", "sky")
    for mask in masks.values():
        np.testing.assert_array_equal(mask, label((2, 0, 0, 12, 8), (0, 0, 0, 4, 4)))
    assert {part: entry.ids for part, entry in result.parts.items()} == {"train": ["a"], "val": ["b"]}
    assert any("dog" in note and "unseen.txt" in note for note in result.notes)


def test_what_does_not_fit_is_listed_and_the_rest_converted(image, write, converted, tmp_path):
    image("a.png")
    wrong = [
        dict(category_id=10, image_id=1, bbox=[0, 0, 4, 4]),
        region(10, []),
        region(99, [flat(0, 0, 4, 4)]),
        region(10, [[0, 0, 4, 4]]),
        region(10, [[0, 0, 4, 4, None, 1]]),
        region(10, {"size": [3, 3], "counts": [9]}),
        region(10, {"size": list(SIZE), "counts": "!"}),
        region(10, [flat(40, 40, 50, 50)]),
    ]
    entries = content([*wrong, region(20, [flat(1, 1, 3, 3)])], [("a.png", 1), ("ghost.png", 2)])
    file = write("x.json", entries)
    result, masks = converted("coco")
    np.testing.assert_array_equal(masks["a"], label((1, 1, 1, 3, 3)))
    texts = [problem.text for problem in result.problems]
    assert len(texts) == len(wrong) + 1 and all(problem.file == str(file) for problem in result.problems)
    for word in ("box", "category 99", "2 points", "outside", "3x3", "any pixel", "ghost.png"):
        assert any(word in text for text in texts), word
    listed = (tmp_path / "out/left_out.txt").read_text()
    assert listed.count("\n") == len(texts) and "ghost.png" in listed


def test_a_long_file_is_recognised_and_a_panoptic_one_explained(image, write, source):
    """Only its beginning and its end are looked at."""
    regions = [region(10, [flat(0, 0, 4, 4)]) for _ in range(1500)]
    entries = content(regions, [(f"{'long' * 9}{number}.png", number) for number in range(1500)])
    file = write("x.json", entries)
    assert file.stat().st_size > 300_000 and recognised(source) == "coco"
    image("a.png")
    panoptic = dict(image_id=1, file_name="a.png", segments_info=[dict(id=1, category_id=10)])
    found = read("coco", write("x.json", content([panoptic])), Options())
    assert len(found.images) == 1 and "panoptic" in found.problems[0].text


def test_other_files_are_not_taken_for_coco(write, source):
    write("x.json", {"images": [], "annotations": []})
    assert recognised(source) is None
    with pytest.raises(ValueError, match="categories"):
        read("coco", source / "x.json", Options())
    write("x.json", "{")
    with pytest.raises(ValueError, match=r"x\.json"):
        read("coco", source / "x.json", Options())
    with pytest.raises(ValueError, match="coco"):
        read("coco", source, Options())
    write("x.json", json.dumps({"shapes": [], "imagePath": "a.png", "padding": box(0, 0, 1, 1)}))
    with pytest.raises(ValueError, match="jseg annotations labelme"):
        read("coco", source, Options())
