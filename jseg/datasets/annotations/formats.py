"""The annotation formats by name, and recognition of the format of a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jseg.datasets.annotations import coco, cvat, labelme, labelstudio, mmseg, supervisely, voc, yolo
from jseg.datasets.annotations.core import Options, Source


class Format(NamedTuple):
    """A format: its title, its reader, and a function that recognises its files and folders."""

    title: str
    read: Callable[[Path, Options], Source]
    recognise: Callable[[Path], bool]


FORMATS = {
    "coco": Format("COCO JSON", coco.read, coco.recognise),
    "labelme": Format("Labelme JSON", labelme.read, labelme.recognise),
    "cvat": Format("CVAT XML", cvat.read, cvat.recognise),
    "labelstudio": Format("Label Studio JSON", labelstudio.read, labelstudio.recognise),
    "supervisely": Format("a Supervisely project", supervisely.read, supervisely.recognise),
    "yolo": Format("YOLO segmentation text files", yolo.read, yolo.recognise),
    "mmseg": Format("mmsegmentation folders", mmseg.read, mmseg.recognise),
    "voc": Format("colour masks with a label map (CVAT, VOC)", voc.read, voc.recognise),
}
"""Name on the command line -> format. If several recognise a folder, the first one counts. voc is the last,
since it accepts any colour images in a folder for masks, which may be the images of another format."""


def recognised(path: Path) -> str | None:
    """Returns the name of the format of a file or folder, or None if it is unknown."""
    return next((name for name, kind in FORMATS.items() if kind.recognise(path)), None)


def read(name: str, path: Path, options: Options) -> Source:
    """Reads annotations.

    Raises:
        FileNotFoundError, ValueError: if nothing is there, or nothing of this format.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file or folder; give the export of the annotation tool"
        )
    if path.suffix.lower() in (".zip", ".tar", ".gz"):
        raise ValueError(f"{path}: this is an archive; unpack it and give the folder")
    if options.images is not None and not options.images.is_dir():
        raise FileNotFoundError(f"--images: {options.images}: there is no such folder")
    source = FORMATS[name].read(path, options)
    if not source.images:
        other = recognised(path)
        hint = (
            f"; it looks like {FORMATS[other].title}: jseg annotations {other}"
            if other not in (None, name)
            else ""
        )
        first = f"; {source.problems[0]}" if source.problems else ""
        raise ValueError(f"{path}: no annotated image of the format {name} was found there{first or hint}")
    source.merge()
    return source
