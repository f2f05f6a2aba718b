"""`jseg warmup` runs the model of a config on generated images, and does not change the config."""

from pathlib import Path

import pytest

from jseg.cli import shipped, warmup
from jseg.config import Config


def test_shortened_configs_keep_the_model_and_need_no_data(tmp_path: Path) -> None:
    for file in sorted(Path(shipped("configs")).glob("[!_]*/**/*.py")):
        config = Config.load(file, ["accumulate=4", "batch_size=16"])
        text = config.text()
        short = warmup.shortened(config, tmp_path)
        assert config.text() == text
        assert (short.batch_size, short.accumulate, short.max_iters) == (4, 2, 2)
        for key in ("optimizer", "inference", "scheduler", "model"):
            assert short[key] == config[key], (file, key)
        words = short.dataset["val"]["classes"]
        assert {*config.model.get("phrases", ()), *warmup._WORDS} <= set(words)
        for name, part in short.dataset.items():
            assert part["type"] == "FolderDataset" and part["classes"] == words
            assert part.get("pipeline") == config.dataset[name].get("pipeline")


@pytest.mark.slow
def test_a_job_after_it_compiles_nothing(tmp_path: Path, capsys) -> None:
    """The model of the demo, which other tests compile, too. The second call compiles nothing."""
    assert warmup.main([]) == 0
    capsys.readouterr()
    assert warmup.main(["--set", "seed=1"]) == 0
    assert capsys.readouterr().out.startswith("ready: 0 operators compiled")  # without the log of the run


def test_a_missing_clip_is_named(capsys) -> None:
    assert warmup.main(["--set", "model.clip=nowhere.pt"]) == 2
    assert "model.clip" in capsys.readouterr().err
