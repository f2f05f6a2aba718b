"""The checkpoint files of one work folder: atomic saves, the pointers `latest` and `best`, pruning, damaged
files.

work_dir/checkpoints/iter_N.safetensors    complete files only; a write under way has a hidden name
work_dir/checkpoints/latest                name of the newest
work_dir/checkpoints/best                  name and hIoU of the one that evaluated best
work_dir/checkpoints/*.damaged             set aside because the SHA-256 inside did not fit
"""

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping

import numpy as np

from jseg.checkpoints import load_arrays, save_arrays
from jseg.checkpoints.native import TEMPORARY_SUFFIX, write_atomically

POINTER = "latest"
BEST = "best"
_NAME = re.compile(r"iter_(\d+)\.safetensors")


class CheckpointStore:
    """The checkpoints of one work folder.

    The newest and the best one stay, and the newest `keep` of those at multiples of `interval` (None: of
    all); what was saved between these, because it was the best for a while or a signal came, goes with the
    next save.
    """

    def __init__(self, work_dir: str, keep: int = 3, interval: int | None = None) -> None:
        self.folder = os.path.join(work_dir, "checkpoints")
        self.keep = keep
        self.interval = interval or 1

    def path(self, iteration: int) -> str:
        """File of the checkpoint after `iteration` iterations."""
        return os.path.join(self.folder, f"iter_{iteration}.safetensors")

    def iterations(self) -> list[int]:
        """Iterations that have a checkpoint, ascending."""
        if not os.path.isdir(self.folder):
            return []
        found = [_NAME.fullmatch(name) for name in os.listdir(self.folder)]
        return sorted(int(match.group(1)) for match in found if match)

    def newest(self) -> str | None:
        """The file named by `latest`, else the one of the highest iteration, else None."""
        named = self._pointed(POINTER)
        if named:
            return self.path(named[0])
        iterations = self.iterations()
        return self.path(iterations[-1]) if iterations else None

    def newest_undamaged(self, warn: Callable[[str], None]) -> str | None:
        """The newest checkpoint whose SHA-256 fits; damaged ones are renamed, and `warn` gets a sentence for
        each.

        A kill between renaming a checkpoint and moving `latest` leaves a file beyond the pointer: it is
        complete, and taken. None if the folder never had a checkpoint.

        Raises:
            ValueError: there are checkpoints, but all are damaged.
        """
        damaged = 0
        for iteration in reversed(self.iterations()):
            path = self.path(iteration)
            try:
                load_arrays(path)
            except ValueError as error:
                os.replace(path, path + ".damaged")
                warn(
                    f"warning: {error}; it is now {os.path.basename(path)}.damaged, trying the checkpoint "
                    "before it"
                )
                damaged += 1
                continue
            return path
        if damaged:
            raise ValueError(
                f"--resume: every checkpoint in {self.folder} is damaged ({damaged}, now *.damaged); "
                "begin anew without --resume, or restore one from a backup"
            )
        return None

    def save(self, iteration: int, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
        """Writes a checkpoint, points `latest` to it, then removes the oldest beyond `keep`.

        Raises:
            OSError: it could not be written; earlier checkpoints are as they were.
        """
        path = self.path(iteration)
        try:
            os.makedirs(self.folder, exist_ok=True)
            save_arrays(path, arrays, metadata)
            self._point(POINTER, iteration)
        except OSError as error:
            newest = self.newest()
            kept = f"{newest} is complete; go on from it with --resume" if newest else "no earlier one exists"
            raise OSError(f"checkpoint of iteration {iteration}: {error}; {kept}") from error
        self._prune(iteration)
        return path

    def is_best(self, iteration: int, score: float) -> bool:
        """Whether no other iteration scored as much as `score` (hIoU in %); NaN never is the best."""
        best = self._pointed(BEST)
        return math.isfinite(score) and (best is None or best[0] == iteration or best[1] < score)

    def point_to_best(self, iteration: int, score: float) -> None:
        """Points `best` to the saved checkpoint of `iteration`.

        Raises:
            OSError: the pointer could not be written.
        """
        self._point(BEST, iteration, f"hIoU {score!r}\n")
        self._prune(self.iterations()[-1])

    def go_on_after(self, iteration: int) -> None:
        """Prepares the folder for a run that goes on after `iteration`: no traces of writes that a kill broke
        off, and no checkpoint or pointer of later iterations, which this run will write again."""
        if not os.path.isdir(self.folder):
            return
        for name in os.listdir(self.folder):
            if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
                os.unlink(os.path.join(self.folder, name))
        for later in self.iterations():
            if later > iteration:
                os.replace(self.path(later), self.path(later) + ".abandoned")
        best = self._pointed(BEST)
        if not best or best[0] > iteration:
            self._remove(os.path.join(self.folder, BEST))
        if os.path.isfile(self.path(iteration)):
            self._point(POINTER, iteration)

    def _prune(self, newest: int) -> None:
        best = self._pointed(BEST)
        regular = [iteration for iteration in self.iterations() if iteration % self.interval == 0]
        staying = {*regular[-self.keep :], newest, *([best[0]] if best else [])}
        for iteration in self.iterations():
            if iteration not in staying:
                self._remove(self.path(iteration))

    def _point(self, pointer: str, iteration: int, note: str = "") -> None:
        text = f"{os.path.basename(self.path(iteration))}\n{note}".encode()
        write_atomically(os.path.join(self.folder, pointer), lambda file: file.write(text))

    def _pointed(self, pointer: str) -> tuple[int, float] | None:
        """Iteration and score behind a pointer, None where there is none or its checkpoint has gone."""
        try:
            with open(os.path.join(self.folder, pointer), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            return None  # the names of the files say enough
        match = _NAME.fullmatch(lines[0].strip()) if lines else None
        if not match or not os.path.isfile(self.path(int(match.group(1)))):
            return None
        score = re.fullmatch(r"hIoU (\S+)", lines[1]) if len(lines) > 1 else None
        return int(match.group(1)), _number(score.group(1)) if score else -math.inf

    @staticmethod
    def _remove(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def behind_pointer(path: str) -> str:
    """The file itself, where `path` is the pointer `latest` or `best`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if os.path.basename(path) in (POINTER, BEST) and os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            path = os.path.join(os.path.dirname(path), file.readline().strip())
    if not os.path.isfile(path):
        raise FileNotFoundError(f"checkpoint {path} does not exist; correct the path")
    return path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -math.inf
