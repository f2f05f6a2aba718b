"""The text, figures and files of a result."""

import json

import numpy as np
import pytest
from PIL import Image

from jseg.inference.result import Result, word_colours

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def result(**changes):
    mask = np.full((6, 8), 255, np.uint8)
    mask[:3, :4], mask[3:, 4:] = 0, 2
    values = dict(
        image=IMAGE,
        path=None,
        names=("cat", "dog", "grass"),
        mask=mask,
        nothing=255,
        confidence=np.where(mask == 0, 0.5, 0.75).astype(np.float16),
        areas=np.array([12, 0, 12]),
        unseen=(2,),
        seconds={"read": 0.1},
    )
    return Result(**{**values, **changes})


def test_words_are_looked_up_by_name():
    found = result()
    assert found["cat"].sum() == 12 and found["cat"][0, 0] and not found["dog"].any()
    assert list(found) == ["cat", "dog", "grass"]
    with pytest.raises(KeyError, match=r"cow.*grass"):
        found["cow"]


def test_segments_have_the_form_of_the_pipeline():
    first, second = result(areas=np.array([12, 0, 13])).segments()
    assert (first["label"], second["label"]) == ("grass", "cat")
    assert (first["score"], second["score"]) == (0.75, 0.5)
    assert second["mask"].size == (8, 6) and np.asarray(second["mask"]).sum() == 12 * 255


def test_dict_is_json_and_holds_shares():
    content = json.loads(json.dumps(result().to_dict()))
    assert [row["share"] for row in content["classes"]] == [0.25, 0, 0.25]
    assert [row["confidence"] for row in content["classes"]] == [0.5, None, 0.75]
    assert [row["unseen"] for row in content["classes"]] == [False, False, True]
    assert content["nothing"] == {"index": 255, "pixels": 24, "share": 0.5}


def test_colours_belong_to_the_word():
    assert (word_colours(["dog", "cat"])[1] == word_colours(["cat", "grass"])[0]).all()
    many = word_colours([f"word {index}" for index in range(100)])
    assert len(np.unique(many, axis=0)) == 100


def test_files_are_written_and_not_overwritten(tmp_path):
    found = result()
    files = found.save(tmp_path / "out")
    assert [path.name for path in files] == ["image.png", "image.overlay.png", "image.json"]
    with Image.open(files[0]) as mask:
        assert mask.mode == "P" and (np.asarray(mask) == found.mask).all()
        assert mask.getpalette()[:3] == found.palette[0].tolist()
    with pytest.raises(FileExistsError, match=r"image\.png"):
        found.save(tmp_path / "out")
    found.save(tmp_path / "out", overwrite=True)
    found.save(tmp_path / "out", stem="b", forms=("json",))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b.json",
        "image.json",
        "image.overlay.png",
        "image.png",
    ]
    with pytest.raises(ValueError, match="'gif'"):
        found.save(tmp_path, forms=("gif",))


def test_masks_may_hold_other_numbers(tmp_path):
    values = result().mask_image([7, 3, 20])
    np.testing.assert_array_equal(np.unique(np.asarray(values)), [0, 7, 20])
    assert values.getpalette()[21:24] == result().palette[0].tolist() and values.getpalette()[:3] == [0, 0, 0]
    np.testing.assert_array_equal(np.unique(np.asarray(result().mask_image([0, 3, 20]))), [0, 20, 255])
    found = result(mask=np.full((6, 8), 2, np.uint8))
    (path,) = found.save(tmp_path, "a", ("mask",), values=[7, 3, 20])
    assert np.asarray(Image.open(path)).tolist() == [[20] * 8] * 6
    for wrong in ([1, 2], [1, 1, 2], [1, 2, 255]):
        with pytest.raises(ValueError, match="values"):
            result().mask_image(wrong)


def test_outlines_have_the_names(tmp_path):
    found = result().outlines()  # two regions of 12 pixels, which are too small
    assert found == {"cat": [], "grass": []}
    (path,) = result(mask=np.zeros((6, 8), np.uint8)).save(tmp_path, "a", ("labelme",))
    (shape,) = json.loads(path.read_text())["shapes"]
    assert path == tmp_path / "labelme" / "a.json" and shape["label"] == "cat"


def test_overlay_enlarges_small_images_and_lists_what_was_found():
    plain, listed = result().overlay(legend=False), result().overlay()
    assert plain.size == (384, 288) and listed.height > plain.height
    assert result()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="alpha"):
        result().overlay(opacity=2)


def test_more_words_than_eight_bits():
    names = tuple(f"word {index}" for index in range(300))
    mask = np.full((6, 8), 299, np.uint16)
    mask[0] = 65535
    found = result(names=names, mask=mask, nothing=65535, areas=np.bincount(mask[1:].ravel(), minlength=300))
    assert np.asarray(found.mask_image()).max() == 65535
    assert found.overlay().width >= 384 and found["word 299"].sum() == 40
