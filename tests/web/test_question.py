"""Parsing of JSON bodies."""

import pytest

from jseg.web.limits import Limits
from jseg.web.question import parse_download, parse_question

LIMITS = Limits()
ASKED = {"image": "abc", "words": "cat, dog|puppy"}


def test_all_keys():
    more = {"model": "b", "background": "sky, wall,", "threshold": 0.25, "seen_bias": 0, "num_regions": 16}
    question = parse_question({**ASKED, **more}, LIMITS)
    assert question.words == {"cat": ("cat",), "dog": ("dog", "puppy")} and list(question.words) == [
        "cat",
        "dog",
    ]
    assert (question.image, question.model, question.background) == ("abc", "b", ("sky", "wall"))
    assert (question.threshold, question.seen_bias, question.num_regions) == (0.25, 0.0, 16)
    plain = parse_question(ASKED, LIMITS)
    assert (plain.model, plain.background, plain.threshold, plain.num_regions) == (None, (), None, None)


def test_the_forms_of_words():
    wanted = {"cat": ("cat",), "dog": ("dog", "puppy")}
    assert (
        parse_question({**ASKED, "words": {"cat": ["cat"], "dog": ["dog", "puppy"]}}, LIMITS).words == wanted
    )
    assert parse_question({**ASKED, "words": ["a, b", "c"]}, LIMITS).words == {"a, b": ("a, b",), "c": ("c",)}


def test_downloads():
    asked = parse_download({**ASKED, "form": "overlay", "opacity": 0.5, "outlines": False}, LIMITS)
    assert (asked.form, asked.opacity, asked.outlines) == ("overlay", 0.5, False)
    for wrong in ({}, {"form": "exe"}, {"form": "mask", "outlines": 1}, {"form": "mask", "opacity": "1"}):
        with pytest.raises(ValueError, match="form|outlines|opacity"):
            parse_download({**ASKED, **wrong}, LIMITS)


@pytest.mark.parametrize(
    "wrong, named",
    [
        ({"words": None}, "'words'"),
        ({"words": [1]}, "'words'"),
        ({"words": {"a": "a"}}, "'words'"),
        ({"words": ""}, "no words"),
        ({"words": []}, "no words"),
        ({"words": "a,,b"}, "2 of 3"),
        ({"words": "a,a"}, "twice"),
        ({"words": ",".join(map(str, range(101)))}, "101 words"),
        ({"words": ["w"] * 10**4}, "10000 words"),
        ({"words": {"a": [str(n) for n in range(201)]}}, "201 words"),
        ({"words": "|" * 5000}, "5001 words"),
        ({"words": "x" * 101}, "101 letters"),
        ({"words": "x" * 10**6}, "1000000 letters"),
        ({"words": {"x" * 101: ["x"]}}, "101 letters"),
        ({"words": "a\0b"}, "printed"),
        ({"words": "a\u202eb"}, "printed"),
        ({"words": "a", "background": "a"}, "background"),
        ({"background": 7}, "'background'"),
        ({"background": "x" * 101}, "101 letters"),
        ({"image": None}, "'image'"),
        ({"image": "x" * 65}, "'image'"),
        ({"image": ["x"]}, "'image'"),
        ({"model": 1}, "'model'"),
        ({"threshold": 1.01}, "'threshold'"),
        ({"threshold": float("nan")}, "'threshold'"),
        ({"threshold": "0.5"}, "'threshold'"),
        ({"threshold": True}, "'threshold'"),
        ({"seen_bias": float("inf")}, "'seen_bias'"),
        ({"seen_bias": 10**400}, "'seen_bias'"),
        ({"num_regions": 5}, "'num_regions'"),
        ({"num_regions": 0}, "'num_regions'"),
        ({"num_regions": 4.0}, "'num_regions'"),
        ({"num_regions": 10**30}, "'num_regions'"),
        ({"path": "/etc/passwd"}, "'path'"),
    ],
)
def test_what_is_refused_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        parse_question({**ASKED, **wrong}, LIMITS)


@pytest.mark.parametrize("body", [None, [], "words", 7])
def test_no_object(body):
    with pytest.raises(ValueError, match="JSON object"):
        parse_question(body, LIMITS)
