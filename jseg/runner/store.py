"""The checkpoint files of a work folder: atomic saves, the pointers `latest` and `best`, pruning, damaged
files.

work_dir/checkpoints/iter_N.safetensors    complete checkpoints; a file being written has a hidden name
work_dir/checkpoints/latest                name of the newest checkpoint
work_dir/checkpoints/best                  name and hIoU of the best checkpoint
work_dir/checkpoints/*.damaged             set aside because the SHA-256 inside did not match
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jseg.checkpoints import load_arrays, save_arrays
from jseg.checkpoints.pointers import BEST, POINTER
from jseg.files import TEMPORARY_SUFFIX, PathLike, replacing

_NAME = re.compile(r"iter_(\d+)\.safetensors")


class CheckpointStore:
    """The checkpoints of one work folder.

    The newest and the best checkpoint are kept, and the newest `keep` of those at multiples of `interval`
    (None: of all). Others, which were saved because they were the best for a while or because of a signal,
    are removed by the next save.
    """

    def __init__(self, work_dir: PathLike, keep: int = 3, interval: int | None = None) -> None:
        self.folder = Path(work_dir) / "checkpoints"
        self.keep = keep
        self.interval = interval or 1

    def path(self, iteration: int) -> Path:
        """File of the checkpoint after `iteration` iterations."""
        return self.folder / f"iter_{iteration}.safetensors"

    def iterations(self) -> list[int]:
        """Returns the iterations that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = [_NAME.fullmatch(file.name) for file in self.folder.iterdir()]
        return sorted(int(match.group(1)) for match in found if match)

    def newest(self) -> Path | None:
        """Returns the file named by `latest`, or else the one of the highest iteration, or else None."""
        named = self._pointed(POINTER)
        if named:
            return self.path(named[0])
        iterations = self.iterations()
        return self.path(iterations[-1]) if iterations else None

    def newest_undamaged(self, warn: Callable[[str], None]) -> Path | None:
        """Returns the newest checkpoint whose SHA-256 matches, or None if the folder has no checkpoints.

        Damaged checkpoints are renamed, and `warn` is called with a sentence for each. If a run was killed
        between renaming a checkpoint and updating `latest`, the newest file is beyond the pointer. It is
        complete, so it is used.

        Raises:
            ValueError: if all checkpoints are damaged.
        """
        damaged = 0
        for iteration in reversed(self.iterations()):
            path = self.path(iteration)
            try:
                load_arrays(path)
            except ValueError as error:
                renamed = path.replace(f"{path}.damaged")
                warn(f"warning: {error}; renamed to {renamed.name}, trying the previous checkpoint")
                damaged += 1
                continue
            return path
        if damaged:
            raise ValueError(
                f"--resume: every checkpoint in {self.folder} is damaged ({damaged}, now *.damaged); "
                "start again without --resume, or restore one from a backup"
            )
        return None

    def save(self, iteration: int, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Path:
        """Writes a checkpoint, points `latest` to it, and removes the oldest ones beyond `keep`.

        Raises:
            OSError: if it could not be written. Earlier checkpoints are unchanged.
        """
        path = self.path(iteration)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_arrays(path, arrays, metadata)
            self._point(POINTER, iteration)
        except OSError as error:
            newest = self.newest()
            kept = (
                f"{newest} is complete; resume from it with --resume" if newest else "no earlier one exists"
            )
            raise OSError(f"checkpoint of iteration {iteration}: {error}; {kept}") from error
        self._prune(iteration)
        return path

    def is_best(self, iteration: int, score: float) -> bool:
        """Whether `score` (hIoU in %) is better than that of all other iterations. NaN is never the best."""
        best = self._pointed(BEST)
        return math.isfinite(score) and (best is None or best[0] == iteration or best[1] < score)

    def point_to_best(self, iteration: int, score: float) -> None:
        """Points `best` to the saved checkpoint of `iteration`.

        Raises:
            OSError: if the pointer could not be written.
        """
        self._point(BEST, iteration, f"hIoU {score!r}\n")
        self._prune(self.iterations()[-1])

    def go_on_after(self, iteration: int) -> None:
        """Prepares the folder for a run that resumes after `iteration`.

        Removes unfinished files of a killed run, and sets aside checkpoints and pointers of later iterations,
        which this run will write again.
        """
        if not self.folder.is_dir():
            return
        for file in list(self.folder.iterdir()):
            if file.name.startswith(".") and file.name.endswith(TEMPORARY_SUFFIX):
                file.unlink()
        for later in self.iterations():
            if later > iteration:
                self.path(later).replace(f"{self.path(later)}.abandoned")
        best = self._pointed(BEST)
        if not best or best[0] > iteration:
            (self.folder / BEST).unlink(missing_ok=True)
        if self.path(iteration).is_file():
            self._point(POINTER, iteration)

    def _prune(self, newest: int) -> None:
        best = self._pointed(BEST)
        regular = [iteration for iteration in self.iterations() if iteration % self.interval == 0]
        staying = {*regular[-self.keep :], newest, *([best[0]] if best else [])}
        for iteration in self.iterations():
            if iteration not in staying:
                self.path(iteration).unlink(missing_ok=True)

    def _point(self, pointer: str, iteration: int, note: str = "") -> None:
        with replacing(self.folder / pointer) as temporary:
            temporary.write_text(f"{self.path(iteration).name}\n{note}", encoding="utf-8")

    def _pointed(self, pointer: str) -> tuple[int, float] | None:
        """Returns iteration and score of a pointer, or None if there is none or its checkpoint is missing."""
        try:
            lines = (self.folder / pointer).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None  # the file names are sufficient
        match = _NAME.fullmatch(lines[0].strip()) if lines else None
        if not match or not self.path(int(match.group(1))).is_file():
            return None
        score = re.fullmatch(r"hIoU (\S+)", lines[1]) if len(lines) > 1 else None
        return int(match.group(1)), _number(score.group(1)) if score else -math.inf


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -math.inf
