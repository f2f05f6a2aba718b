"""Decoding of uploaded images within limits, and the photos in memory."""

import io
import secrets
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from jseg.datasets.depth import Unsuitable, eight_bits, refuse_animation
from jseg.datasets.orientation import upright
from jseg.web.limits import Limits
from jseg.web.refusal import Refusal

FORMATS = ("JPEG", "PNG", "WEBP")
_SCAN = b"\xff\xda"  # start of a scan. Within the data of a JPEG, every byte FF is followed by 00.
_SMALL = 65536  # pixels. Smaller previews are PNG, which preserves the flat colours of drawings.


def decode(body: bytes, limits: Limits) -> np.ndarray:
    """Decodes a JPEG, PNG or WebP file into RGB uint8 (H, W, 3), rotated as given by its orientation tag.

    The format is detected from the content, not from the content type of the request.

    Raises:
        Refusal: 415 for another format, 413 for too many pixels, 400 for a damaged file, an animation, or
            values of an unknown range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large sizes, checked below, and odd metadata
            with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
                _check(picture, body, limits)
                picture.load()
                return np.array(upright(eight_bits(picture)).convert("RGB"))
    except Refusal:
        raise
    except Image.UnidentifiedImageError:
        raise Refusal(415, "this is not an image that can be read; send a JPEG, PNG or WebP file") from None
    except Image.DecompressionBombError:
        raise Refusal(413, _too_large(limits)) from None
    except Unsuitable as problem:
        raise Refusal(400, f"the image {problem}") from None
    except Exception:  # Pillow raises almost anything for damaged files
        raise Refusal(400, "the image is damaged and cannot be read; save it again") from None


def _check(picture: ImageFile.ImageFile, body: bytes, limits: Limits) -> None:
    if picture.width * picture.height > limits.pixels:
        raise Refusal(413, f"the image has {picture.width}x{picture.height} pixels; {_too_large(limits)}")
    if picture.format in ("JPEG", "MPO") and body.count(_SCAN) > limits.scans:
        raise Refusal(400, f"the JPEG has more than {limits.scans} scans; save it again")
    refuse_animation(picture)


def _too_large(limits: Limits) -> str:
    return f"at most {limits.pixels // 1_000_000} million pixels are allowed; make it smaller"


def shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Returns an image whose longer side is at most `longest` pixels."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def encode(pixels: np.ndarray) -> tuple[str, bytes]:
    """Encodes an image for the page; returns media type and bytes."""
    file = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] <= _SMALL:
        Image.fromarray(pixels).save(file, "PNG")
        return "image/png", file.getvalue()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    return "image/jpeg", file.getvalue()


@dataclass
class Photo:
    """An uploaded image: `pixels` as uploaded, `preview` as shown by the page, and the latest encodings."""

    pixels: np.ndarray
    preview: np.ndarray
    client: str | None
    views: OrderedDict[tuple[str, int | None], Any] = field(default_factory=OrderedDict)

    @property
    def size(self) -> int:
        """Size of the pixels in bytes."""
        return self.pixels.nbytes + (0 if self.preview is self.pixels else self.preview.nbytes)


class PhotoStore:
    """Photos with random names. Beyond the limits, the least recently used ones are dropped.

    For the worker's thread only, since dropping a photo frees Jittor variables.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._photos: OrderedDict[str, Photo] = OrderedDict()

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, photo: Photo) -> str:
        """Adds a photo, which replaces the previous one of its client; returns its name."""
        if photo.client is not None:
            for name in [name for name, old in self._photos.items() if old.client == photo.client]:
                del self._photos[name]
        name = secrets.token_urlsafe(12)
        self._photos[name] = photo
        while len(self._photos) > 1 and (
            len(self._photos) > self._limits.photos
            or sum(kept.size for kept in self._photos.values()) > self._limits.photo_bytes
        ):
            self._photos.popitem(last=False)
        return name

    def get(self, name: str) -> Photo:
        """Returns a photo by its name.

        Raises:
            Refusal: 404, if there is no such photo, or no longer.
        """
        if name not in self._photos:
            raise Refusal(404, "there is no such image, or no longer; send it again")
        self._photos.move_to_end(name)
        return self._photos[name]
