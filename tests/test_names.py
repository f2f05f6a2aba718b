"""Lists of names in messages."""

from jseg.names import difference, shortened


def test_long_lists_are_cut_short() -> None:
    letters = list("abcdefg")
    assert shortened(letters[:5]) == "a, b, c, d, e"
    assert shortened(letters) == "a, b, c, d, e and 2 more"
    assert shortened(iter(letters), limit=2) == "a, b and 5 more"


def test_an_empty_list_has_a_word() -> None:
    assert shortened([]) == "nothing" and shortened([], none="none") == "none"


def test_difference_is_sorted_and_tells_the_sides_apart() -> None:
    missing, unexpected = difference({"d": 1, "a": 2, "b": 3}, ["c", "b"])
    assert (missing, unexpected) == (["a", "d"], ["c"])
    assert difference(["a", "b"], ("b", "a")) == ([], [])
