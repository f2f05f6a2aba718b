"""Multiply-adds against the paper's Table 6, and by hand for small sizes."""

from jseg.cli.flops import PAPER, Sizes, main, multiply_adds


def test_the_paper_s_column() -> None:
    for regions, published in PAPER.items():
        assert abs(sum(multiply_adds(Sizes(), regions, True).values()) / 1e9 - published) < 0.0025 * published


def test_by_hand() -> None:
    """One patch, region, class and prompt, one layer, widths 2: 4 tokens that all count as pairs in the
    release; in jseg CLS and the patch see 3 keys each, patch and region one another, the region itself.
    Query, key and value of all but the patch are known."""
    s = Sizes(patches=1, classes=1, prompts=1, layers=1, width=2, joint=2, decoder_layers=1, patch=1)
    assert multiply_adds(s, 1, True) == {
        "patch embedding": 6,
        "encoder, products": 4 * 48,
        "encoder, attention": 2 * 16 * 2,
        "joint projection": 16,
        "alignment": 8 + 12,
        "decoder, products": 2 * 48,
        "decoder, attention": 8,
        "class maps": 2,
    }
    own = multiply_adds(s, 1, False)
    assert own["encoder, attention"] == 2 * (6 + 2 + 1) * 2
    assert own["encoder, products"] == 3 * 48 - 2 * 12


def test_the_table(capsys) -> None:
    assert main(["--regions", "16", "--classes", "171"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 5
