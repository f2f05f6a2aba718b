"""Where data sets lie: one setting for all of them, and the folder of each below it.

The setting is the config key `data_root` (in the file, or `--set data_root=...`); without it the environment
variable JSEG_DATA_ROOT, and without that the folder `data`. It names the folder of one data set, or a folder
that holds several under the names that mmsegmentation gives them (`_PLACES`): a config that trains on one and
tests on another needs one setting too.
"""

import os
from pathlib import Path

from jseg.files import expanded

ENVIRONMENT = "JSEG_DATA_ROOT"
DEFAULT_ROOT = "data"

# Class list of a data set -> its folder below the common one, best first.
_PLACES: dict[str, tuple[str, ...]] = {
    "voc21": ("VOCdevkit/VOC2012", "VOC2012"),
    "voc2012": ("VOCdevkit/VOC2012", "VOC2012"),
    "context60": ("VOCdevkit/VOC2010", "VOC2010"),
    "context59": ("VOCdevkit/VOC2010", "VOC2010"),
    "coco_object": ("coco_stuff164k",),
    "coco_stuff164k": ("coco_stuff164k",),
}
# Class list of a data set -> the command that makes it.
_COMMANDS: dict[str, str] = {
    "zeroshapes": "tools/make_zeroshapes.py",
    "voc2012": "tools/prepare_dataset.py voc2012",
    "voc21": "tools/prepare_dataset.py voc2012",
    "context60": "tools/prepare_dataset.py context",
    "context59": "tools/prepare_dataset.py context",
    "coco_stuff164k": "tools/prepare_dataset.py coco_stuff",
    "coco_object": "tools/prepare_dataset.py coco_stuff",
}


def configured_root(data_root: str | None) -> str:
    """`data_root` of a config, or what stands in for None: the environment variable, else `data`; `~` is
    expanded."""
    root = os.environ.get(ENVIRONMENT) or DEFAULT_ROOT if data_root is None else data_root
    return str(expanded(root))


def find_root(data_root: str, classes: object, folder: str) -> Path:
    """The folder of a data set: `data_root` itself, or the place below it where this data set is expected.

    Args:
        data_root: an existing folder.
        classes: name of the class list; own class names have no known place.
        folder: a folder of the data set; the place that has it is taken, or `data_root` if none has.

    Raises:
        FileNotFoundError: `data_root` does not exist.
    """
    root = expanded(data_root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: this data set folder does not exist; set data_root (--set data_root=..., or "
            f"{ENVIRONMENT}) to the folder that holds {folder}{how_to_make(classes)}"
        )
    return _existing(root, classes, folder) or root


def new_root(data_root: str, classes: str, folder: str) -> Path:
    """As `find_root`, for a data set that is to be made: if no place has `folder` yet, the best place for it.

    A root that itself ends like such a place (`VOCdevkit`,
    `VOCdevkit/VOC2012`, `VOC2012`) is gone on from there.

    Raises:
        ValueError: `data_root` is by its name the folder of another data set, whose files would be mixed with
            these.
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
    """What an error about missing files may add: the command that
    makes this data set, if it is a known one."""
    command = _COMMANDS.get(_name(classes))
    return f", or make the data set with `python {command}`" if command else ""


def _refuse_folder_of_another(root: Path, classes: str) -> None:
    own = {Path(place).name for place in _PLACES[classes]}
    others = {Path(place).name: name for name, places in _PLACES.items() for place in places}
    name = root.absolute().name
    if name in others and name not in own:
        raise ValueError(
            f"{root}: by its name this is the folder of {others[name]}, and {classes} has one of its own; "
            f"name the folder above, {root.absolute().parent}, with --data-root"
        )


def _existing(root: Path, classes: object, folder: str) -> Path | None:
    candidates = [root, *(root / place for place in _PLACES.get(_name(classes), ()))]
    return next((place for place in candidates if (place / folder).is_dir()), None)


def _name(classes: object) -> str:
    """The name of a class list; own class names, a sequence, have none."""
    return classes if isinstance(classes, str) else ""
