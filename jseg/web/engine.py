"""Models and photos, and what is asked of them. Everything here runs in the thread of the worker."""

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
from jseg.web.photos import Photo, PhotoStore, decode, picture_file, shrunk
from jseg.web.question import Download, Question
from jseg.web.refusal import Refusal
from jseg.web.worker import Ticket

if TYPE_CHECKING:
    from jseg.inference.result import Result
    from jseg.inference.segmenter import Segmenter, View

_PHRASES = 8  # that are embedded between two looks at the ticket


@dataclass(frozen=True)
class Offer:
    """A model that the page offers.

    Attributes:
        key: its name in questions. title: for people. load: called once, when it is first needed.
    """

    key: str
    title: str
    load: Callable[[], "Segmenter"]


class Engine:
    """Answers questions; see `jseg.web.question`.

    Attributes:
        offers: the models by key; the first one is the default.
        facts: what is known of the models that are loaded, as JSON values. May be read by any thread.
    """

    def __init__(self, offers: Sequence[Offer], limits: Limits) -> None:
        self.offers = {offer.key: offer for offer in offers}
        self.facts: dict[str, dict[str, Any]] = {}
        self._limits, self._photos = limits, PhotoStore(limits)
        self._loaded: dict[str, Segmenter] = {}

    def load(self, key: str | None = None) -> tuple[str, "Segmenter"]:
        """Key and model of an offer, of the first one by default.

        Raises:
            Refusal: 400, there is no such offer. FileNotFoundError, ValueError: it cannot be loaded.
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
        """Loads a model and lets it compute once, so that its operators are compiled before anybody waits.

        Jittor holds Python's lock meanwhile, so that the whole server would stand still. Errors as `load`.
        """
        _, segmenter = self.load(key)
        segmenter.segment(np.zeros((64, 64, 3), np.uint8), "a, b|c")

    def add_photo(self, body: bytes, client: str | None) -> dict[str, Any]:
        """Decodes and keeps an uploaded image: its name, sizes, and the picture that the page shows.

        Raises:
            Refusal: the image is refused; see `jseg.web.photos.decode`.
        """
        pixels = decode(body, self._limits)
        preview = shrunk(pixels, self._limits.preview)
        media_type, picture = picture_file(preview)
        name = self._photos.add(Photo(pixels, preview, client))
        return {
            "image": name,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "preview": {
                "width": preview.shape[1],
                "height": preview.shape[0],
                "type": media_type,
                "data": _base64(picture),
            },
        }

    def answer(self, question: Question, ticket: Ticket) -> dict[str, Any]:
        """The masks at the size of the preview, as JSON values; docs/web.md describes them.

        Raises:
            Refusal: unknown image or model, or the ticket was cancelled. ValueError: words or options that
                do not work.
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
        """Media type and bytes of a file as `jseg segment` writes it; errors as `answer`."""
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
        """Photo, key of the model, encoded photo, and whether it was encoded now; the words are embedded."""
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
        """A few phrases at a time, since new ones take the text encoder long with many templates."""
        phrases = Words.parse(question.words).with_background(question.background).phrases
        for start in range(0, len(phrases), _PHRASES):
            ticket.check()
            segmenter.text_features(list(phrases[start : start + _PHRASES]))


def _ask(view: "View", question: Question) -> "Result":
    background = list(question.background) or None
    return view.segment(question.words, background, question.threshold, question.seen_bias)


def _regions(scores: np.ndarray | None) -> dict[str, Any] | None:
    """Best word and its probability for each cell, row by row."""
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
