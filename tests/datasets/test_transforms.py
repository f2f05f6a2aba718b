"""Every transform on cases small enough to check by hand."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
from bilinear import plain_bilinear

from jseg.datasets import resample
from jseg.datasets.photometric import PhotometricDistortion, hsv_to_rgb, rgb_to_hsv
from jseg.datasets.resample import resize_image, resize_label
from jseg.datasets.transforms import Normalize, Pad, RandomCrop, RandomFlip, Resize, ResizeShortSide


class Script:
    """A generator that returns prepared numbers, to play through one particular sequence of draws."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def _next(self, *_):
        return self.numbers.pop(0)

    integers = uniform = random = _next


def sample_of(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (height, width, 3), np.uint8),
        "label": rng.integers(0, 3, (height, width), np.uint8),
        "name": "x",
    }


@pytest.mark.parametrize("size", [(17, 29), (22, 26), (5, 6), (11, 7), (4, 26), (11, 13)])
def test_image_resize_is_the_rounded_definition(size):
    """Growing, shrinking (no smoothing), and one of each; fixed point may differ in the last unit."""
    image = sample_of(11, 13)["image"]
    result = resize_image(image, size)
    assert result.dtype == np.uint8 and result.shape == (*size, 3)
    assert np.abs(result - plain_bilinear(image.astype(np.float64), size)).max() < 1.01


OPENCV = dict(np.load(Path(__file__).with_name("opencv") / "values.npz"))


@pytest.mark.parametrize("number", [name.split(".")[0] for name in OPENCV if name.endswith(".image")])
def test_image_resize_equals_opencv(number):
    """Every value, also where both sides are halved, at the borders, and for a single pixel."""
    expected = OPENCV[f"{number}.resized"]
    np.testing.assert_array_equal(resize_image(OPENCV[f"{number}.image"], expected.shape[:2]), expected)


def test_only_the_rows_that_matter_are_read_and_blocks_do_not_show(monkeypatch):
    image = sample_of(400, 30)["image"]
    whole = resize_image(image, (7, 29))
    image[5:20] = 0  # the first row of the result lies between rows 28 and 29
    monkeypatch.setattr(resample, "_VALUES_AT_ONCE", 200)
    np.testing.assert_array_equal(resize_image(image, (7, 29)), whole)
    image[28] = 0
    assert (resize_image(image, (7, 29)) != whole).any()


def test_image_ramp_doubled_by_hand():
    ramp = np.repeat(np.array([[0, 100, 200]], np.uint8)[..., None], 3, axis=2)
    assert resize_image(ramp, (1, 6))[0, :, 0].tolist() == [0, 25, 75, 125, 175, 200]
    assert resize_image(np.tile(ramp, (2, 1, 1)), (1, 6))[0, :, 0].tolist() == [0, 25, 75, 125, 175, 200]


def test_label_resize_takes_floor_of_the_scaled_position():
    label = np.array([[0, 1, 2, 3, 4]], np.uint8)
    assert resize_label(label, (1, 3))[0].tolist() == [0, 1, 3]  # 0, 5/3, 10/3
    assert resize_label(label, (2, 10)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]] * 2


@pytest.mark.parametrize(
    "shape, ratio, expected",
    [
        # VOC's 375x500: limits (1024, 256): min(1024 / 500, 256 / 375) = 0.68266 -> 256 x 341.33
        ((375, 500), 0.5, (256, 341)),
        # ratio 1.5: limits (3072, 768): factor 2.048 -> 768 x 1024
        ((375, 500), 1.5, (768, 1024)),
        # A strip meets the long limit first: min(2048 / 1000, 512 / 100) = 2.048 -> 2048 x 204.8
        ((1000, 100), 1.0, (2048, 205)),
    ],
)
def test_resize_to_a_box(shape, ratio, expected):
    sample = {"image": np.zeros((*shape, 3), np.uint8), "label": np.zeros(shape, np.uint8)}
    resized = Resize((2048, 512), (0.5, 2.0))(sample, Script(ratio))
    assert resized["image"].shape[:2] == resized["label"].shape == expected


def test_resize_ratio_stays_in_its_range():
    rng = np.random.default_rng(0)
    sample = {"image": np.zeros((20, 20, 3), np.uint8)}
    sides = [Resize((400, 100), (0.5, 2.0))(sample, rng)["image"].shape[0] for _ in range(200)]
    assert 50 <= min(sides) < 60 and 190 < max(sides) <= 200


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((375, 500), (512, 683)),
        ((500, 375), (683, 512)),
        ((100, 1000), (512, 5120)),
        ((512, 512), (512, 512)),
        ((100, 1600), (512, 8192)),
        ((1, 400), (512, 8192)),  # squeezed: 512 x 204800 fits into no memory
        ((3000, 1), (8192, 512)),
    ],
)
def test_short_side_is_exact_and_the_long_side_has_a_limit(shape, expected):
    sample = {"image": np.zeros((*shape, 3), np.uint8)}
    assert ResizeShortSide(512)(sample, Script())["image"].shape[:2] == expected


def test_class_balance_rule_by_hand():
    crop = RandomCrop(2, 0.75)
    assert not crop.is_balanced(np.array([[1, 1], [1, 2]], np.uint8))  # 3/4 is not below 0.75
    assert crop.is_balanced(np.array([[1, 1], [2, 2]], np.uint8))
    assert not crop.is_balanced(np.array([[1, 1], [255, 255]], np.uint8))  # one class
    assert not crop.is_balanced(np.array([[255, 255]], np.uint8))  # none
    assert crop.is_balanced(np.array([[1, 2], [255, 255]], np.uint8))  # 255 does not count


def test_crop_is_drawn_again_until_balanced():
    sample = {
        "image": np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3),
        "label": np.array([[1, 1, 1, 2], [1, 1, 1, 2]], np.uint8),
    }
    draws = Script(0, 0, 0, 1, 0, 2, 0, 0)  # lefts 0, 1 hold one class, 2 holds both; the fourth is not drawn
    cut = RandomCrop(2, 0.75)(sample, draws)
    assert cut["label"].tolist() == [[1, 2], [1, 2]] and draws.numbers == [0, 0]
    np.testing.assert_array_equal(cut["image"], sample["image"][:, 2:])


def test_after_ten_redraws_the_last_is_kept():
    sample = {"image": np.zeros((1, 20, 3), np.uint8), "label": np.full((1, 20), 255, np.uint8)}
    sample["image"][0, :, 0] = range(20)
    draws = Script(*[number for left in range(11) for number in (0, left)])
    assert RandomCrop((1, 2), 0.75)(sample, draws)["image"][0, 0, 0] == 10 and not draws.numbers


def test_crop_covers_every_position():
    sample = {"image": np.arange(5, dtype=np.uint8)[None, :, None].repeat(3, axis=2)}
    rng = np.random.default_rng(0)
    lefts = {int(RandomCrop((1, 3))(sample, rng)["image"][0, 0, 0]) for _ in range(50)}
    assert lefts == {0, 1, 2}


def test_flip():
    sample = sample_of(4, 5)
    flipped = RandomFlip(0.5)(sample, Script(0.49))
    np.testing.assert_array_equal(flipped["image"], sample["image"][:, ::-1])
    np.testing.assert_array_equal(flipped["label"], sample["label"][:, ::-1])
    np.testing.assert_array_equal(RandomFlip(0.5)(sample, Script(0.5))["image"], sample["image"])


def test_normalise_by_hand():
    image = np.array([[[0, 255, 128]]], np.uint8)
    result = Normalize()({"image": image}, Script())["image"]
    assert result.dtype == np.float32
    expected = [-123.675 / 58.395, (255 - 116.28) / 57.12, (128 - 103.53) / 57.375]
    np.testing.assert_allclose(result[0, 0], expected, rtol=1e-6)


def test_pad_at_right_and_bottom():
    sample = {"image": np.ones((2, 5, 3), np.float32), "label": np.ones((2, 5), np.uint8)}
    padded = Pad((3, 4))(sample, Script())
    assert padded["label"].tolist() == [[1] * 5, [1] * 5, [255] * 5]
    assert padded["image"].shape == (3, 5, 3) and not padded["image"][2].any()


def test_hsv_agrees_with_the_standard_library():
    rng = np.random.default_rng(0)
    special = np.array([[[0, 0, 0], [255, 255, 255], [7, 7, 7], [255, 0, 0], [0, 0, 255]]], np.uint8)
    image = np.concatenate([rng.integers(0, 256, (1, 300, 3), np.uint8), special], 1)
    hue, saturation, value = rgb_to_hsv(image)
    for pixel, h, s, v in zip(image[0], hue[0], saturation[0], value[0]):
        expected = colorsys.rgb_to_hsv(*(pixel / 255.0))
        assert min(abs(h - 180 * expected[0]), 180 - abs(h - 180 * expected[0])) <= 0.55
        assert abs(s - 255 * expected[1]) <= 0.51 and v == pixel.max()
        back = 255 * np.array(colorsys.hsv_to_rgb(h / 180, s / 255, v / 255))
        # Cut, not rounded, and v / 255 * 255 may end below v.
        result = hsv_to_rgb(*(np.array([[x]]) for x in (h, s, v)))[0, 0]
        assert (result <= back + 1e-3).all() and (result > back - 1.001).all()


def test_hsv_equals_opencv():
    hsv = np.stack(rgb_to_hsv(OPENCV["rgb"]), -1)
    np.testing.assert_array_equal(hsv, OPENCV["hsv"])
    planes = (np.ascontiguousarray(hsv[..., channel]) for channel in range(3))
    np.testing.assert_array_equal(hsv_to_rgb(*planes), OPENCV["back"])


def distort(image, *draws):
    script = Script(*draws)
    result = PhotometricDistortion()({"image": image}, script)["image"]
    assert not script.numbers and result.dtype == np.uint8
    return result


def test_distortion_steps_by_hand():
    image = np.array([[[10, 100, 250]]], np.uint8)
    # draws: brightness? [delta]; contrast first?; contrast? [factor]; saturation? [factor]; hue? [turn]
    assert distort(image, 0, 0, 0, 0, 0).tolist() == image.tolist()
    assert distort(image, 1, 20.0, 0, 0, 0, 0).tolist() == [[[30, 120, 255]]]  # clipped
    assert distort(image, 1, -20.0, 1, 1, 1.5, 0, 0).tolist() == [[[0, 120, 255]]]  # 0, 80 * 1.5, 230 * 1.5
    red = np.array([[[200, 0, 0]]], np.uint8)
    assert distort(red, 0, 0, 0, 1, 0.5, 0).tolist() == [[[200, 100, 100]]]  # S 255 -> 127
    assert distort(red, 0, 0, 0, 0, 1, -15).tolist() == [[[200, 0, 99]]]  # 330 degrees


def test_contrast_after_the_colour_steps():
    red = np.array([[[200, 0, 0]]], np.uint8)
    # saturation 0.5 first gives (200, 100, 100); contrast 0.5 then halves it
    assert distort(red, 0, 0, 1, 0.5, 1, 0.5, 0).tolist() == [[[100, 50, 50]]]


@pytest.mark.parametrize(
    "transform",
    [
        Resize((40, 20), (0.5, 2)),
        ResizeShortSide(9),
        RandomCrop(6),
        RandomFlip(1.0),
        PhotometricDistortion(),
        Normalize(),
        Pad(30),
    ],
)
def test_transforms_leave_their_input_alone_and_repeat(transform):
    for seed in range(5):
        sample, untouched = sample_of(12, 17), sample_of(12, 17)
        first = transform(sample, np.random.default_rng(seed))
        second = transform(sample, np.random.default_rng(seed))
        np.testing.assert_array_equal(first["image"], second["image"])
        for key in ("image", "label"):
            np.testing.assert_array_equal(sample[key], untouched[key])
        assert first["image"].shape[:2] == first["label"].shape or isinstance(transform, Normalize)


@pytest.mark.parametrize(
    "build, pattern",
    [
        (lambda: Resize(ratio_range=(2, 1)), r"Resize\.ratio_range"),
        (lambda: RandomCrop((0, 5)), r"RandomCrop\.crop_size"),
        (lambda: RandomCrop(5, 75), r"RandomCrop\.cat_max_ratio.*\b75\b"),
        (lambda: RandomFlip(50), r"RandomFlip\.prob.*\b50\b"),
        (lambda: Normalize(std=(1, 0, 1)), r"Normalize.*\bstd\b.*\(1, 0, 1\)"),
        (lambda: PhotometricDistortion(contrast_range=(2, 1)), r"PhotometricDistortion\.contrast_range"),
    ],
)
def test_impossible_arguments(build, pattern):
    with pytest.raises(ValueError, match=pattern):
        build()
