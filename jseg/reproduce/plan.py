"""The steps from data and weights to the result of a row: what is trained, in which order, and evaluated."""

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
    """One run: a training, which ends with an evaluation, or an evaluation.

    Attributes:
        task: 'train' or 'val'.
        overrides: for `Config.load`.
        checkpoint: what 'val' evaluates.
        enough: a checkpoint on the way of a training, with which the steps after it can begin.
    """

    task: str
    config: Path
    work_dir: Path
    seed: int
    overrides: tuple[str, ...]
    checkpoint: Path | None = None
    enough: Path | None = None

    def load(self) -> Config:
        """The config of the run.

        Raises:
            ValueError, FileNotFoundError: see `Config.load`.
        """
        return Config.load(self.config, self.overrides)

    def final_checkpoint(self) -> Path:
        """What a training leaves at its end, or what is evaluated."""
        return self.checkpoint or _checkpoint(self.work_dir, self.load().max_iters)

    def scores(self) -> dict[str, Any] | None:
        """The result, metric -> percent; None if the run has not come to its end."""
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
        """Whether the run has come to its end, or far enough."""
        return (self.enough is not None and self.enough.is_file()) or self.scores() is not None

    def hours(self) -> float | None:
        """Measured hours of training, by the log; None if nothing was logged."""
        total, before = 0.0, 0
        for record in _records(self.work_dir / "log.jsonl"):
            total += record["seconds"] * (record["iter"] - before)
            before = record["iter"]
        return total / 3600 if before else None

    def arguments(self) -> list[str]:
        """For `jseg train` or `jseg val`; a training that was begun is resumed."""
        options = ["--config", str(self.config), "--work-dir", str(self.work_dir), "--seed", str(self.seed)]
        if self.checkpoint is not None:
            options += ["--checkpoint", str(self.checkpoint)]
        if self.task == "train":
            options += ["--resume", "auto"]
        return [*options, *(["--set", *self.overrides] if self.overrides else [])]


def plan(
    row: Row, seed: int | None = None, overrides: Sequence[str] = (), checkpoint: Path | None = None
) -> list[Step]:
    """The steps of a row; the last one has its result.

    A transductive run starts from the inductive run at half its length, and an evaluation on other data needs
    a run on its own: these come first.

    Args:
        seed: of all runs; by default that of the config, whose work folders have no seed in their names.
        checkpoint: evaluate this file, and train nothing.

    Raises:
        ValueError, FileNotFoundError: see `Config.load`.
    """
    trained = "train" in Config.load(row.config).dataset
    # An option of training data does not concern a config without any.
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
    """The config of the run that a transductive config starts from: it is named like its work folder."""
    work_dir = Path(init_from).absolute().parts[-3]
    return config.with_name(f"{work_dir.partition('_seed')[0]}.py")


def _checkpoint(work_dir: Path, iteration: int) -> Path:
    return work_dir / "checkpoints" / f"iter_{iteration}.safetensors"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that was cut off is skipped."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                yield json.loads(line)
