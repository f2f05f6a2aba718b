"""Locations of datasets: one setting for all of them, and the folder of each inside it.

The setting is the config key `data_root` (in the file, or `--set data_root=...`), or else the environment
variable JSEG_DATA_ROOT, or else the folder `data`. It is the folder of one dataset, or a folder that contains
several under the names used by mmsegmentation (`_PLACES`), so that a config that trains on one and tests on
another needs only one setting.
"""

import os
from pathlib import Path

from jseg.files import expanded

ENVIRONMENT = "JSEG_DATA_ROOT"
DEFAULT_ROOT = "data"

# Class list of a dataset -> its possible folders inside the common one, best first.
_PLACES: dict[str, tuple[str, ...]] = {
    "voc21": ("VOCdevkit/VOC2012", "VOC2012"),
    "voc2012": ("VOCdevkit/VOC2012", "VOC2012"),
    "context60": ("VOCdevkit/VOC2010", "VOC2010"),
    "context59": ("VOCdevkit/VOC2010", "VOC2010"),
    "coco_object": ("coco_stuff164k",),
    "coco_stuff164k": ("coco_stuff164k",),
}
# Class list of a dataset -> the command that prepares it.
_COMMANDS: dict[str, str] = {
    "zeroshapes": "tools/make_zeroshapes.py",
    "zerowords": "tools/make_zerowords.py",
    "voc2012": "tools/prepare_dataset.py voc2012",
    "voc21": "tools/prepare_dataset.py voc2012",
    "context60": "tools/prepare_dataset.py context",
    "context59": "tools/prepare_dataset.py context",
    "coco_stuff164k": "tools/prepare_dataset.py coco_stuff",
    "coco_object": "tools/prepare_dataset.py coco_stuff",
}


def configured_root(data_root: str | None) -> str:
    """Returns `data_root` of a config, or for None, the environment variable or `data`, with `~` expanded."""
    root = os.environ.get(ENVIRONMENT) or DEFAULT_ROOT if data_root is None else data_root
    return str(expanded(root))


def find_root(data_root: str, classes: object, folder: str) -> Path:
    """Returns the folder of a dataset: `data_root` itself, or this dataset's place inside it.

    Args:
        data_root: an existing folder.
        classes: name of the class list. Class names of your own have no known place.
        folder: a folder of the dataset. The place that contains it is returned, or `data_root` if none does.

    Raises:
        FileNotFoundError: if `data_root` does not exist.
    """
    root = expanded(data_root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: this dataset folder does not exist; set data_root (--set data_root=..., or "
            f"{ENVIRONMENT}) to the folder that contains {folder}{how_to_make(classes)}"
        )
    return _existing(root, classes, folder) or root


def new_root(data_root: str, classes: str, folder: str) -> Path:
    """As `find_root`, for a dataset that is to be created. If no place has `folder` yet, returns the best
    place.

    If the root already ends like such a place (`VOCdevkit`, `VOCdevkit/VOC2012`, `VOC2012`), the rest is
    appended.

    Raises:
        ValueError: if the name of `data_root` is that of another dataset's folder, whose files would be mixed
            with these.
    """
    root = Path(data_root)
    _refuse_folder_of_another(root, classes)
    found = _existing(root, classes, folder)
    if found is not None:
        return found
    for place in (Path(name).parts for name in _PLACES[classes]):
        for count in range(len(place), 0, -1):
            if root.absolute().parts[-count:] == place[:count]:
                return root.joinpath(*place[count:])
    return root / _PLACES[classes][0]


def how_to_make(classes: object) -> str:
    """Text for an error about missing files: the command that prepares this dataset, if it is a known one."""
    command = _COMMANDS.get(_name(classes))
    return f", or prepare the dataset with `python {command}`" if command else ""


def _refuse_folder_of_another(root: Path, classes: str) -> None:
    own = {Path(place).name for place in _PLACES[classes]}
    others = {Path(place).name: name for name, places in _PLACES.items() for place in places}
    name = root.absolute().name
    if name in others and name not in own:
        raise ValueError(
            f"{root}: its name is that of the folder of {others[name]}, but {classes} has its own folder; "
            f"give its parent folder, {root.absolute().parent}, with --data-root"
        )


def _existing(root: Path, classes: object, folder: str) -> Path | None:
    candidates = [root, *(root / place for place in _PLACES.get(_name(classes), ()))]
    return next((place for place in candidates if (place / folder).is_dir()), None)


def _name(classes: object) -> str:
    """Returns the name of a class list, or none for a sequence of class names."""
    return classes if isinstance(classes, str) else ""
