"""The words of a segmentation: names, and the phrases for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WordsLike = str | Sequence[str] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Words:
    """C names in the given order, and P >= C phrases.

    owners: for each phrase, the index of its name. The score of a name is the maximum over
    its phrases.
    """

    names: tuple[str, ...]
    phrases: tuple[str, ...]
    owners: tuple[int, ...]

    @classmethod
    def parse(cls, words: WordsLike) -> "Words":
        """Parses one of three forms. White space around words is removed.

        - one string: names separated by commas, synonyms by `|`: "cat, dog|puppy, grass";
        - a list of names, which may contain commas: ["cat", "dog"];
        - a dict from names to their synonyms: {"person": ["person", "man in a shirt"]}.

        Raises:
            ValueError: if there are no words, a word is empty, or a name or phrase occurs twice.
        """
        if isinstance(words, str):
            groups = [[part.strip() for part in name.split("|")] for name in words.split(",")]
            table = [(group[0], group) for group in groups]
        elif isinstance(words, Mapping):
            table = [
                (str(name).strip(), [text.strip() for text in synonyms]) for name, synonyms in words.items()
            ]
        else:
            table = [(name.strip(), [name.strip()]) for name in words]
        if not table or table == [("", [""])]:
            raise ValueError("there are no words; give at least one, such as 'cat, dog, grass'")
        names = tuple(name for name, _ in table)
        phrases = tuple(phrase for _, group in table for phrase in group)
        if "" in names or "" in phrases or not all(group for _, group in table):
            raise ValueError(
                f"word {_empty_at(table)} of {len(table)} is empty; remove it or the extra comma"
            )
        for kind, found in (("word", names), ("phrase", phrases)):
            twice = next((text for text in found if found.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f"the {kind} '{twice}' is given twice; give each once")
        owners = tuple(index for index, (_, group) in enumerate(table) for _ in group)
        return cls(names, phrases, owners)

    def with_background(self, background: Sequence[str]) -> "Words":
        """Returns these words followed by those that mean "nothing".

        Raises:
            ValueError: if a background word is also one of the words.
        """
        both = [word for word in background if word in self.names]
        if both:
            raise ValueError(f"'{both[0]}' is a word and a background word; give it once")
        count = len(self.names)
        return Words(
            (*self.names, *background),
            (*self.phrases, *background),
            (*self.owners, *range(count, count + len(background))),
        )


def _empty_at(table: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Returns the number, from 1, of the first name that is empty or has an empty phrase."""
    return 1 + next(i for i, (name, group) in enumerate(table) if not name or not group or "" in group)
