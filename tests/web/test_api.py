"""The API with the small model. Its answers are compared with `Segmenter`."""

import base64
import io
import json
import re
import zlib

import numpy as np
import pytest
from hostile import UPLOADS, encoded
from PIL import Image

pytest.importorskip("flask", reason="the extra 'web' is not installed")

from jseg.files import shipped_folder
from jseg.inference.result import Result

WORDS = "red circle, yellow ring|golden ring, blue triangle"
SAMPLE = shipped_folder("samples") / "drawing_1.png"


@pytest.fixture
def client(server):
    return server.app.test_client()


@pytest.fixture
def image(client):
    response = client.post("/api/images", data=SAMPLE.read_bytes(), content_type="image/png")
    assert response.status_code == 201
    return response.get_json()["image"]


def asked(client, image, status=200, /, **more):
    response = client.post("/api/segment", json={"image": image, "words": WORDS} | more)
    assert response.status_code == status, response.get_json()
    return response.get_json()


def array(answer, name):
    data = zlib.decompress(base64.b64decode(answer[name]))
    return np.frombuffer(data, np.uint8).reshape(answer["height"], answer["width"])


def found(server, *arguments, **options) -> Result:
    """The result of `Segmenter`, computed in the worker's thread."""
    segmenter = server.worker.run(lambda _: server.engine.load("a"))[1]
    return server.worker.run(lambda _: segmenter.segment(*arguments, **options))


def test_info(client):
    info = client.get("/api/info").get_json()
    assert [model["key"] for model in info["models"]] == ["a", "b"]
    assert info["models"][0]["facts"]["num_regions"] == 4 and info["models"][1]["facts"]["num_regions"] == 0
    assert [sample["name"] for sample in info["samples"]] == [f"drawing_{n}" for n in (1, 2, 3, 4)]
    assert info["start"]["threshold"] == 0.3 and "photographs" in info["start"]["note"]


def test_masks_are_those_of_the_segmenter(server, client, image):
    answer = asked(client, image, threshold=0.3, seen_bias=0.05, background="green cross")
    wanted = found(server, SAMPLE, WORDS, background="green cross", threshold=0.3, seen_bias=0.05)
    np.testing.assert_array_equal(array(answer, "mask"), wanted.mask)
    np.testing.assert_allclose(array(answer, "confidence") / 255, wanted.confidence, atol=0.5 / 255 + 1e-3)
    table = wanted.to_dict()
    assert answer["classes"] == table["classes"] and answer["nothing"] == table["nothing"]
    assert answer["classes"][1]["name"] == "yellow ring" and answer["grid"] == [8, 8]


def test_the_photo_is_encoded_once_for_each_model_and_number_of_regions(client, image):
    assert [
        asked(client, image, words=words)["encoded"] for words in ("red ring", "blue ring, green ring")
    ] == [True, False]
    assert asked(client, image, num_regions=4)["encoded"] is False  # as trained
    regions = asked(client, image, num_regions=16)
    assert regions["encoded"] is True and asked(client, image, num_regions=16)["encoded"] is False
    assert (regions["regions"]["rows"], regions["regions"]["columns"]) == (4, 4)
    assert len(regions["regions"]["best"]) == len(regions["regions"]["probability"]) == 16
    other = asked(client, image, model="b", num_regions=16)
    assert other["encoded"] is True and other["regions"] is None
    assert asked(client, image, model="b")["encoded"] is False


def test_a_large_photo_is_answered_in_the_size_of_its_preview(server, client):
    with Image.open(SAMPLE) as sample:
        large = sample.resize((2400, 1200), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "PNG", compress_level=1)
    sent = client.post("/api/images", data=file.getvalue(), content_type="image/png").get_json()
    assert (sent["width"], sent["height"]) == (2400, 1200)
    assert (sent["preview"]["width"], sent["preview"]["height"], sent["preview"]["type"]) == (
        1024,
        512,
        "image/jpeg",
    )
    answer = asked(client, sent["image"], threshold=0.3)
    assert (answer["width"], answer["height"]) == (1024, 512)
    wanted = found(server, large, WORDS, threshold=0.3)
    nearest = np.asarray(Image.fromarray(wanted.mask).resize((1024, 512), Image.Resampling.NEAREST))
    assert (array(answer, "mask") == nearest).mean() > 0.99
    mask = client.post(
        "/api/download", json={"image": sent["image"], "words": WORDS, "threshold": 0.3, "form": "mask"}
    )
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(mask.data))), wanted.mask)
    overlay = client.post("/api/download", json={"image": sent["image"], "words": WORDS, "form": "overlay"})
    assert Image.open(io.BytesIO(overlay.data)).width == 2048


def test_downloads_are_what_jseg_segment_writes(server, client, image, tmp_path):
    wanted = found(server, np.asarray(Image.open(SAMPLE)), WORDS, threshold=0.3)
    mask, overlay, table = wanted.save(tmp_path)
    question = {"image": image, "words": WORDS, "threshold": 0.3, "opacity": 0.72}
    for form, path in (("mask", mask), ("overlay", overlay), ("json", table)):
        response = client.post("/api/download", json={**question, "form": form})
        assert response.headers["Content-Disposition"] == f'attachment; filename="{form}{path.suffix}"'
        if form == "json":
            assert response.get_json()["classes"] == json.loads(path.read_text())["classes"]
        else:
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(response.data))), np.asarray(Image.open(path))
            )


def test_uploads_as_they_come(client):
    """Every file gets its status, and the server answers afterwards."""
    for name, (make, status) in UPLOADS.items():
        response = client.post("/api/images", data=make(), content_type="image/jpeg")
        assert response.status_code == status, name
        if " x " in name and status == 201:
            answer = asked(client, response.get_json()["image"], words="red circle, blue ring")
            assert array(answer, "mask").size == answer["width"] * answer["height"]
        assert b"script" not in response.data


def test_a_sample_by_name(client):
    response = client.post("/api/images", json={"sample": "drawing_2"})
    assert response.status_code == 201
    asked(client, response.get_json()["image"])


def test_the_next_photo_of_a_client_takes_the_place_of_the_last(client):
    mine = {"X-Jseg-Client": "me"}
    body = encoded("PNG")
    first, second = (
        client.post("/api/images", data=body, content_type="image/png", headers=mine) for _ in range(2)
    )
    assert asked(client, first.get_json()["image"], 404)["error"]
    asked(client, second.get_json()["image"])


@pytest.mark.parametrize(
    "question, status, named",
    [
        ({"image": "unknown"}, 404, "send it again"),
        ({"model": "c"}, 400, "'c'"),
        ({"num_regions": 5}, 400, "num_regions"),
        ({"words": "a " * 50}, 400, "tokens"),
    ],
)
def test_what_does_not_work_is_one_sentence(client, image, question, status, named):
    assert re.search(named, asked(client, image, status, **question)["error"])


def test_words_of_the_web_leave_nothing_on_disk(client, image, monkeypatch, tmp_path):
    monkeypatch.setenv("JSEG_CACHE", str(tmp_path))
    asked(client, image, words="a word that nobody has asked before")
    assert not list(tmp_path.rglob("*"))
