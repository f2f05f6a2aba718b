"""The three forms of words, and errors that name invalid ones."""

import pytest

from jseg.inference.words import Words


@pytest.mark.parametrize(
    "given, names, phrases, owners",
    [
        ("cat, dog ,grass", ("cat", "dog", "grass"), ("cat", "dog", "grass"), (0, 1, 2)),
        ("dog|puppy, cat", ("dog", "cat"), ("dog", "puppy", "cat"), (0, 0, 1)),
        (["salt, pepper", "cat"], ("salt, pepper", "cat"), ("salt, pepper", "cat"), (0, 1)),
        ({"person": ["person", "man in a shirt"]}, ("person",), ("person", "man in a shirt"), (0, 0)),
        ({"pet": ["cat", "dog"], "sky": ["sky"]}, ("pet", "sky"), ("cat", "dog", "sky"), (0, 0, 1)),
    ],
)
def test_names_keep_their_order_and_phrases_their_names(given, names, phrases, owners):
    words = Words.parse(given)
    assert (words.names, words.phrases, words.owners) == (names, phrases, owners)


@pytest.mark.parametrize(
    "given, named",
    [
        ("", "no words"),
        ([], "no words"),
        ("cat,,dog", r"\b2 of 3\b"),
        ("cat, dog,", r"\b3 of 3\b"),
        (["cat", " "], r"\b2 of 2\b"),
        ("cat|, dog", r"\b1 of 2\b"),
        ({"cat": []}, r"\b1 of 1\b"),
        ("cat, dog, cat", "'cat'"),
        ("cat, dog|cat", "'cat'"),
    ],
)
def test_words_that_make_no_sense_are_named(given, named):
    with pytest.raises(ValueError, match=named):
        Words.parse(given)


def test_background_words_come_last():
    words = Words.parse("dog|puppy, cat").with_background(["wall", "floor"])
    assert words.names == ("dog", "cat", "wall", "floor") and words.owners == (0, 0, 1, 2, 3)
    with pytest.raises(ValueError, match="'cat'"):
        words.with_background(["cat"])
