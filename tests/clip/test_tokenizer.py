"""The tokenizer against ids recorded from OpenAI's."""

import json
from pathlib import Path

import numpy as np
import pytest

from jseg.models.clip import tokenize
from jseg.models.clip.tokenizer import END, START, clean_text, default_tokenizer

CASES = json.loads(
    (Path(__file__).resolve().parents[1] / "golden" / "tokenizer" / "cases.json").read_text("utf-8")
)
LONG = [case for case in CASES if case["tokens_77"] is None]


@pytest.mark.parametrize("case", CASES, ids=[ascii(case["text"])[:24] for case in CASES])
def test_recorded_cases(case: dict) -> None:
    """Contractions, digits, accents, other scripts, emoji, HTML,
    broken encodings, marks in the text, no text."""
    assert default_tokenizer().encode(case["text"]) == case["ids"]
    assert tokenize(case["text"], truncate=True).tolist() == [case["tokens_77_truncated"]]
    if case["tokens_77"] is not None:
        assert tokenize([case["text"]]).tolist() == [case["tokens_77"]]


def test_too_long_a_text_is_refused_with_both_lengths() -> None:
    assert LONG, "the recorded cases hold at least one text beyond 77 tokens"
    with pytest.raises(ValueError, match=r"(?=.*\b102\b)(?=.*\b77\b)"):
        tokenize(LONG[0]["text"])


def test_truncation_keeps_both_marks() -> None:
    ids = default_tokenizer().ids
    assert tokenize(["a b c d e"], context_length=4, truncate=True).tolist() == [
        [ids[START], ids["a</w>"], ids["b</w>"], ids[END]]
    ]


def test_rows_are_independent_and_typed() -> None:
    texts = [case["text"] for case in CASES if case["tokens_77"] is not None]
    rows = tokenize(texts)
    assert rows.dtype == np.int32 and rows.shape == (len(texts), 77)
    assert rows.tolist() == [case["tokens_77"] for case in CASES if case["tokens_77"] is not None]


def test_vocabulary_is_that_of_openai() -> None:
    """49408 ids; the end mark is the largest, which is how the text tower finds it."""
    ids = default_tokenizer().ids
    assert len(ids) == 49408 and (ids[START], ids[END]) == (49406, 49407)
    assert sorted(ids.values()) == list(range(49408))


def test_clean_text() -> None:
    assert clean_text(" A &amp;amp;\t\nB  ") == "a & b"
