"""Hostile and unusual uploads, and the HTTP status of each."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

_RNG = np.random.default_rng(0)


def encoded(kind: str, size: tuple[int, int] = (48, 32), mode: str = "RGB", **options) -> bytes:
    """An image file of noise."""
    channels = Image.new(mode, (1, 1)).getbands()
    pixels = _RNG.integers(0, 256, (size[1], size[0], len(channels)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if len(channels) == 1 else pixels, mode).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"", rows: int = 1) -> bytes:
    """A PNG file that claims a size, but has only `rows` rows of pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes(rows * (1 + 3 * width)))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """A lossless WebP file that claims a size, without pixels."""
    bits = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + bytes(8)
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan: a few bytes, but a pass over all pixels each time."""
    body = encoded("JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    return body[:last] + body[last:-2] * scans + b"\xff\xd9"


def exif_bomb() -> bytes:
    """EXIF entries that claim billions of values, in a directory that links to itself."""
    entries = b"".join(struct.pack("<HHII", tag, 5, 0xFFFFFFFF, 8) for tag in range(256, 456))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 200) + entries + struct.pack("<I", 8)
    return encoded("JPEG", exif=block)


def animation(kind: str) -> bytes:
    """An animation of two frames."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def turned() -> bytes:
    """48 x 32 pixels with an orientation tag for a rotation by 90 degrees."""
    exif = Image.Exif()
    exif[274] = 6
    return encoded("JPEG", exif=exif)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/></svg>'
SCRIPT = b"<script>alert(1)</script>"

UPLOADS: dict[str, tuple[Callable[[], bytes], int]] = {
    "bomb: PNG of 50000 x 50000": (lambda: png(50000, 50000, rows=0), 413),
    "bomb: PNG of 2147483647 x 2147483647": (lambda: png(2**31 - 1, 2**31 - 1, rows=0), 413),
    "bomb: WebP of 16384 x 16384": (lambda: webp(16384, 16384), 413),
    "bomb: text of 30 MB in a PNG": (
        lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(30 << 20), 1)), 8),
        400,
    ),
    "bomb: colour profile of 30 MB in a PNG": (
        lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(30 << 20), 1)), 8),
        400,
    ),
    "bomb: JPEG of 20000 scans": (lambda: scan_bomb(20000), 400),
    "EXIF of 200 entries of 4 billion values": (exif_bomb, 201),
    "1 x 60000": (lambda: encoded("PNG", (1, 60000)), 201),
    "60000 x 1": (lambda: encoded("PNG", (60000, 1)), 201),
    "1 x 1": (lambda: encoded("PNG", (1, 1)), 201),
    "no pixels": (lambda: png(0, 10), 415),
    "truncated JPEG": (lambda: encoded("JPEG")[:-400], 400),
    "truncated PNG": (lambda: encoded("PNG")[:-400], 400),
    "truncated WebP": (lambda: encoded("WEBP", lossless=True)[:-400], 400),
    "PNG of one row out of 64": (lambda: png(64, 64), 201),  # the others are black
    "PNG with a wrong checksum": (lambda: png(8, 8, rows=8).replace(b"IDAT", b"IDAX"), 415),
    "animated PNG": (lambda: animation("PNG"), 400),
    "animated WebP": (lambda: animation("WEBP"), 400),
    "animated GIF": (lambda: animation("GIF"), 415),
    "GIF": (lambda: encoded("GIF", mode="L"), 415),
    "TIFF": (lambda: encoded("TIFF"), 415),
    "BMP": (lambda: encoded("BMP"), 415),
    "EPS": (lambda: encoded("EPS"), 415),
    "SVG": (lambda: SVG, 415),
    "HTML": (lambda: b"<!doctype html>" + SCRIPT, 415),
    "ZIP": (lambda: b"PK\x03\x04" + bytes(100), 415),
    "one byte": (lambda: b"\xff", 415),
    "head of a JPEG alone": (lambda: b"\xff\xd8\xff\xe0" + bytes(20), 415),
    "polyglot: JPEG and HTML": (lambda: encoded("JPEG") + SCRIPT, 201),
    "polyglot: PNG and ZIP": (lambda: encoded("PNG") + b"PK\x03\x04" + bytes(100), 201),
    "polyglot: script in a text of a PNG": (lambda: png(8, 8, chunk(b"tEXt", b"a\0" + SCRIPT), 8), 201),
    "CMYK": (lambda: encoded("JPEG", mode="CMYK"), 201),
    "transparent": (lambda: encoded("PNG", mode="RGBA"), 201),
    "orientation tag": (turned, 201),
}


def uploads() -> Iterator[tuple[str, bytes, int]]:
    """Name, bytes, status; made one after the other."""
    for name, (make, status) in UPLOADS.items():
        yield name, make(), status
