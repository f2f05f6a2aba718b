"""Parsing of the JSON bodies of requests: types, ranges and limits are checked before any computation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jseg.inference.words import Words, WordsLike
from jseg.web.limits import Limits

_LARGEST_REGIONS = 1024
_TOKEN = 64  # letters of ids and names


@dataclass(frozen=True)
class Question:
    """A request for masks. `model` None is the first one. Other fields are arguments of `View.segment`."""

    image: str
    words: WordsLike
    model: str | None = None
    background: tuple[str, ...] = ()
    threshold: float | None = None
    seen_bias: float | None = None
    num_regions: int | None = None


@dataclass(frozen=True)
class Download:
    """A request for a file: `form` of `jseg.inference.result.FORMS`, and how an overlay is drawn."""

    question: Question
    form: str
    opacity: float
    outlines: bool


def parse_question(body: Any, limits: Limits, more: tuple[str, ...] = ()) -> Question:
    """Parses a question.

    Args:
        body: a JSON object with the keys of `Question`; `image` and `words` are required. `words` is a
            string, a list or an object as for `Words.parse`. `background` is a string with commas, or a list.
        limits: limits of words and letters.
        more: other allowed keys.

    Raises:
        ValueError: if a value is wrong. The message names the key.
    """
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object with the keys 'image' and 'words'")
    unknown = sorted(set(body) - set(Question.__dataclass_fields__) - set(more))
    if unknown:
        raise ValueError(f"unknown key {unknown[0][:_TOKEN]!r}")
    words, background = body.get("words"), _background(body.get("background"))
    parsed = _checked_words(words, background, limits)
    return Question(
        image=_name(body, "image", required=True) or "",
        words={
            name: tuple(phrase for phrase, owner in zip(parsed.phrases, parsed.owners) if owner == index)
            for index, name in enumerate(parsed.names)
        },
        model=_name(body, "model"),
        background=background,
        threshold=_number(body, "threshold", 0.0, 1.0),
        seen_bias=_number(body, "seen_bias", -1.0, 1.0),
        num_regions=_regions(body),
    )


def parse_download(body: Any, limits: Limits) -> Download:
    """Parses a question with `form`, and `opacity` and `outlines` of an overlay.

    Raises:
        ValueError: see `parse_question`.
    """
    question = parse_question(body, limits, ("form", "opacity", "outlines"))
    form, outlines = body.get("form"), body.get("outlines", True)
    if form not in ("mask", "overlay", "json"):
        raise ValueError("'form' must be 'mask', 'overlay' or 'json'")
    if not isinstance(outlines, bool):
        raise ValueError("'outlines' must be true or false")
    opacity = _number(body, "opacity", 0.0, 1.0)
    return Download(question, form, 0.6 if opacity is None else opacity, outlines)


def _checked_words(words: Any, background: tuple[str, ...], limits: Limits) -> Words:
    longest = limits.phrases * (limits.letters + 2)
    if isinstance(words, str):
        if len(words) > longest:
            raise ValueError(f"'words' has {len(words)} letters; at most {longest} are allowed")
        count = words.count(",") + 1
    else:
        groups = list(words.values()) if isinstance(words, dict) else [words]
        if not all(isinstance(group, list) and all(isinstance(w, str) for w in group) for group in groups):
            raise ValueError("'words' must be a string, a list of strings, or an object of lists of strings")
        count = len(words)
    if count + len(background) > limits.words:
        raise ValueError(f"there are {count + len(background)} words; at most {limits.words} are allowed")
    phrases = _phrase_count(words) + len(background)
    if phrases > limits.phrases:
        raise ValueError(f"there are {phrases} words and synonyms; at most {limits.phrases} are allowed")
    parsed = Words.parse(words)
    for phrase in (*parsed.names, *parsed.phrases, *background):
        if len(phrase) > limits.letters:
            raise ValueError(
                f"the word '{phrase[:20]}...' has {len(phrase)} letters; at most {limits.letters} are allowed"
            )
        if not phrase.isprintable():
            raise ValueError(f"the word {phrase!r} contains characters that cannot be printed; remove them")
    parsed.with_background(background)
    return parsed


def _phrase_count(words: str | list[str] | dict[str, list[str]]) -> int:
    if isinstance(words, str):
        return words.count(",") + words.count("|") + 1
    return sum(map(len, words.values())) if isinstance(words, Mapping) else len(words)


def _background(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("'background' must be a string of words with commas between them, or a list")
    words = [word.strip() for word in value]
    return tuple(word for word in words if word)


def _name(body: Mapping[str, Any], key: str, required: bool = False) -> str | None:
    value = body.get(key)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _TOKEN:
        raise ValueError(f"'{key}' must be a name of at most {_TOKEN} letters")
    return value


def _number(body: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"'{key}' must be a number from {low:g} to {high:g}")
    return float(value)


def _regions(body: Mapping[str, Any]) -> int | None:
    value = body.get("num_regions")
    if value is None:
        return None
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_REGIONS
    if not fits or math.isqrt(value) ** 2 != value:
        raise ValueError(f"'num_regions' must be a square number from 1 to {_LARGEST_REGIONS}")
    return int(value)
