"""Decoding of uploads, and the photos in memory."""

import resource
from pathlib import Path

import numpy as np
import pytest
from hostile import UPLOADS, encoded, scan_bomb, turned

from jseg.web.limits import Limits
from jseg.web.photos import Photo, PhotoStore, decode, encode, shrunk
from jseg.web.refusal import Refusal


@pytest.mark.parametrize("name", UPLOADS)
def test_uploads(name):
    """Each is accepted or refused, and needs little memory."""
    make, status = UPLOADS[name]
    body = make()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the process becomes its present memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        pixels = decode(body, Limits())
    except Refusal as refusal:
        assert refusal.status == status and refusal.sentence
    else:
        assert status == 201 and pixels.dtype == np.uint8 and pixels.shape[2] == 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_pixels_are_those_of_the_file():
    assert decode(turned(), Limits()).shape == (48, 32, 3)
    grey = decode(encoded("PNG", mode="L"), Limits())
    assert (grey[..., 0] == grey[..., 2]).all()
    assert decode(scan_bomb(3), Limits()).shape == (32, 48, 3)


def test_limits_hold_before_decoding():
    with pytest.raises(Refusal, match="48x32 pixels"):
        decode(encoded("PNG")[:60], Limits(pixels=48 * 32 - 1))  # the head is enough
    with pytest.raises(Refusal, match="2 scans"):
        decode(scan_bomb(2), Limits(scans=2))


def test_previews():
    pixels = np.zeros((1000, 3000, 3), np.uint8)
    assert shrunk(pixels, 600).shape == (200, 600, 3)
    assert shrunk(pixels, 3000) is pixels
    assert shrunk(np.zeros((60000, 1, 3), np.uint8), 1024).shape == (1024, 1, 3)
    assert encode(pixels)[0] == "image/jpeg"
    kind, body = encode(pixels[:64, :64] + 7)
    assert kind == "image/png" and (decode(body, Limits()) == 7).all()


def photo(client=None, side=10):
    pixels = np.zeros((side, side, 3), np.uint8)
    return Photo(pixels, pixels, client)


def test_the_photo_used_longest_ago_goes_first():
    store = PhotoStore(Limits(photos=2))
    first, second = store.add(photo()), store.add(photo())
    store.get(first)
    third = store.add(photo())
    assert len({first, second, third}) == 3 and len(store) == 2
    with pytest.raises(Refusal) as gone:
        store.get(second)
    assert gone.value.status == 404
    store.get(first), store.get(third)


def test_bytes_are_limited_and_one_photo_is_always_kept():
    store = PhotoStore(Limits(photo_bytes=700))
    for _ in range(3):
        store.add(photo())  # 300 bytes each
    assert len(store) == 2
    large = store.add(photo(side=100))
    assert len(store) == 1 and store.get(large).size == 30000


def test_a_client_has_one_photo():
    store = PhotoStore(Limits())
    old, other = store.add(photo("me")), store.add(photo("you"))
    store.add(photo("me"))
    assert len(store) == 2 and store.get(other)
    with pytest.raises(Refusal):
        store.get(old)
