"""The result of a segmentation: a mask with names, its display and its files."""

import colorsys
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jseg.datasets.classes import load_class_list
from jseg.datasets.outlines import Outline, class_outlines, require_outlines, save_labelme
from jseg.files import PathLike, replacing
from jseg.visualization.legend import LegendEntry, class_entries, draw_legend
from jseg.visualization.overlay import ALPHA, CONTOUR_WIDTH, contours
from jseg.visualization.overlay import overlay as draw_overlay

FORMS = ("mask", "overlay", "json")
"""Files written by `Result.save` by default: `STEM.png`, `STEM.overlay.png` and `STEM.json`."""
_ENDINGS = {"mask": "{}.png", "overlay": "{}.overlay.png", "json": "{}.json", "labelme": "labelme/{}.json"}

_SMALL_SIDE = 384  # pixels; overlays of smaller images are enlarged
_LEGEND_WIDTH = 240  # minimum in pixels, so that names fit below a small image


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The segmentation of one image.

    Attributes:
        image: RGB uint8 (H, W, 3), upright. path: the file, None for an image from memory.
        names: the C words, in the given order.
        mask: (H, W) indices into `names`; `nothing` where no word fits. uint8, or uint16 above 255 words.
        nothing: 255, or 65535.
        confidence: float16 (H, W), the score of the best word, in 0..1.
        areas: pixels of each word, int (C,).
        unseen: indices of the words that had no masks in training.
        regions: float32 (C, r, c) probabilities of the words for each region; None without regions. If the
            image was split into windows, `jseg.inference.windows.merge_regions` joins their regions.
        scores: float32 (C, H, W), only with `keep_scores=True`.
        seconds: time of reading, encoding and decoding: {"read", "encode", "decode"}.
    """

    image: np.ndarray
    path: Path | None
    names: tuple[str, ...]
    mask: np.ndarray
    nothing: int
    confidence: np.ndarray
    areas: np.ndarray
    unseen: tuple[int, ...]
    regions: np.ndarray | None = None
    scores: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns where the word `name` is, bool (H, W).

        Raises:
            KeyError: if it is not one of the words.
        """
        if name not in self.names:
            raise KeyError(f"{name!r} is not among the words; they are {', '.join(self.names)}")
        return self.mask == self.names.index(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __repr__(self) -> str:
        total = max(self.mask.size, 1)
        shares = [f"{name} {100 * area / total:.1f} %" for name, area in zip(self.names, self.areas) if area]
        height, width = self.mask.shape
        return f"Result({self.path or 'image'}, {width}x{height}: {', '.join(shares) or 'nothing'})"

    @property
    def palette(self) -> np.ndarray:
        """uint8 (C, 3): the colour of each word, the same for a word in every image."""
        return word_colours(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    def segments(self) -> list[dict[str, Any]]:
        """Returns the words found, largest first, in the format of Hugging Face's image segmentation
        pipeline: `label`, `score` (mean confidence), `mask` (a Pillow image, 255 inside)."""
        found = [index for index in np.argsort(-self.areas, kind="stable") if self.areas[index]]
        return [
            {
                "label": self.names[index],
                "score": self._mean_confidence(index),
                "mask": Image.fromarray(np.where(self.mask == index, 255, 0).astype(np.uint8)),
            }
            for index in found
        ]

    def _mean_confidence(self, index: int) -> float:
        return float(self.confidence[self.mask == index].astype(np.float64).mean())

    def to_dict(self) -> dict[str, Any]:
        """Names, areas and confidences as JSON values, without the arrays."""
        height, width = self.mask.shape
        rows = [
            {
                "name": name,
                "index": index,
                "pixels": int(area),
                "share": int(area) / self.mask.size,
                "confidence": self._mean_confidence(index) if area else None,
                "unseen": index in self.unseen,
                "colour": [int(value) for value in colour],
            }
            for index, (name, area, colour) in enumerate(zip(self.names, self.areas, self.palette))
        ]
        nothing = int((self.mask == self.nothing).sum())
        return {
            "image": None if self.path is None else str(self.path),
            "width": width,
            "height": height,
            "classes": rows,
            "nothing": {"index": self.nothing, "pixels": nothing, "share": nothing / self.mask.size},
            "seconds": self.seconds,
        }

    def overlay(
        self, opacity: float = ALPHA, outlines: int = CONTOUR_WIDTH, legend: bool = True
    ) -> Image.Image:
        """Draws the mask over the image, with a legend below. Pixels where no word fits are unchanged.

        Small images are enlarged by an integer factor.

        Args:
            opacity: weight of the colours, from 0 (the image alone) to 1.
            outlines: width of the lines between words in pixels, 0 for none.

        Raises:
            ValueError: opacity outside 0..1.
        """
        found = [int(index) for index in np.flatnonzero(self.areas)]
        # Drawn with the words that were found alone: there may be more words than an 8-bit label can hold.
        table = np.full(self.nothing + 1, 255, np.int64)
        table[found] = np.arange(len(found))
        label, palette = table[self.mask], self.palette[found] if found else np.zeros((1, 3), np.uint8)
        scale = max(1, _SMALL_SIDE // max(self.mask.shape))
        image, label = (np.repeat(np.repeat(part, scale, 0), scale, 1) for part in (self.image, label))
        pixels = draw_overlay(image, label, palette, opacity, 255, outlines)
        untouched = (label == 255) & ~contours(label, outlines + 2 if outlines else 0)
        pixels[untouched] = image[untouched]
        drawn = Image.fromarray(pixels)
        if not legend:
            return drawn
        names = [self.names[index] for index in found]
        unseen = [place for place, index in enumerate(found) if index in self.unseen]
        entries = class_entries(range(len(found)), names, palette, unseen)
        below = draw_legend(entries or [LegendEntry("nothing", None)], max(drawn.width, _LEGEND_WIDTH))
        page = Image.new("RGB", (below.width, drawn.height + below.height), (255, 255, 255))
        page.paste(drawn, (0, 0))
        page.paste(below, (0, drawn.height))
        return page

    def mask_image(self, values: Sequence[int] | None = None) -> Image.Image:
        """The mask as a palette image; 16-bit grey above 255 words.

        Args:
            values: pixel value of each word, such as the label numbers of a data set; by default the indices.
                Where no word fits, the value is 0 if no word has it, else 255.

        Raises:
            ValueError: another number of values than words, or values that are not below 255 or not distinct.
        """
        if values is None and self.mask.dtype != np.uint8:
            return Image.fromarray(self.mask)
        table, nothing = self._values(values)
        picture = Image.fromarray(table[self.mask], "P")
        colours = np.zeros((256, 3), np.uint8)
        colours[nothing] = (224, 224, 192) if nothing else (0, 0, 0)
        colours[table[: len(self.names)]] = self.palette
        picture.putpalette(colours.tobytes())
        return picture

    def _values(self, values: Sequence[int] | None) -> tuple[np.ndarray, int]:
        """uint8 (256,): index of a word -> pixel value; and the value of nothing."""
        if values is None:
            return np.arange(256, dtype=np.uint8), self.nothing
        chosen = [int(value) for value in values]
        distinct = len(set(chosen)) == len(chosen) == len(self.names)
        if not distinct or min(chosen) < 0 or max(chosen) > 254:
            raise ValueError(
                f"values: {len(self.names)} different numbers from 0 to 254 are needed, one for each word"
            )
        nothing = 255 if 0 in chosen else 0
        table = np.full(256, nothing, np.uint8)
        table[: len(chosen)] = chosen
        return table, nothing

    def outlines(self) -> dict[str, list[Outline]]:
        """name -> the outlines of its regions; see `jseg.datasets.outlines`.

        Raises:
            ValueError: the packages of the extra `outlines` are missing.
        """
        require_outlines()
        return class_outlines(self.mask, self.names)

    def save(
        self,
        folder: PathLike,
        stem: str | None = None,
        forms: Sequence[str] = FORMS,
        overwrite: bool = False,
        values: Sequence[int] | None = None,
    ) -> list[Path]:
        """Writes files of the given forms. Each is either complete or missing.

        Args:
            folder: output folder, created if necessary.
            stem: stem of the file names; by default that of the image file, or "image".
            forms: names in `FORMS`, or "labelme" for the outlines in `labelme/STEM.json`.
            overwrite: replace existing files.
            values: pixel values of the mask, see `mask_image`.

        Returns:
            The files.

        Raises:
            FileExistsError: if a file exists. OSError: if the folder cannot be written.
            ValueError: if a form is unknown, or values are impossible.
        """
        stem = stem or (self.path.stem if self.path else "image")
        files = output_files(folder, stem, forms)
        if not overwrite:
            refuse_existing(files)
        Path(folder).mkdir(parents=True, exist_ok=True)
        for form, path in zip(forms, files):
            if form == "labelme":
                save_labelme(path, self.path, self.size, self.outlines())
                continue
            with replacing(path, durable=False) as temporary:
                if form == "json":
                    temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
                else:
                    picture = self.overlay() if form == "overlay" else self.mask_image(values)
                    picture.save(temporary, format="PNG")
        return files

    def _repr_png_(self) -> bytes:
        """Image displayed by Jupyter."""
        file = io.BytesIO()
        self.overlay().save(file, format="PNG")
        return file.getvalue()


def output_files(folder: PathLike, stem: str, forms: Iterable[str]) -> list[Path]:
    """Returns the files that `Result.save` writes.

    Raises:
        ValueError: if a form is unknown.
    """
    unknown = [form for form in forms if form not in _ENDINGS]
    if unknown:
        raise ValueError(f"unknown form '{unknown[0]}'; choose from {', '.join(_ENDINGS)}")
    return [Path(folder) / _ENDINGS[form].format(stem) for form in forms]


def refuse_existing(files: Iterable[Path]) -> None:
    """Raises `FileExistsError` for the first file that exists."""
    existing = next((path for path in files if path.exists()), None)
    if existing is not None:
        raise FileExistsError(
            f"{existing} already exists; choose another folder, or overwrite it (overwrite=True, --force)"
        )


def word_colours(names: Sequence[str]) -> np.ndarray:
    """Returns saturated colours of medium brightness, uint8 (C, 3), that depend only on the words.

    The words of ZeroShapes, which contain colours, have the colours of its class list.
    """
    known = load_class_list("zeroshapes")
    colours = np.empty((len(names), 3), np.uint8)
    for index, name in enumerate(names):
        if name in known.names:
            colours[index] = known.palette[known.names.index(name)]
            continue
        digest = hashlib.sha256(name.strip().lower().encode("utf-8")).digest()
        hue = int.from_bytes(digest[:2], "big") / 65536
        saturation, value = 0.65 + 0.35 * digest[2] / 255, 0.65 + 0.3 * digest[3] / 255
        colours[index] = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value)]
    return colours
