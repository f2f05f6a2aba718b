"""Sinks: services that receive the scalars and figures of a training besides the files of the work folder.

`sinks` in a config lists them: `sinks = [dict(type="TensorBoard")]`. Your own is a subclass of `Sink` in a
module that `imports` names; see docs/training.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jseg.registry import Registry


class Sink(ABC):
    """Contract of a sink. It exists on the main rank only, for the length of a training."""

    @abstractmethod
    def open(self, work_dir: Path, start: int, config: Mapping[str, Any]) -> None:
        """Begins.

        Args:
            work_dir: work folder of the run.
            start: number of finished iterations, more than 0 if the run was resumed. Later ones that were
                sent before will be sent again.
            config: the resolved config.

        Raises:
            ValueError: if the sink cannot be used. The training does not start.
        """

    @abstractmethod
    def scalars(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        """Receives numbers. `group` is "train" (losses, learning rate, seconds) or "val" (scores in
        percent)."""

    @abstractmethod
    def figure(self, name: str, iteration: int, image: np.ndarray) -> None:
        """Receives a figure, uint8 (H, W, 3)."""

    @abstractmethod
    def close(self) -> None:
        """Ends, also after an error or an interrupt."""


SINKS: Registry[Sink] = Registry("sink", contract=Sink)


@SINKS.register()
class TensorBoard(Sink):
    """Writes event files of TensorBoard.

    Args:
        folder: folder of the event files, by default `tensorboard` in the work folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder

    def open(self, work_dir: Path, start: int, config: Mapping[str, Any]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError(
                "config key sinks: TensorBoard needs tensorboardX, which is missing: "
                "pip install tensorboardX (or jseg with its extra: pip install 'jseg[tensorboard]')"
            ) from None
        folder = Path(self._folder).expanduser() if self._folder else work_dir / "tensorboard"
        # Without purge_step, TensorBoard would show iterations that a resumed run repeats twice.
        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def scalars(self, group: str, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, iteration)
        self._writer.flush()

    def figure(self, name: str, iteration: int, image: np.ndarray) -> None:
        self._writer.add_image(name, image, iteration, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Sinks:
    """The open sinks of a run. A sink that fails later is closed with a warning, and the training goes on.

    Args:
        parts: the config key `sinks`.
        warn: receives a line of text.

    Raises:
        ValueError: if a sink cannot be used.
    """

    def __init__(
        self,
        parts: Sequence[Mapping[str, Any]],
        work_dir: Path,
        start: int,
        config: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        self._warn = warn
        self._open: list[Sink] = []
        for index, part in enumerate(parts):
            sink = SINKS.build(part, where=f"sinks.{index}")
            sink.open(work_dir, start, config)
            self._open.append(sink)

    def scalars(self, group: str, iteration: int, values: Mapping[str, Any]) -> None:
        """Hands on the finite numbers among `values`."""
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, (int, float)) and name != "iter" and np.isfinite(value)
        }
        self._each(lambda sink: sink.scalars(group, iteration, numbers))

    def figures(self, iteration: int, paths: Sequence[Path]) -> None:
        """Hands on image files by their names without suffix."""
        if not self._open:
            return
        for path in paths:
            with Image.open(path) as opened:
                image = np.asarray(opened.convert("RGB"))
            self._each(partial(_send_figure, path.stem, iteration, image))

    def close(self) -> None:
        """Closes all sinks."""
        self._each(lambda sink: sink.close())
        self._open = []

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._open):
            try:
                call(sink)
            except Exception as error:  # whatever a foreign service raises must not end a training
                self._open.remove(sink)
                self._warn(f"warning: {type(sink).__name__} failed and receives nothing more: {error}")


def _send_figure(name: str, iteration: int, image: np.ndarray, sink: Sink) -> None:
    sink.figure(name, iteration, image)
