"""The released train and test recipes as lists of transforms, and the construction of such lists.

A dataset's `pipeline` option is one of
  - None: the released recipe;
  - a dict of settings: arguments of `train_recipe`, or in test mode, of `evaluation_recipe`;
  - a list of dicts: any registered transforms, in order.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jseg.datasets.photometric  # noqa: F401, registers the transform of the recipe
from jseg.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD, TRANSFORMS, Size, Transform
from jseg.names import did_you_mean


def train_recipe(
    crop_size: Size = 512,
    scale: Sequence[int] = (2048, 512),
    ratio_range: Sequence[float] = (0.5, 2.0),
    cat_max_ratio: float = 0.75,
    flip_prob: float = 0.5,
    photometric: bool = True,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> list[dict[str, Any]]:
    """Training transforms of the releases (VOC and COCO). `photometric=False` disables colour distortion."""
    return [
        dict(type="Resize", scale=scale, ratio_range=ratio_range),
        dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=cat_max_ratio),
        dict(type="RandomFlip", prob=flip_prob),
        *([dict(type="PhotometricDistortion")] if photometric else []),
        dict(type="Normalize", mean=mean, std=std),
        dict(type="Pad", size=crop_size),
    ]


def evaluation_recipe(
    short_side: int = 512, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> list[dict[str, Any]]:
    """Test transforms of the releases: a single scale, without flip."""
    return [dict(type="ResizeShortSide", short_side=short_side), dict(type="Normalize", mean=mean, std=std)]


def build_pipeline(
    pipeline: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, test_mode: bool
) -> tuple[Transform, ...]:
    """Builds the transforms described by `pipeline`; see the module docstring.

    Raises:
        ValueError: if a setting, transform or argument is unknown.
    """
    recipe = evaluation_recipe if test_mode else train_recipe
    if pipeline is None or isinstance(pipeline, Mapping):
        settings = dict(pipeline or {})
        _refuse_unknown(settings, recipe, test_mode)
        pipeline = recipe(**settings)
    return tuple(TRANSFORMS.build(step, where=f"pipeline[{i}]") for i, step in enumerate(pipeline))


def _refuse_unknown(settings: Mapping[str, Any], recipe: Callable[..., object], test_mode: bool) -> None:
    known = tuple(inspect.signature(recipe).parameters)
    for key in settings:
        if key not in known:
            which = "test" if test_mode else "training"
            raise ValueError(
                f"pipeline: there is no setting '{key}' in the {which} "
                f"recipe{did_you_mean(key, known)}; the settings are {', '.join(known)}"
            )
