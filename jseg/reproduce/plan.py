"""The steps from data and weights to the result of a row: the runs to train and to evaluate, in order."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jseg.config import Config
from jseg.config.headers import base_config
from jseg.reproduce.rows import Row

_FOLDER = Path("work_dirs")


@dataclass(frozen=True)
class Step:
    """One run: a training with a final evaluation, or only an evaluation.

    Attributes:
        task: 'train' or 'val'.
        overrides: overrides for `Config.load`.
        checkpoint: file that 'val' evaluates.
        enough: intermediate checkpoint of a training that is sufficient for the next step, or None.
    """

    task: str
    config: Path
    work_dir: Path
    seed: int
    overrides: tuple[str, ...]
    checkpoint: Path | None = None
    enough: Path | None = None

    def load(self) -> Config:
        """Loads the config of the run.

        Raises:
            ValueError, FileNotFoundError: see `Config.load`.
        """
        return Config.load(self.config, self.overrides)

    def final_checkpoint(self) -> Path:
        """Returns the last checkpoint of a training, or the evaluated one."""
        return self.checkpoint or _checkpoint(self.work_dir, self.load().max_iters)

    def scores(self) -> dict[str, Any] | None:
        """Returns the result, metric -> percent, or None if the run is not complete."""
        if self.task == "train":
            last = self.load().max_iters
            if not _checkpoint(self.work_dir, last).is_file():
                return None
            found = [record for record in _records(self.work_dir / "eval.jsonl") if record["iter"] == last]
            return found[-1] if found else None
        with suppress(OSError, ValueError):
            metrics = self.work_dir / "metrics.json"
            values = json.loads(metrics.read_text(encoding="utf-8"))
            assert self.checkpoint is not None
            newer = metrics.stat().st_mtime >= self.checkpoint.stat().st_mtime
            if newer and values.get("checkpoint") == str(self.checkpoint):
                return values
        return None

    def is_complete(self) -> bool:
        """Whether the run is complete, or complete enough for the next step."""
        return (self.enough is not None and self.enough.is_file()) or self.scores() is not None

    def hours(self) -> float | None:
        """Returns the measured hours of training from the log, or None if there are none."""
        total, before = 0.0, 0
        for record in _records(self.work_dir / "log.jsonl"):
            total += record["seconds"] * (record["iter"] - before)
            before = record["iter"]
        return total / 3600 if before else None

    def arguments(self) -> list[str]:
        """Returns the arguments for `jseg train` or `jseg val`. Interrupted trainings are resumed."""
        options = ["--config", str(self.config), "--work-dir", str(self.work_dir), "--seed", str(self.seed)]
        if self.checkpoint is not None:
            options += ["--checkpoint", str(self.checkpoint)]
        if self.task == "train":
            options += ["--resume", "auto"]
        return [*options, *(["--set", *self.overrides] if self.overrides else [])]


def plan(
    row: Row, seed: int | None = None, overrides: Sequence[str] = (), checkpoint: Path | None = None
) -> list[Step]:
    """Returns the steps of a row. The last step produces its result.

    A transductive run starts from the inductive run at half its length, and an evaluation on another dataset
    needs a trained model. These runs come first.

    Args:
        seed: seed of all runs, by default that of the config. Other seeds have their own work folders.
        checkpoint: evaluates this file instead of training.

    Raises:
        ValueError, FileNotFoundError: see `Config.load`.
    """
    trained = "train" in Config.load(row.config).dataset
    # Options for the training data do not apply to a config without training data.
    own = tuple(text for text in overrides if trained or not text.startswith("dataset.train"))
    config = Config.load(row.config, own)
    usual = Config.load(row.config).seed
    seed = usual if seed is None else seed
    ending = "" if seed == usual else f"_seed{seed}"

    def work_dir(path: Path, kind: str = "") -> Path:
        return _FOLDER / f"{path.stem}{kind}{ending}"

    def training(path: Path, *more: str) -> Step:
        return Step("train", path, work_dir(path), seed, (*overrides, *more))

    if checkpoint is not None:
        return [Step("val", row.config, work_dir(row.config, "_evaluated"), seed, own, checkpoint)]
    if not trained:
        base = base_config(row.config)
        assert base is not None, f"{row.config}: nothing trains its weights"
        first = training(base)
        last = Step("val", row.config, work_dir(row.config), seed, own, first.final_checkpoint())
        return [first, last]
    given = any(text.startswith("init_from=") for text in overrides)
    if config.model.get("setting") == "transductive" and not given:
        first = training(origin(row.config, config.init_from))
        start = _checkpoint(first.work_dir, first.load().max_iters // 2)
        last = training(row.config, f"init_from={start}")
        return [replace(first, enough=start), last]
    return [training(row.config)]


def origin(config: Path, init_from: str) -> Path:
    """Returns the config of the run that a transductive run starts from. Its work folder has its name."""
    work_dir = Path(init_from).absolute().parts[-3]
    return config.with_name(f"{work_dir.partition('_seed')[0]}.py")


def _checkpoint(work_dir: Path, iteration: int) -> Path:
    return work_dir / "checkpoints" / f"iter_{iteration}.safetensors"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file of JSON lines, without incomplete lines."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                yield json.loads(line)
