"""Windows, averaging and resizing, against plain float64 formulas."""

import numpy as np
import pytest
from bilinear import plain_bilinear

from jseg.inference import windows
from jseg.inference.windows import (
    Pass,
    class_map,
    mean_scores,
    predict_windows,
    resize_bilinear,
    scaled_copies,
    slide_plan,
    whole_plan,
    window_positions,
)


def of_channels(maps: np.ndarray, size) -> np.ndarray:
    """`plain_bilinear` of (C, h, w)."""
    return plain_bilinear(maps.transpose(1, 2, 0), size).transpose(2, 0, 1)


def test_a_ramp_doubled_by_hand():
    # Samples of 0..3 doubled lie at -0.25, 0.25, 0.75, ... and are clamped at both ends.
    ramp = np.array([[[0, 1, 2, 3]]], np.float32)
    np.testing.assert_allclose(
        resize_bilinear(ramp, (1, 8))[0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    )
    np.testing.assert_allclose(
        resize_bilinear(ramp.transpose(0, 2, 1), (8, 1))[0, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    )


@pytest.mark.parametrize("size", [(7, 5), (3, 11), (13, 9), (1, 1), (5, 6)])
def test_resize_equals_the_definition(size):
    maps = np.random.default_rng(0).random((2, 5, 6), np.float32)
    before = maps.copy()
    np.testing.assert_allclose(resize_bilinear(maps, size), of_channels(maps, size), atol=1e-6)
    np.testing.assert_array_equal(maps, before)


def test_windows_of_the_released_recipe():
    # 683 px: the second window would end at 938 and is moved back to 683 - 512 = 171.
    assert window_positions((512, 683), (512, 512), (426, 426)) == [(0, 0), (0, 171)]
    assert window_positions((512, 512), (512, 512), (426, 426)) == [(0, 0)]
    assert window_positions((512, 938), (512, 512), (426, 426)) == [(0, 0), (0, 426)]
    assert window_positions((512, 939), (512, 512), (426, 426)) == [(0, 0), (0, 426), (0, 427)]


def test_windows_match_the_mmsegmentation_formula():
    for length in range(1, 40):
        for crop, stride in ((8, 5), (8, 8), (3, 1)):
            grids = max(length - crop + stride - 1, 0) // stride + 1
            expected = [max(min(i * stride + crop, length) - crop, 0) for i in range(grids)]
            assert [left for _, left in window_positions((1, length), (1, crop), (1, stride))] == expected


def test_overlaps_are_averaged():
    # Each window answers with its running number: 0 on the first 6 columns, 1 on the last 6 of 10.
    calls = []

    def number(window):
        calls.append(window)
        return np.full((1, 2, *window.shape[2:]), len(calls) - 1, np.float32)

    image = np.random.default_rng(0).random((3, 6, 10), np.float32)
    result = predict_windows(number, image, slide_plan((6, 10), 6, 4))
    np.testing.assert_array_equal(result, np.broadcast_to([0, 0, 0, 0, 0.5, 0.5, 1, 1, 1, 1], (2, 6, 10)))
    np.testing.assert_array_equal(calls[1][0], image[:, :, 4:])


def test_an_image_smaller_than_the_window_is_filled_and_cut_back():
    shapes = []

    def same(window):
        shapes.append(window.shape)
        return window

    image = np.random.default_rng(0).random((3, 4, 9), np.float32)
    np.testing.assert_array_equal(predict_windows(same, image, slide_plan((4, 9), (8, 8), (6, 6))), image)
    assert shapes == [(1, 3, 8, 8)] * 2


def test_pointwise_model_gives_the_same_whole_and_sliding():
    image = np.random.default_rng(0).random((3, 13, 21), np.float32)
    whole = predict_windows(np.square, image, whole_plan((13, 21), 8))
    np.testing.assert_array_equal(whole, image**2)
    np.testing.assert_allclose(
        predict_windows(np.square, image, slide_plan((13, 21), 8, 5)), whole, atol=1e-6
    )


def test_whole_fills_to_the_divisor():
    shapes = []
    image = np.ones((3, 13, 16), np.float32)
    predict_windows(lambda x: shapes.append(x.shape) or x, image, whole_plan((13, 16), 8))
    assert shapes == [(1, 3, 16, 16)]


def test_gaps_and_wrong_models_are_refused():
    with pytest.raises(ValueError, match=r"stride.*\b9\b.*\b8\b"):
        slide_plan((8, 8), 8, 9)
    with pytest.raises(ValueError, match=r"predict_fn.*\(1, 3, 4, 8\)"):
        predict_windows(lambda x: x[:, :, :4], np.zeros((3, 8, 8), np.float32), whole_plan((8, 8)))


@pytest.mark.parametrize("values", [1, 40, 10**6])
def test_strips_of_the_class_map_equal_the_whole(monkeypatch, values):
    """For any number of rows in memory at a time, down to one."""
    monkeypatch.setattr(windows, "_STRIP_VALUES", values)
    rng = np.random.default_rng(0)
    passes = [Pass(rng.random((3, 5, 6), np.float32)), Pass(rng.random((3, 7, 9), np.float32), mirrored=True)]
    wide = [of_channels(maps, (11, 13)) for maps, _ in passes]
    wanted = (wide[0] + wide[1][..., ::-1]) / 2
    mask, confidence = class_map(passes, (11, 13))
    np.testing.assert_array_equal(mask, wanted.argmax(0))
    np.testing.assert_allclose(confidence, wanted.max(0), atol=1e-6)
    np.testing.assert_allclose(mean_scores(passes, (11, 13)), wanted, atol=1e-6)


def test_copies_of_test_time_augmentation():
    image = np.zeros((3, 2, 4), np.float32)
    image[..., 0] = 8
    copies = list(scaled_copies(image, scales=(1.0, 1.5), flip=True))
    assert [(copy.shape, mirrored) for copy, mirrored in copies] == [
        ((3, 2, 4), False),
        ((3, 2, 4), True),
        ((3, 3, 6), False),
        ((3, 3, 6), True),
    ]
    np.testing.assert_array_equal(copies[1][0], image[..., ::-1])
    np.testing.assert_array_equal(copies[2][0], resize_bilinear(image, (3, 6)))
    ((only, mirrored),) = scaled_copies(image)
    assert only is image and not mirrored
    with pytest.raises(ValueError, match="scales"):
        list(scaled_copies(image, ()))


def test_regions_of_windows_are_joined_into_one_grid():
    """Windows of 4 x 4 every 2 columns over 4 x 6, with 2 x 2 regions: the middle column is seen twice."""
    plan = windows.slide_plan((4, 6), 4, 2)
    left = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)
    right = np.array([[[4.0, 6.0], [8.0, 7.0]]], np.float32)
    joined = windows.merge_regions([left, right], plan)
    np.testing.assert_allclose(joined, [[[1, 3, 6], [3, 6, 7]]])


def test_regions_of_one_window_stay_and_what_was_filled_up_is_left_out():
    scores = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    np.testing.assert_array_equal(windows.merge_regions([scores], windows.whole_plan((8, 12), 4)), scores)
    padded = windows.slide_plan((4, 8), 8, 8)
    np.testing.assert_array_equal(windows.merge_regions([scores], padded), scores[:, :2])
