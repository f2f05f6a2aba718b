"""How much a client may ask for. Everything larger is refused before work or memory is spent on it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server.

    Attributes:
        image_bytes: of an uploaded file. query_bytes: of a JSON body.
        pixels: H x W of an uploaded image, read from its head before it is decoded.
        scans: parts of a progressive JPEG; each costs a pass over all pixels, however few bytes it has.
        words: names of one question. phrases: these and their synonyms. letters: of one phrase.
        waiting: computations in the queue. seconds: for one of them.
        photos, photo_bytes: uploaded images that are kept; the one that was not used for longest goes first.
        views: encodings kept for each photo, by model and number of regions.
        preview: pixels of the longer side of what the page shows. overlay: of an overlay to download.
    """

    image_bytes: int = 32 << 20
    query_bytes: int = 64 << 10
    pixels: int = 32_000_000
    scans: int = 100
    words: int = 100
    phrases: int = 200
    letters: int = 100
    waiting: int = 8
    seconds: float = 120.0
    photos: int = 32
    photo_bytes: int = 512 << 20
    views: int = 4
    preview: int = 1024
    overlay: int = 2048
