"""`jseg warmup` runs the model of a config on generated images, and does not change the config."""

from pathlib import Path

import pytest

from jseg.cli import shipped, warmup
from jseg.config import Config


@pytest.mark.parametrize("name", ["voc2012_inductive", "coco_stuff_transductive", "zeroshapes_demo"])
def test_the_shortened_config_keeps_the_model_and_needs_no_data(name: str, tmp_path: Path) -> None:
    config = Config.load(shipped(f"configs/clip_rc/{name}.py"), ["accumulate=4", "batch_size=16"])
    text = config.text()
    short = warmup.shortened(config, tmp_path)
    assert config.text() == text
    assert (short.batch_size, short.accumulate, short.max_iters) == (4, 2, 2)
    for key in ("optimizer", "inference", "scheduler", "model"):
        assert short[key] == config[key]
    for part in short.dataset.values():
        assert part["type"] == "FolderDataset" and part["classes"] == warmup._WORDS
    assert short.dataset["train"].get("pipeline") == config.dataset["train"].get("pipeline")


def test_a_job_after_it_compiles_nothing(tmp_path: Path, capsys) -> None:
    """The model of the demo, which other tests compile, too. The second call compiles nothing."""
    assert warmup.main([]) == 0
    capsys.readouterr()
    assert warmup.main(["--set", "seed=1"]) == 0
    assert capsys.readouterr().out.startswith("ready: 0 operators compiled")  # without the log of the run


def test_a_missing_clip_is_named(capsys) -> None:
    assert warmup.main(["--set", "model.clip=nowhere.pt"]) == 2
    assert "model.clip" in capsys.readouterr().err
