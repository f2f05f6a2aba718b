"""The config keys outside the `dict(type=...)` parts, with their types and defaults."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jseg.names import did_you_mean
from jseg.registry import matches

_NONE = type(None)


class Key(NamedTuple):
    """One config key.

    `required` keys have no default, and numbers below `minimum` are refused. `about` is the description in
    docs/configs.md.
    """

    types: tuple[type, ...]
    default: Any = None
    required: bool = False
    minimum: float = float("-inf")
    about: str = ""


class KeyProblem(ValueError):
    """A problem with the config key `key`."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"config key {key}: {problem}")
        self.key = key


TOP_LEVEL: dict[str, Key] = {
    "imports": Key((list, tuple), (), about="plug-in modules, imported before anything is built"),
    "model": Key((dict,), required=True, about="the segmentor"),
    "dataset": Key((dict,), required=True, about="the datasets `train`, `val` and `test`"),
    "optimizer": Key((dict,), required=True, about="the optimizer"),
    "scheduler": Key((dict,), required=True, about="the schedule of the learning rate"),
    "max_iters": Key((int,), required=True, minimum=1, about="number of updates"),
    "batch_size": Key(
        (int,), required=True, minimum=1, about="images per update, over all ranks and accumulation steps"
    ),
    "accumulate": Key((int,), 1, minimum=1, about="parts in which a rank processes its share of the batch"),
    "compress_gradients": Key(
        (bool,), False, about="gradients travel between ranks as bfloat16, with error feedback"
    ),
    "data_root": Key(
        (str, _NONE),
        about="folder of the data. None: the variable JSEG_DATA_ROOT, or else `data`",
    ),
    "num_workers": Key(
        (int,),
        0,
        minimum=0,
        about="processes of each rank that read images, in training, evaluation and test; 0: the run itself",
    ),
    "max_bad_images": Key(
        (int,), 0, minimum=0, about="number of training images that may be unreadable; they are skipped"
    ),
    "seed": Key((int,), 0, minimum=0, about="seed of the run"),
    "log_interval": Key((int,), 50, minimum=1, about="iterations between two lines of the log"),
    "eval_interval": Key(
        (int, _NONE),
        minimum=1,
        about="iterations between two evaluations. None: only at the end",
    ),
    "checkpoint_interval": Key(
        (int, _NONE),
        minimum=1,
        about="iterations between two checkpoints. None: only at the end",
    ),
    "keep_checkpoints": Key((int,), 3, minimum=1, about="number of checkpoints to keep, besides the best"),
    "inference": Key((dict,), {"mode": "slide"}, about="how images are segmented"),
    "init_from": Key((str, _NONE), about="checkpoint whose weights the training starts from"),
    "fine_tune": Key((bool,), False, about="`init_from` may be a model of other classes, in any setting"),
    "work_dir": Key((str, _NONE), about="folder of the run. None: `work_dirs/` and the name of the config"),
    "watchdog_seconds": Key(
        (int, float, _NONE), 45, minimum=1, about="a rank that hangs for this long ends the job. None: never"
    ),
    "visualize": Key((dict,), {"num_images": 8}, about="the figures of a run"),
    "sinks": Key((list, tuple), (), about="services that also receive losses, scores and figures"),
}

RENAMED: dict[str, str] = {"max_bad_pictures": "max_bad_images"}
"""Top-level keys of earlier versions -> their names now."""

INFERENCE: dict[str, Key] = {
    "mode": Key((str,), "slide", about="'slide': overlapping windows; 'whole': the image at once"),
    "crop_size": Key(
        (int, list, tuple, _NONE), about="size of windows in pixels: one number or (height, width)"
    ),
    "stride": Key((int, list, tuple, _NONE), about="distance of windows in pixels"),
    "scales": Key(
        (list, tuple), (1.0,), about="test-time augmentation: factors of the tested size, averaged"
    ),
    "flip": Key((bool,), False, about="test-time augmentation: average with the mirror image"),
}
VISUALIZE: dict[str, Key] = {
    "num_images": Key((int,), 8, minimum=0, about="rows of the panel figure; 0: no figures but the curves")
}
DATASET: dict[str, Key] = {
    "train": Key((dict,), about="for training"),
    "val": Key((dict,), about="for evaluation"),
    "test": Key((dict,), about="for `jseg test`; masks are not needed"),
}

PLAIN_PARTS: dict[str, dict[str, Key]] = {"inference": INFERENCE, "visualize": VISUALIZE, "dataset": DATASET}


def check_keys(values: Mapping[str, Any], keys: Mapping[str, Key], where: str = "") -> None:
    """Checks names, types and lower bounds of `values`.

    Raises:
        KeyProblem: names the key, the accepted types and the nearest known key.
    """
    prefix = where + "." if where else ""
    for name, value in values.items():
        if name in RENAMED and keys is TOP_LEVEL:
            raise KeyProblem(name, f"its name is now {RENAMED[name]}; change the config or --set")
        if name not in keys:
            hint = "" if where else " (a helper variable of a config file begins with an underscore)"
            raise KeyProblem(prefix + name, f"unknown{did_you_mean(name, keys)}{hint}")
        key = keys[name]
        if not matches(value, key.types):
            accepted = " or ".join("None" if item is _NONE else item.__name__ for item in key.types)
            raise KeyProblem(prefix + name, f"expected {accepted}, got {value!r}")
        if isinstance(value, (int, float)) and value < key.minimum:
            raise KeyProblem(prefix + name, f"must be at least {key.minimum}, got {value}")
