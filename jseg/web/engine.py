"""Models, photos, and the computation of answers. Everything here runs in the worker's thread."""

import base64
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jseg.inference.words import Words
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.web.limits import Limits
from jseg.web.photos import Photo, PhotoStore, decode, encode, shrunk
from jseg.web.question import Download, Question
from jseg.web.refusal import Refusal
from jseg.web.worker import Ticket

if TYPE_CHECKING:
    from jseg.inference.result import Result
    from jseg.inference.segmenter import Segmenter, View

_PHRASES = 8  # embedded between two checks of the ticket


@dataclass(frozen=True)
class Offer:
    """A model that can be selected on the page.

    Attributes:
        key: its name in questions.
        title: its name on the page.
        load: loads the model. Called once, at the first use.
    """

    key: str
    title: str
    load: Callable[[], "Segmenter"]


class Engine:
    """Computes answers to questions (`jseg.web.question`).

    Attributes:
        offers: the models by key; the first one is the default.
        facts: properties of the loaded models as JSON values. Any thread may read them.
    """

    def __init__(self, offers: Sequence[Offer], limits: Limits) -> None:
        self.offers = {offer.key: offer for offer in offers}
        self.facts: dict[str, dict[str, Any]] = {}
        self._limits, self._photos = limits, PhotoStore(limits)
        self._loaded: dict[str, Segmenter] = {}

    def load(self, key: str | None = None) -> tuple[str, "Segmenter"]:
        """Returns key and model of an offer, by default the first one, and loads it if needed.

        Raises:
            Refusal: 400, if there is no such offer.
            FileNotFoundError, ValueError: if the model cannot be loaded.
        """
        key = next(iter(self.offers)) if key is None else key
        if key not in self.offers:
            raise Refusal(400, f"there is no model '{key}'; there are {', '.join(self.offers)}")
        if key not in self._loaded:
            segmenter = self.offers[key].load()
            segmenter.text_encoder.on_disk = False
            self._loaded[key] = segmenter
            self.facts[key] = {
                "words": list(segmenter.class_names),
                "seen_bias": segmenter.seen_bias,
                "knows_seen": bool(segmenter.seen),
                "num_regions": segmenter.model.num_regions,
                "fixed_regions": segmenter.model.trains_regions,
            }
        return key, self._loaded[key]

    def warm(self, key: str | None = None) -> None:
        """Loads a model and runs it once, so that Jittor compiles its operators before the first request.

        While Jittor compiles or computes it holds Python's global lock, and the server cannot respond.

        Raises:
            See `load`.
        """
        _, segmenter = self.load(key)
        segmenter.segment(np.zeros((64, 64, 3), np.uint8), "a, b|c")

    def add_photo(self, body: bytes, client: str | None) -> dict[str, Any]:
        """Decodes and stores an uploaded image; returns its name, sizes and preview.

        Raises:
            Refusal: see `jseg.web.photos.decode`.
        """
        pixels = decode(body, self._limits)
        preview = shrunk(pixels, self._limits.preview)
        media_type, data = encode(preview)
        name = self._photos.add(Photo(pixels, preview, client))
        return {
            "image": name,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "preview": {
                "width": preview.shape[1],
                "height": preview.shape[0],
                "type": media_type,
                "data": _base64(data),
            },
        }

    def answer(self, question: Question, ticket: Ticket) -> dict[str, Any]:
        """Returns the masks at the size of the preview as JSON values, which docs/web.md describes.

        Raises:
            Refusal: if image or model are unknown, or the ticket is cancelled.
            ValueError: if words or options are invalid.
        """
        photo, key, view, encoded = self._prepare(question, ticket)
        with memory_advice(ONE_INPUT):
            result = _ask(view.scaled_to(photo.preview), question)
        found = result.to_dict()
        del found["image"]
        confidence = np.rint(result.confidence.astype(np.float32) * 255).astype(np.uint8)
        return {
            **found,
            "model": key,
            "facts": self.facts[key],
            "encoded": encoded,
            "mask": _base64(zlib.compress(result.mask.tobytes(), 1)),
            "confidence": _base64(zlib.compress(confidence.tobytes(), 1)),
            "grid": view.grid,
            "regions": _regions(result.regions),
        }

    def file(self, download: Download, ticket: Ticket) -> tuple[str, bytes]:
        """Returns media type and bytes of a file as written by `jseg segment`.

        Raises:
            See `answer`.
        """
        photo, _, view, _ = self._prepare(download.question, ticket)
        if download.form == "overlay":
            view = view.scaled_to(shrunk(photo.pixels, self._limits.overlay))
        with memory_advice(ONE_INPUT):
            result = _ask(view, download.question)
            if download.form == "json":
                return "application/json", (json.dumps(result.to_dict(), indent=1) + "\n").encode()
            if download.form == "mask":
                picture = result.mask_image()
            else:
                picture = result.overlay(download.opacity, 2 if download.outlines else 0)
        file = io.BytesIO()
        picture.save(file, "PNG")
        return "image/png", file.getvalue()

    def _prepare(self, question: Question, ticket: Ticket) -> tuple[Photo, str, "View", bool]:
        """Returns photo, model key, encoded photo, and whether it was encoded now. Embeds the words."""
        photo = self._photos.get(question.image)
        key, segmenter = self.load(question.model)
        fixed = not segmenter.model.num_regions or question.num_regions == segmenter.model.num_regions
        regions = None if fixed else question.num_regions
        encoded = (key, regions) not in photo.views
        if encoded:
            with memory_advice(ONE_INPUT):
                photo.views[key, regions] = segmenter.encode(photo.pixels, regions, ticket.check)
            if len(photo.views) > self._limits.views:
                photo.views.popitem(last=False)
        photo.views.move_to_end((key, regions))
        self._embed(segmenter, question, ticket)
        ticket.check()
        return photo, key, photo.views[key, regions], encoded

    def _embed(self, segmenter: "Segmenter", question: Question, ticket: Ticket) -> None:
        """Embeds a few phrases at a time, since new phrases with many templates take long."""
        phrases = Words.parse(question.words).with_background(question.background).phrases
        for start in range(0, len(phrases), _PHRASES):
            ticket.check()
            segmenter.text_features(list(phrases[start : start + _PHRASES]))


def _ask(view: "View", question: Question) -> "Result":
    background = list(question.background) or None
    return view.segment(question.words, background, question.threshold, question.seen_bias)


def _regions(scores: np.ndarray | None) -> dict[str, Any] | None:
    """Returns the best word of each cell and its probability, row by row."""
    if scores is None:
        return None
    return {
        "rows": scores.shape[1],
        "columns": scores.shape[2],
        "best": scores.argmax(0).reshape(-1).tolist(),
        "probability": [round(float(value), 4) for value in scores.max(0).reshape(-1)],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
