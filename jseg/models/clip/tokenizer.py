"""CLIP's byte-pair tokenizer. The vocabulary file is OpenAI's (MIT licence), shipped as package data."""

import gzip
import html
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import ftfy
import numpy as np
import regex

_VOCABULARY = Path(__file__).with_name("data") / "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # lines of the file: vocabulary size minus single bytes, start and end token
START, END = "<|startoftext|>", "<|endoftext|>"
_PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


@lru_cache(maxsize=1)
def _byte_letters() -> dict[int, str]:
    """A printable character for every byte: itself where it has one, else one from 256 upwards."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    letters.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return letters


class Tokenizer:
    """Converts text to token ids as in OpenAI's CLIP."""

    def __init__(self) -> None:
        lines = gzip.decompress(_VOCABULARY.read_bytes()).decode("utf-8").split("\n")
        merges = [(first, second) for first, second in map(str.split, lines[1 : _MERGES + 1])]
        letters = list(_byte_letters().values())
        vocabulary = (
            letters
            + [letter + "</w>" for letter in letters]
            + ["".join(pair) for pair in merges]
            + [START, END]
        )
        self.ids = {token: i for i, token in enumerate(vocabulary)}
        self._ranks: dict[tuple[str, str], int] = {pair: rank for rank, pair in enumerate(merges)}
        self._cache: dict[str, list[int]] = {mark: [self.ids[mark]] for mark in (START, END)}
        self._pattern = regex.compile(_PATTERN, regex.IGNORECASE)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of `text`, without start and end tokens."""
        ids: list[int] = []
        for word in self._pattern.findall(clean_text(text)):
            if word not in self._cache:
                self._cache[word] = [self.ids[token] for token in self._merge(word)]
            ids += self._cache[word]
        return ids

    def _merge(self, word: str) -> list[str]:
        """Merges the pair of lowest rank everywhere in the word, until no known pair is left."""
        tokens = [_byte_letters()[byte] for byte in word.encode("utf-8")]
        tokens[-1] += "</w>"
        while len(tokens) > 1:
            rank, pair = min((self._ranks.get(pair, _MERGES), pair) for pair in pairwise(tokens))
            if rank == _MERGES:
                break
            merged: list[str] = []
            i = 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == pair:
                    merged.append(tokens[i] + tokens[i + 1])
                    i += 2
                else:
                    merged.append(tokens[i])
                    i += 1
            tokens = merged
        return tokens


def clean_text(text: str) -> str:
    """Repairs encodings, resolves HTML entities (twice, as released), collapses white space, lower-cases."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return regex.sub(r"\s+", " ", text.strip()).strip().lower()


@lru_cache(maxsize=1)
def default_tokenizer() -> Tokenizer:
    """Returns the tokenizer of the shipped vocabulary, built on first use."""
    return Tokenizer()


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False) -> np.ndarray:
    """Returns token ids with start and end tokens, zero-padded.

    Args:
        texts: one text or several.
        context_length: tokens per row, including the start and end tokens.
        truncate: truncate longer texts, keeping the end token.

    Returns:
        (number of texts, context_length) int32.

    Raises:
        ValueError: if a text is too long and `truncate` is False.
    """
    tokenizer = default_tokenizer()
    texts = [texts] if isinstance(texts, str) else list(texts)
    rows = np.zeros((len(texts), context_length), dtype=np.int32)
    for row, text in zip(rows, texts):
        ids = [tokenizer.ids[START], *tokenizer.encode(text), tokenizer.ids[END]]
        if len(ids) > context_length:
            if not truncate:
                raise ValueError(
                    f"'{text[:60]}...' has {len(ids)} tokens, but CLIP's context holds {context_length}; "
                    "shorten it"
                )
            ids = [*ids[: context_length - 1], tokenizer.ids[END]]
        row[: len(ids)] = ids
    return rows
