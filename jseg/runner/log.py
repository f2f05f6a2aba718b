"""Logs of a run: console, `log.txt`, and JSON lines (`log.jsonl`, `eval.jsonl`) for programs."""

import json
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jseg.distributed import all_reduce_mean
from jseg.files import TEMPORARY_SUFFIX, PathLike, replacing
from jseg.runner.sinks import Sinks
from jseg.runtime.backend import jt
from jseg.runtime.command import say

_GROUPS = {"log.jsonl": "train", "eval.jsonl": "val"}
"""JSON file -> group of its values in sinks."""


class RunLog:
    """Writes to a work folder and the console. On ranks other than the main one, it does nothing."""

    def __init__(self, work_dir: PathLike | None, active: bool = True) -> None:
        self.work_dir = None if work_dir is None else Path(work_dir)
        self.active = active
        self._sinks: Sinks | None = None

    def info(self, text: str) -> None:
        """Writes a message with the time to `log.txt` and, if there still is one, the console."""
        if not self.active:
            return
        line = f"{time.strftime('%H:%M:%S')} {text}"
        say(line)
        if self.work_dir:
            self._append("log.txt", f"{time.strftime('%Y-%m-%d')} {line}")

    def record(self, name: str, values: Mapping[str, Any]) -> None:
        """Appends a JSON object to `name`. NaN and infinity, which JSON does not have, become null.

        `values` has the key `iter`. The numbers also go to the sinks.
        """
        if self.active and self.work_dir:
            self._append(name, json.dumps({key: _finite(value) for key, value in values.items()}))
        if self._sinks is not None:
            self._sinks.scalars(_GROUPS.get(name, name), int(values["iter"]), values)

    def forward(self, sinks: Sinks) -> None:
        """Sends all further records to `sinks` too."""
        self._sinks = sinks

    def drop_after(self, iteration: int) -> None:
        """Removes records beyond `iteration`, which a resumed run will write again."""
        if not (self.active and self.work_dir):
            return
        for name in ("log.jsonl", "eval.jsonl"):
            path = self.work_dir / name
            if not path.exists():
                continue
            with path.open(encoding="utf-8") as file:
                kept = [line for line in file if _iteration(line) <= iteration]
            hidden = f".{name}{TEMPORARY_SUFFIX}"
            with replacing(path, durable=False, temporary_name=hidden) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def has(self, name: str, iteration: int) -> bool:
        """Whether `name` has a record of `iteration`."""
        path = (self.work_dir or Path()) / name
        if not path.exists():
            return False
        with path.open(encoding="utf-8") as file:
            return any(_iteration(line) == iteration for line in file)

    def _append(self, name: str, line: str) -> None:
        path = (self.work_dir or Path()) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OSError(
                f"cannot write {path}: {error.strerror or error}; free space, then resume with --resume"
            ) from error


class NonFiniteLoss(FloatingPointError):
    """The loss of `iteration` (counted from 1) is not finite."""

    def __init__(self, iteration: int, terms: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name}={value:.6g}" for name, value in terms.items())
        super().__init__(
            f"the loss is not finite at iteration {iteration}: {shown}; lower optimizer.lr or "
            "inspect the data of that iteration; earlier checkpoints are intact"
        )
        self.iteration = iteration


class LossWindow:
    """Loss terms of the iterations since the last log line, fetched from the device only on request.

    Args:
        first_iteration: number of finished iterations.
        values: terms of the latest of them that have not been logged yet, from a checkpoint.
    """

    def __init__(self, first_iteration: int, values: Sequence[Mapping[str, float]] = ()) -> None:
        self._next = first_iteration - len(values)
        self._values: list[dict[str, float]] = [dict(terms) for terms in values]
        self._terms: list[dict[str, jt.Var]] = []
        self._start = time.perf_counter()
        self._data_seconds = 0.0
        self._timed = 0

    def add(self, terms: Mapping[str, jt.Var], data_seconds: float) -> None:
        """Adds the terms of one iteration, which may still be computing on the device."""
        self._terms.append(dict(terms))
        self._data_seconds += data_seconds
        self._timed += 1

    def values(self) -> list[dict[str, float]]:
        """Returns the terms of every iteration in the window, averaged over all ranks. All ranks must call
        this.

        Raises:
            NonFiniteLoss: if a total is not finite. The message shows every term of that iteration.
        """
        own = np.array([[term.item() for term in terms.values()] for terms in self._terms])
        means: np.ndarray = all_reduce_mean(own, "loss terms")
        self._values += [dict(zip(terms, map(float, row))) for terms, row in zip(self._terms, means)]
        self._terms = []
        for offset, terms in enumerate(self._values):
            if not math.isfinite(terms["total"]):
                raise NonFiniteLoss(self._next + offset + 1, terms)
        return self._values

    def close(self) -> dict[str, float]:
        """Returns means over the window, with `seconds` and `data_seconds` per iteration, and starts a new
        window.

        Raises:
            NonFiniteLoss: as in `values`.
        """
        values = self.values()
        now = time.perf_counter()
        means = {name: sum(terms[name] for terms in values) / len(values) for name in values[0]}
        timed = max(1, self._timed)
        means.update(seconds=(now - self._start) / timed, data_seconds=self._data_seconds / timed)
        self._next += len(values)
        self._values, self._data_seconds, self._timed, self._start = [], 0.0, 0, now
        return means

    def restart_clock(self) -> None:
        """Excludes the time since the last log line (saving, evaluation) from the seconds per iteration."""
        self._start = time.perf_counter()

    def __len__(self) -> int:
        return len(self._values) + len(self._terms)


class Eta:
    """Estimates the remaining time from the recent rate. The first report, which includes compiling, counts
    little."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._reports = 0

    def update(self, seconds: float, remaining: int) -> float:
        """Returns the seconds left for `remaining` iterations, given the latest seconds per iteration."""
        self._reports += 1
        if self._seconds is None or self._reports == 2:
            self._seconds = seconds
        else:
            self._seconds = 0.7 * self._seconds + 0.3 * seconds
        return self._seconds * remaining


def clock(seconds: float) -> str:
    """75.2 -> '1:15', 4000 -> '1:06:40'."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def gpu_memory_mb() -> float | None:
    """GPU memory held by Jittor, in MiB; None on the CPU.

    Jittor's memory pools only grow, so this is the peak so far, and memory that other programs cannot use.
    """
    return round(jt.get_mem_info().total_cuda_used / (1 << 20), 1) if jt.flags.use_cuda else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _iteration(line: str) -> float:
    try:
        return float(json.loads(line)["iter"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line truncated when the process was killed
