"""Limits of requests. Larger requests are refused before they take time or memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        image_bytes: size of an uploaded file.
        query_bytes: size of a JSON body.
        pixels: H x W of an uploaded image, read from the file header before decoding.
        scans: scans of a progressive JPEG. Each takes a pass over all pixels, even if it has few bytes.
        words: words of a question.
        phrases: words and synonyms of a question.
        letters: length of a phrase.
        waiting: computations in the queue.
        seconds: duration of a computation.
        photos, photo_bytes: number and size of the photos in memory. The least recently used one is dropped
            first.
        views: encodings per photo, one for each model and number of regions.
        preview: longer side in pixels of the image that the page shows.
        overlay: longer side in pixels of a downloaded overlay.
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
