"""The config keys outside the `dict(type=...)` parts, with their types and defaults."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jseg.names import did_you_mean
from jseg.registry import matches

_NONE = type(None)


class Key(NamedTuple):
    """One config key. `required` keys have no default, and numbers below `minimum` are refused."""

    types: tuple[type, ...]
    default: Any = None
    required: bool = False
    minimum: float = float("-inf")


class KeyProblem(ValueError):
    """A problem with the config key `key`."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"config key {key}: {problem}")
        self.key = key


TOP_LEVEL: dict[str, Key] = {
    "imports": Key((list, tuple), ()),  # plug-in modules, imported before anything is built
    "model": Key((dict,), required=True),
    "dataset": Key((dict,), required=True),
    "optimizer": Key((dict,), required=True),
    "scheduler": Key((dict,), required=True),
    "max_iters": Key((int,), required=True, minimum=1),
    # Images per update, over all ranks and accumulation steps.
    "batch_size": Key((int,), required=True, minimum=1),
    "accumulate": Key((int,), 1, minimum=1),  # parts in which a rank processes its share of the batch
    "data_root": Key((str, _NONE)),  # None: the environment variable JSEG_DATA_ROOT, else data
    "num_workers": Key((int,), 0, minimum=0),
    # Number of training images that may be unreadable; they are skipped.
    "max_bad_images": Key((int,), 0, minimum=0),
    "seed": Key((int,), 0, minimum=0),
    "log_interval": Key((int,), 50, minimum=1),  # iterations, like all intervals
    "eval_interval": Key((int, _NONE), minimum=1),  # None: only after the last iteration
    "checkpoint_interval": Key((int, _NONE), minimum=1),  # None: only after the last iteration
    "keep_checkpoints": Key((int,), 3, minimum=1),
    "inference": Key((dict,), {"mode": "slide"}),
    "init_from": Key((str, _NONE)),
    "fine_tune": Key((bool,), False),  # init_from may be a model of other classes, in any setting
    "work_dir": Key((str, _NONE)),
    # A rank that hangs for this long ends the job. None: never.
    "watchdog_seconds": Key((int, float, _NONE), 45, minimum=1),
    "visualize": Key((dict,), {"num_images": 8}),
}

RENAMED: dict[str, str] = {"max_bad_pictures": "max_bad_images"}
"""Top-level keys of earlier versions -> their names now."""

INFERENCE: dict[str, Key] = {
    "mode": Key((str,), "slide"),
    "crop_size": Key((int, list, tuple, _NONE)),  # pixels: size, or (height, width)
    "stride": Key((int, list, tuple, _NONE)),  # pixels
    "scales": Key((list, tuple), (1.0,)),  # test-time augmentation: factors of the tested size, averaged
    "flip": Key((bool,), False),  # test-time augmentation: average with the mirror image
}
VISUALIZE: dict[str, Key] = {"num_images": Key((int,), 8, minimum=0)}
DATASET: dict[str, Key] = {"train": Key((dict,)), "val": Key((dict,)), "test": Key((dict,))}

PLAIN_PARTS: dict[str, dict[str, Key]] = {"inference": INFERENCE, "visualize": VISUALIZE, "dataset": DATASET}


def check_keys(values: Mapping[str, Any], keys: Mapping[str, Key], where: str = "") -> None:
    """Checks names, types and lower bounds of `values`.

    Raises:
        KeyProblem: names the key, the accepted types and the nearest known key.
    """
    prefix = where + "." if where else ""
    for name, value in values.items():
        if name in RENAMED and keys is TOP_LEVEL:
            raise KeyProblem(name, f"is now {RENAMED[name]}; change the config or --set")
        if name not in keys:
            hint = "" if where else " (a helper variable of a config file begins with an underscore)"
            raise KeyProblem(prefix + name, f"unknown{did_you_mean(name, keys)}{hint}")
        key = keys[name]
        if not matches(value, key.types):
            accepted = " or ".join("None" if item is _NONE else item.__name__ for item in key.types)
            raise KeyProblem(prefix + name, f"expected {accepted}, got {value!r}")
        if isinstance(value, (int, float)) and value < key.minimum:
            raise KeyProblem(prefix + name, f"must be at least {key.minimum}, got {value}")
