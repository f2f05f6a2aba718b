"""The runner, which trains, evaluates and applies a segmentor as described by a config."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

import jseg.datasets
import jseg.models.segmentors
import jseg.optim  # noqa: F401  (fills the registries of optimizers and schedulers)
from jseg.config import Config
from jseg.datasets import DataLoader, Dataset
from jseg.datasets.batch import LoadedBatch
from jseg.datasets.leftovers import shared_files
from jseg.distributed import (
    Compression,
    alive,
    all_reduce_max,
    barrier,
    broadcast_object,
    gather_objects,
    is_main,
    rank,
    world_size,
)
from jseg.evaluation import HEADLINE, format_table, json_ready
from jseg.files import replacing
from jseg.models.segmentors import Segmentor
from jseg.optim import Optimizer
from jseg.runner.environment import save_environment
from jseg.runner.evaluate import evaluate, save_predictions
from jseg.runner.experiment import Experiment, Schedule
from jseg.runner.figures import draw_figures
from jseg.runner.folder_lock import occupied
from jseg.runner.inspection import save_batch
from jseg.runner.interrupt import Interrupted, StopSignals
from jseg.runner.log import Eta, LossWindow, NonFiniteLoss, clock, gpu_memory_mb, peak_memory_mb
from jseg.runner.outputs import CONFUSION, MASKS, METRICS, PER_IMAGE, ImageOutputs
from jseg.runner.same_data import check_same_data
from jseg.runner.sinks import Sinks
from jseg.runner.step import TrainingStep, rank_batch_size
from jseg.runtime.backend import device, jt
from jseg.visualization import MATPLOTLIB_MISSING, can_draw


class Runner:
    """One run in one work folder.

    Args:
        cfg: the resolved config. It is validated before anything is built.

    Raises:
        ValueError: as in `jseg.config.validate`.
        OSError: if the work folder cannot be written.
    """

    def __init__(self, cfg: Config) -> None:
        self.experiment = Experiment(cfg)
        self.cfg = cfg
        self.seed = cfg.seed
        self.work_dir = self.experiment.work_dir
        self.log = self.experiment.log
        self.store = self.experiment.store

    def train(self, resume: str | None = None) -> None:
        """Trains to `max_iters`, saves checkpoints and evaluates at intervals, and draws the figures of the
        run.

        Args:
            resume: None to start a new run (an earlier run in the folder is set aside), "auto" to resume from
                its newest checkpoint if there is one, or else a checkpoint file.

        Raises:
            ValueError: if config, data or checkpoint do not match. FloatingPointError: if the loss is not
                finite.
            OSError: if a file cannot be read or written, or the work folder is in use by another training.
            Interrupted: if a signal stopped the training, after saving a checkpoint.
        """
        # Missing data must be reported before anything is written, and a missing validation set before
        # training.
        for part in ("train", "val"):
            self.experiment.dataset(part)
        with self._occupied("train"):
            self._train(resume)

    def _occupied(self, task: str) -> AbstractContextManager[None]:
        """Locks the work folder on the main rank."""
        return occupied(self.work_dir, task, self.log.info) if is_main() else contextlib.nullcontext()

    def _train(self, resume: str | None) -> None:
        cfg = self.cfg
        batch_size = rank_batch_size(cfg.batch_size, world_size(), cfg.accumulate)
        experiment = self.experiment
        dataset = experiment.dataset("train")
        model, scheduler, optimizer = experiment.model(), experiment.scheduler(), experiment.optimizer()
        start, losses = experiment.start(resume, optimizer)
        if is_main():
            self.work_dir.mkdir(parents=True, exist_ok=True)
            cfg.dump(self.work_dir / "config.py")
            save_environment(self.work_dir)
        loader = DataLoader(
            dataset,
            batch_size,
            self.seed,
            rank(),
            world_size(),
            num_workers=cfg.num_workers,
            skip_unreadable=cfg.max_bad_images > 0,
        )
        for note in self._data_notes() if is_main() else ():
            self.log.info(f"note: {note}")
        numbers = sum(int(value.numel()) for value in optimizer.parameters.values())
        self.log.info(
            f"training {len(optimizer.parameters)} tensors ({numbers / 1e6:.2f} M parameters) on "
            f"{len(dataset)} images, iterations {start + 1} to {cfg.max_iters}, in {self.work_dir}, "
            f"on {device.line}"
        )
        sinks = Sinks(cfg.sinks if is_main() else (), self.work_dir, start, cfg, self.log.info)
        self.log.forward(sinks)
        with contextlib.closing(sinks):
            with contextlib.closing(loader.batches(start)) as batches:
                try:
                    with StopSignals() as stop:
                        window = LossWindow(start, losses)
                        self._loop(start, batches, model, optimizer, scheduler, window, stop)
                except NonFiniteLoss as error:
                    raise self._not_finite(error, loader) from None
            sinks.figures(cfg.max_iters, self._draw(model))

    def _not_finite(self, error: NonFiniteLoss, loader: DataLoader) -> FloatingPointError:
        """Saves the batch of a loss that is not finite, and returns the error that names the file."""
        try:
            path = save_batch(self.work_dir, error.iteration, loader.batch(error.iteration - 1))
            kept = f"is in {path}"
        except OSError as problem:  # must not hide the error of the loss
            kept = f"could not be saved: {problem}"
        barrier("the files of every process about a loss that is not finite")
        return FloatingPointError(f"{error}; its batch {kept}")

    def val(
        self, checkpoint: str | None = None, save_masks: bool = False, per_image: bool = False
    ) -> dict[str, Any]:
        """Evaluates a checkpoint (default: the newest in the work folder), prints the table and writes
        `metrics.json`.

        Args:
            save_masks: also write the predictions to `val_predictions/`, to be scored by
                `tools/evaluate_masks.py`.
            per_image: also write the scores of every image to `per_image.jsonl`.
        """
        with self._occupied("val"):
            return self._val(checkpoint, save_masks, per_image)

    def _val(self, checkpoint: str | None, save_masks: bool, per_image: bool) -> dict[str, Any]:
        model, path = self.experiment.trained_model(checkpoint)
        check_same_data([self.experiment.dataset("val")])
        self.log.info(f"evaluating {path}")
        outputs = ImageOutputs(
            self.experiment.dataset("val"),
            masks=self.work_dir / MASKS if save_masks else None,
            records=self.work_dir / PER_IMAGE if per_image else None,
        )
        summary = self._evaluate(model, outputs=outputs)
        if is_main():
            save_environment(self.work_dir)
        self._write_metrics(summary, {"checkpoint": str(path)})
        self._draw(model)
        return summary

    def test(
        self, checkpoint: str | None = None, published_values: bool = False, outlines: Sequence[str] = ()
    ) -> Path:
        """Segments `dataset.test` into palette PNG files, which replace those of an earlier run.

        Args:
            published_values, outlines: see `jseg.runner.outputs.ImageOutputs`.

        Returns:
            The folder of the files.
        """
        # Built before the model, which takes its classes from this set, so that no other data is needed.
        dataset = self.experiment.dataset("test")
        with self._occupied("test"):
            return self._test(dataset, checkpoint, published_values, outlines)

    def _test(
        self, dataset: Dataset, checkpoint: str | None, published_values: bool, outlines: Sequence[str]
    ) -> Path:
        model, path = self.experiment.trained_model(checkpoint)
        check_same_data([dataset])
        folder = self.work_dir / "predictions"
        self.log.info(f"segmenting {len(dataset)} images with {path}")
        model.eval()
        save_predictions(
            model,
            dataset,
            self.cfg.inference,
            folder,
            self.log,
            published_values,
            outlines,
            self.cfg.num_workers,
        )
        barrier()
        self.log.info(f"{len(dataset)} predictions are in {folder}")
        return folder

    def _data_notes(self) -> list[str]:
        """Describes data that is not used, and images that are used twice."""
        train, val = (self.experiment.dataset(part) for part in ("train", "val"))
        return list(dict.fromkeys([*train.notes(), *val.notes(), *shared_files(train.files(), val.files())]))

    def _loop(
        self,
        start: int,
        batches: Iterator[LoadedBatch],
        model: Segmentor,
        optimizer: Optimizer,
        scheduler: Schedule,
        window: LossWindow,
        stop: StopSignals,
    ) -> None:
        cfg, eta = self.cfg, Eta()
        compression = Compression() if cfg.compress_gradients else None
        step = TrainingStep(model, optimizer, self.seed, cfg.accumulate, compression)
        if (
            start
            and self._due(start, cfg.eval_interval)
            and not broadcast_object(self.log.has("eval.jsonl", start))
        ):
            # The previous run ended between saving and evaluating.
            self._measure(start, model, optimizer, stop)
        model.train()
        window.restart_clock()
        for iteration in range(start, cfg.max_iters):
            alive(f"reading the images of iteration {iteration + 1}")
            waited = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waited
            alive(f"computing iteration {iteration + 1}")
            window.add(step(iteration, batch, _rates(scheduler, iteration)), waited)
            # Launches the iteration without waiting for it to finish: random numbers are drawn at launch,
            # before the next seed is set, and the lazy graph does not grow.
            jt.sync_all()
            done = iteration + 1
            number, bad = self._agree(stop.number, batch["bad"], done)
            self.experiment.bad_images.add(bad)
            save, measure = (
                self._due(done, interval) for interval in (cfg.checkpoint_interval, cfg.eval_interval)
            )
            if save or measure or done % cfg.log_interval == 0:
                self._report(done, window.close(), scheduler(optimizer.base_lr, iteration), eta)
            if save:
                self._save(done, optimizer)
                if compression:  # a run that is resumed here starts without it, too
                    compression.reset()
            if measure:
                self._measure(done, model, optimizer, stop)
                model.train()
            if save or measure:
                window.restart_clock()
            if number and done < cfg.max_iters:
                self._stop(number, done, optimizer, window)

    @staticmethod
    def _agree(number: int, bad: Mapping[str, str], done: int) -> tuple[int, Mapping[str, str]]:
        """Returns the largest signal number and all unreadable images seen by any process in this
        iteration."""
        what = f"the end of iteration {done}"
        largest: np.ndarray = all_reduce_max(np.array([number, len(bad)]), what)
        number, count = (int(value) for value in largest)
        if count:
            bad = {name: reason for found in gather_objects(bad, what) for name, reason in found.items()}
        return number, bad

    def _measure(self, done: int, model: Segmentor, optimizer: Optimizer, stop: StopSignals) -> None:
        """Evaluates, and keeps the checkpoint of this iteration as `best` if no earlier one was better."""
        alive("evaluating")
        message = (
            "stopped by {signal} while evaluating; the newest checkpoint is complete, "
            "--resume auto continues from it"
        )
        # The main rank ends the other processes.
        with stop.at_once(message) if is_main() else contextlib.nullcontext():
            summary = self._evaluate(model, short=done < self.cfg.max_iters)
        headline = {key: summary[key] for key in HEADLINE}
        self._write_metrics(summary, {"iter": done})
        if is_main() and self.store.is_best(done, headline["hIoU"]):
            if not self.store.path(done).is_file():
                self._save(done, optimizer)
            self.store.point_to_best(done, headline["hIoU"])
        # Written last, to mark this evaluation as complete.
        self.log.record("eval.jsonl", {"iter": done, **headline})

    def _stop(self, number: int, done: int, optimizer: Optimizer, window: LossWindow) -> None:
        """Ends the training after iteration `done`, with a checkpoint."""
        path = self.store.path(done)
        if not self._due(done, self.cfg.checkpoint_interval):
            self._save(done, optimizer, window.values())
        barrier("the checkpoint before the end")
        name = signal.Signals(number).name
        raise Interrupted(
            number,
            f"stopped by {name} after iteration {done}: {path} is complete, the same command "
            "with --resume auto continues from it",
        )

    def _due(self, done: int, interval: int | None) -> bool:
        return done == self.cfg.max_iters or (interval is not None and done % interval == 0)

    def _report(self, done: int, means: Mapping[str, float], lr: float, eta: Eta) -> None:
        left = eta.update(means["seconds"], self.cfg.max_iters - done)
        terms = {name: value for name, value in means.items() if name not in ("seconds", "data_seconds")}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
        gpu = gpu_memory_mb()
        memory = f"  GPU {gpu:.0f} MiB" if gpu else ""
        self.log.info(
            f"iter {done}/{self.cfg.max_iters}  lr {lr:.3g}  {shown}  {means['seconds']:.3f} s/iter "
            f"(data {means['data_seconds']:.3f})  {clock(left)} left{memory}"
        )
        self.log.record(
            "log.jsonl",
            {
                "iter": done,
                "lr": lr,
                **means,
                "eta_seconds": round(left, 1),
                "memory_mb": peak_memory_mb(),
                "gpu_memory_mb": gpu,
            },
        )

    def _save(self, done: int, optimizer: Optimizer, losses: Sequence[Mapping[str, float]] = ()) -> None:
        if not is_main():
            return
        alive(f"saving the checkpoint of iteration {done}")
        arrays = {name: value.numpy() for name, value in optimizer.parameters.items()}
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        # The last loss was still finite, but the update was not. Such a checkpoint would be useless.
        if broken:
            raise FloatingPointError(
                f"{broken[0]} is not finite after iteration {done} ({len(broken)} of "
                f"{len(arrays)} trained tensors), no checkpoint is written; lower optimizer.lr or "
                "inspect the data of that iteration; earlier checkpoints are intact"
            )
        arrays.update(optimizer.state())
        metadata = self.experiment.describe(done, losses)
        self.log.info(f"saved {self.store.save(done, arrays, metadata)}")

    def _evaluate(
        self, model: Segmentor, short: bool = False, outputs: ImageOutputs | None = None
    ) -> dict[str, Any]:
        model.eval()
        summary = evaluate(
            model, self.experiment.dataset("val"), self.cfg.inference, self.log, outputs, self.cfg.num_workers
        )
        headline = "  ".join(f"{key} {summary[key]:.2f}" for key in HEADLINE)
        self.log.info(headline if short else "\n" + format_table(summary))
        return summary

    def _write_metrics(self, summary: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        if not is_main():
            return
        scores = dict(summary)
        matrix = scores.pop("confusion")
        names = [row["name"] for row in scores["per_class"]]
        for name, text in (
            (METRICS, json.dumps({**extra, **json_ready(scores)}, indent=1)),
            (CONFUSION, json.dumps({"classes": names, "matrix": matrix})),
        ):
            with replacing(self.work_dir / name) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")

    def _draw(self, model: Segmentor) -> list[Path]:
        """Draws the figures on the main rank, and returns their files."""
        drawn: list[Path] = []
        if is_main():
            model.eval()
            count = self.cfg.visualize["num_images"]
            for path in draw_figures(
                model, self.experiment.dataset("val"), self.cfg.inference, self.work_dir, count
            ):
                self.log.info(f"drew {path}")
                drawn.append(path)
            if not can_draw():
                self.log.info(MATPLOTLIB_MISSING)
        barrier()
        return drawn


def _rates(schedule: Schedule, iteration: int) -> Callable[[float], float]:
    """Returns a function from a parameter's configured learning rate to its rate in this iteration."""
    return lambda base_lr: schedule(base_lr, iteration)
