"""`jseg config-keys`, and the page in docs/ that is its output."""

from pathlib import Path

from jseg.cli.config_keys import main, reference
from jseg.runner.experiment import REGISTRIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configs.md"


def shipped(text):
    """The reference without entries that other tests have registered."""
    blocks = text.split("\n### ")
    return "\n### ".join(block for block in blocks if not block.startswith('type="Test'))


def test_the_page_is_current():
    text = shipped(reference())
    assert PAGE.read_text(encoding="utf-8").rstrip() == text.rstrip(), (
        "run: python tools/config_keys.py > docs/configs.md"
    )


def test_every_key_has_a_meaning():
    for line in shipped(reference()).splitlines():
        if line.startswith("| `"):
            assert line.replace("\\|", "").split("|")[4].strip(), line


def test_one_key_and_a_wrong_one(capsys):
    assert main(["model.loss"]) == 0
    text = capsys.readouterr().out
    assert '### type="NELLoss"' in text and "AdamW" not in text and "`focal_weight` | float | `100.0`" in text
    assert main(["model.los"]) == 2
    assert "model.loss" in capsys.readouterr().err
    assert set(REGISTRIES) > {"model", "optimizer"}
