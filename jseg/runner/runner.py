"""Runner: trains, evaluates and applies a segmentor as a config says."""

import contextlib
import copy
import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jseg.datasets
import jseg.models.segmentors
import jseg.optim  # noqa: F401  (fills the registries of optimizers and schedulers)
from jseg.config import Config, validate
from jseg.datasets import DataLoader, configured_root
from jseg.distributed import (
    alive,
    all_reduce_max,
    barrier,
    broadcast_object,
    check_same,
    gather_objects,
    is_main,
    rank,
    world_size,
)
from jseg.evaluation import HEADLINE, format_table, json_ready
from jseg.files import PathLike, file_sha256, replacing
from jseg.models.state import arrays_of
from jseg.registry import DATASETS, MODELS, OPTIMIZERS, SCHEDULERS, TRANSFORMS
from jseg.runner.bad_pictures import BadPictures
from jseg.runner.checkpoint import (
    check_initial_weights,
    check_resumable,
    describe,
    half_way_note,
    load_weights,
    resume_notes,
)
from jseg.runner.evaluate import check_inference, evaluate, save_predictions
from jseg.runner.inspection import save_batch
from jseg.runner.interrupt import Interrupted, StopSignals
from jseg.runner.log import Eta, LossWindow, NonFiniteLoss, RunLog, clock, gpu_memory_mb, peak_memory_mb
from jseg.runner.outputs import MASKS, PER_IMAGE, PictureOutputs
from jseg.runner.paths import check_work_dir, default_work_dir, resolve_path, set_aside_earlier_run
from jseg.runner.pictures import draw_pictures
from jseg.runner.seeding import BEFORE_TRAINING, seed_everything
from jseg.runner.step import TrainingStep, rank_batch_size
from jseg.runner.store import CheckpointStore
from jseg.runtime.backend import device, jt

REGISTRIES = {
    "model": MODELS,
    "dataset.*": DATASETS,
    "dataset.*.pipeline.#": TRANSFORMS,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
}


def _located(path: PathLike) -> str:
    """`resolve_path` by the main rank, whose disk holds the checkpoints."""
    return broadcast_object(resolve_path(path) if is_main() else None, what=f"the path of {path}")


class Runner:
    """One run in one work folder.

    Args:
        cfg: the resolved config; validated here, before anything is built.

    Raises:
        ValueError: see `jseg.config.validate`.
        OSError: the work folder cannot be written.
    """

    def __init__(self, cfg: Config) -> None:
        validate(cfg, REGISTRIES)
        check_inference(cfg.inference)
        self.cfg = cfg
        self.seed = cfg.seed
        self.work_dir = Path(cfg.work_dir or default_work_dir(cfg.filename))
        if is_main():
            check_work_dir(self.work_dir)
        self.log = RunLog(self.work_dir, active=is_main())
        self.store = CheckpointStore(self.work_dir, cfg.keep_checkpoints, cfg.checkpoint_interval)
        self._datasets: dict[str, Any] = {}
        self._model: Any = None
        self._clip_sha256 = ""
        self._bad_pictures = BadPictures(cfg.max_bad_pictures, self.log)

    def train(self, resume: str | None = None) -> None:
        """Trains to `max_iters`, with checkpoints and evaluations on the way, and draws the pictures of the
        run.

        Args:
            resume: None to begin anew (an earlier run in the folder is set aside), "auto" to go on from its
                newest checkpoint if there is one, else a checkpoint file.

        Raises:
            ValueError: config, data or checkpoint do not fit; FloatingPointError: the loss is not finite;
            OSError: a file cannot be read or written; Interrupted: a signal stopped it, after a checkpoint.
        """
        cfg = self.cfg
        batch_size = rank_batch_size(cfg.batch_size, world_size(), cfg.accumulate)
        newest = self._newest_undamaged() if resume == "auto" else resume
        dataset, _ = (
            self._dataset("train"),
            self._dataset("val"),
        )  # a missing val set must not show after the training
        model = self._built_model()
        scheduler = SCHEDULERS.build(cfg.scheduler, where="scheduler", offered={"max_iters": cfg.max_iters})
        optimizer = OPTIMIZERS.build(
            cfg.optimizer, where="optimizer", parameters=model.trainable_parameters()
        )
        start, losses = self._restore(newest, optimizer) if newest else (self._begin(resume), [])
        self._check_same(model, optimizer)
        if is_main():
            self.work_dir.mkdir(parents=True, exist_ok=True)
            cfg.dump(self.work_dir / "config.py")
        loader = DataLoader(
            dataset,
            batch_size,
            self.seed,
            rank(),
            world_size(),
            num_workers=cfg.num_workers,
            skip_unreadable=cfg.max_bad_pictures > 0,
        )
        numbers = sum(int(value.numel()) for value in optimizer.parameters.values())
        self.log.info(
            f"training {len(optimizer.parameters)} tensors ({numbers / 1e6:.2f} M numbers) on {len(dataset)} "
            f"pictures, iterations {start + 1} to {cfg.max_iters}, in {self.work_dir}, on {device.line}"
        )
        batches = loader.batches(start)
        try:
            with StopSignals() as stop:
                self._loop(start, batches, model, optimizer, scheduler, LossWindow(start, losses), stop)
        except NonFiniteLoss as error:
            try:
                kept = (
                    f"is in {save_batch(self.work_dir, error.iteration, loader.batch(error.iteration - 1))}"
                )
            except OSError as problem:  # it must not hide the loss
                kept = f"could not be kept: {problem}"
            barrier("the files of every process about a loss that is not finite")
            raise FloatingPointError(f"{error}; its batch {kept}") from None
        finally:
            batches.close()
        self._draw(model)

    def val(
        self, checkpoint: str | None = None, save_masks: bool = False, per_image: bool = False
    ) -> dict[str, Any]:
        """Evaluates a checkpoint (default: the newest of the work folder); prints the table, writes
        `metrics.json`.

        Args:
            save_masks: also write the predictions to `val_predictions/`, which `tools/evaluate_masks.py` can
                score.
            per_image: also write the scores of every picture to `per_image.jsonl`.
        """
        model, path = self._trained_model(checkpoint)
        self.log.info(f"evaluating {path}")
        wanted = (
            self.work_dir / name if asked else None
            for name, asked in ((MASKS, save_masks), (PER_IMAGE, per_image))
        )
        summary = self._evaluate(model, outputs=PictureOutputs(self._dataset("val"), *wanted))
        self._write_metrics(summary, {"checkpoint": str(path)})
        self._draw(model)
        return summary

    def test(self, checkpoint: str | None = None) -> Path:
        """Segments `dataset.test` into palette PNG files, in place of those of an earlier run; returns their
        folder."""
        model, path = self._trained_model(checkpoint)
        dataset = self._dataset("test")
        folder = self.work_dir / "predictions"
        self.log.info(f"segmenting {len(dataset)} pictures with {path}")
        model.eval()
        save_predictions(model, dataset, self.cfg.inference, folder, self.log)
        barrier()
        self.log.info(f"{len(dataset)} predictions are in {folder}")
        return folder

    def _loop(
        self,
        start: int,
        batches: Any,
        model: Any,
        optimizer: Any,
        scheduler: Any,
        window: LossWindow,
        stop: StopSignals,
    ) -> None:
        cfg, eta = self.cfg, Eta()
        step = TrainingStep(model, optimizer, self.seed, cfg.accumulate)
        if (
            start
            and self._due(start, cfg.eval_interval)
            and not broadcast_object(self.log.has("eval.jsonl", start))
        ):
            self._measure(start, model, optimizer, stop)  # the run before ended between saving and evaluating
        model.train()
        window.restart_clock()
        for iteration in range(start, cfg.max_iters):
            alive(f"reading the pictures of iteration {iteration + 1}")
            waited = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waited
            alive(f"computing iteration {iteration + 1}")
            window.add(step(iteration, batch, lambda base, at=iteration: scheduler(base, at)), waited)
            # Launches the iteration without waiting for its end: random numbers are drawn at launch, before
            # the next seed, and the lazy graph does not grow.
            jt.sync_all()
            done = iteration + 1
            number, bad = self._agree(stop.number, batch["bad"], done)
            self._bad_pictures.add(bad)
            save, measure = (
                self._due(done, interval) for interval in (cfg.checkpoint_interval, cfg.eval_interval)
            )
            if save or measure or done % cfg.log_interval == 0:
                self._report(done, window.close(), scheduler(optimizer.base_lr, iteration), eta)
            if save:
                self._save(done, optimizer)
            if measure:
                self._measure(done, model, optimizer, stop)
                model.train()
            if save or measure:
                window.restart_clock()
            if number and done < cfg.max_iters:
                self._stop(number, done, optimizer, window)

    @staticmethod
    def _agree(number: int, bad: Mapping[str, str], done: int) -> tuple[int, Mapping[str, str]]:
        """The largest signal number and all unreadable pictures that any process has seen in this
        iteration."""
        what = f"the end of iteration {done}"
        number, count = (int(value) for value in all_reduce_max(np.array([number, len(bad)]), what))
        if count:
            bad = {name: reason for found in gather_objects(bad, what) for name, reason in found.items()}
        return number, bad

    def _check_same(self, model: Any, optimizer: Any) -> None:
        """Every rank must begin with the same config, pictures, weights and optimizer state.

        Raises:
            ValueError: naming the ranks that differ and in what.
        """
        dataset = self._dataset("train")
        if world_size() > 1:
            pictures = [dataset.name(index) for index in range(len(dataset))]
            arrays = {**arrays_of(model), **optimizer.state()}
            check_same(
                {"the config": self.cfg.text(), "the training pictures": pictures, **arrays},
                "give every machine the same files and the same jseg",
                "the comparison of weights",
            )

    def _measure(self, done: int, model: Any, optimizer: Any, stop: StopSignals) -> None:
        """Evaluates, then keeps the checkpoint of this iteration if none was better."""
        alive("evaluating")
        message = (
            "stopped by {signal} while evaluating; the newest checkpoint is complete, "
            "--resume auto goes on from it"
        )
        with (
            stop.at_once(message) if is_main() else contextlib.nullcontext()
        ):  # the main rank ends the others
            summary = self._evaluate(model, short=done < self.cfg.max_iters)
        headline = {key: summary[key] for key in HEADLINE}
        self._write_metrics(summary, {"iter": done})
        if is_main() and self.store.is_best(done, headline["hIoU"]):
            if not self.store.path(done).is_file():
                self._save(done, optimizer)
            self.store.point_to_best(done, headline["hIoU"])
        self.log.record(
            "eval.jsonl", {"iter": done, **headline}
        )  # last: it says that this evaluation is complete

    def _stop(self, number: int, done: int, optimizer: Any, window: LossWindow) -> None:
        """Ends the training after iteration `done`, with a checkpoint."""
        path = self.store.path(done)
        if not self._due(done, self.cfg.checkpoint_interval):
            self._save(done, optimizer, window.values())
        barrier("the checkpoint before the end")
        name = signal.Signals(number).name
        raise Interrupted(
            number,
            f"stopped by {name} after iteration {done}: {path} is complete, the same command "
            "with --resume auto goes on from it",
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

    def _save(self, done: int, optimizer: Any, losses: Sequence[Mapping[str, float]] = ()) -> None:
        if not is_main():
            return
        alive(f"saving the checkpoint of iteration {done}")
        arrays = {name: value.numpy() for name, value in optimizer.parameters.items()}
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if (
            broken
        ):  # the last loss was still finite, the update after it was not; such a checkpoint is of no use
            raise FloatingPointError(
                f"{broken[0]} is not finite after iteration {done} ({len(broken)} of "
                f"{len(arrays)} trained tensors), no checkpoint is written; lower optimizer.lr or "
                "look at the data of that iteration; earlier checkpoints are intact"
            )
        arrays.update(optimizer.state())
        metadata = describe(
            self.cfg,
            self._model_cfg(),
            self._dataset("train"),
            done,
            self._clip_sha256,
            losses,
            self._bad_pictures.reasons,
        )
        self.log.info(f"saved {self.store.save(done, arrays, metadata)}")

    def _newest_undamaged(self) -> Path | None:
        return broadcast_object(
            self.store.newest_undamaged(self.log.info) if is_main() else None,
            what="the checkpoint to resume from",
        )

    def _restore(self, checkpoint: PathLike, optimizer: Any) -> tuple[int, list[dict[str, float]]]:
        """Takes over a checkpoint; returns its iteration and the loss terms that it has not logged yet."""
        path = _located(checkpoint)
        arrays, metadata = load_weights(self._model, path, self._model_cfg(), self._clip_sha256)
        start = check_resumable(path, metadata, self.cfg, len(self._dataset("train")))
        optimizer.load_state(arrays)
        if is_main():
            self.store.go_on_after(start)
        losses = json.loads(metadata.get("losses", "[]"))
        self._bad_pictures.restore(json.loads(metadata.get("bad_pictures", "{}")), self._dataset("train"))
        self.log.drop_after(start - len(losses))
        self.log.info(f"resuming {path} at iteration {start}")
        for note in resume_notes(metadata, self.cfg):
            self.log.info(note)
        return start, losses

    def _begin(self, resume: str | None) -> int:
        source = self._load_initial_weights()
        folder = set_aside_earlier_run(self.work_dir) if is_main() else None
        if folder:
            self.log.info(
                f"an earlier run was here; its files are now in {folder} "
                "(--resume would have gone on with it)"
            )
        elif resume == "auto":
            self.log.info(f"nothing to resume in {self.work_dir}: beginning at iteration 0")
        if source:
            self.log.info(f"weights from {source}")
        return 0

    def _load_initial_weights(self) -> str | None:
        setting = self.cfg.model.get("setting", "inductive")
        if self.cfg.init_from:
            try:
                path = _located(self.cfg.init_from)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"config key init_from: there is no checkpoint {self.cfg.init_from}; train the "
                    "run it comes from first, or --set init_from=PATH"
                ) from error
            _, metadata = load_weights(self._model, path, self._model_cfg(), self._clip_sha256)
            check_initial_weights(path, metadata, self._dataset("train"), self._model_cfg())
            note = half_way_note(metadata)
            if note:
                self.log.info(note)
            return path
        if setting == "transductive":
            raise ValueError(
                "config key init_from: the transductive setting starts from an inductive checkpoint at "
                "half its iterations; set init_from to that file"
            )
        return None

    def _trained_model(self, checkpoint: str | None) -> Any:
        path = _located(checkpoint) if checkpoint else broadcast_object(self.store.newest())
        if path is None:
            raise FileNotFoundError(f"no checkpoint in {self.store.folder}; train first or give --checkpoint")
        model = self._built_model()
        load_weights(model, path, self._model_cfg(), self._clip_sha256)
        return model, path

    def _dataset(self, part: str) -> Any:
        if part not in self._datasets:
            cfg = self.cfg.dataset.get(part)
            if cfg is None:
                raise ValueError(f"config key dataset.{part}: missing; this task needs it")
            offered: dict[str, Any] = {"seed": self.seed, "data_root": configured_root(self.cfg.data_root)}
            try:
                self._datasets[part] = DATASETS.build(cfg, where=f"dataset.{part}", offered=offered)
            except ValueError as error:
                if str(error).startswith("config key"):
                    raise
                raise ValueError(f"config key dataset.{part}: {error}") from error
        return self._datasets[part]

    def _model_cfg(self) -> dict[str, Any]:
        """The model's config with paths resolved and, as the default of image_size, the crop of the
        inference."""
        model_cfg = copy.deepcopy(self.cfg.model)
        crop = self.cfg.inference.get("crop_size")
        accepted = MODELS.parameters(model_cfg["type"], "model")
        if crop is not None and "image_size" in accepted:
            model_cfg.setdefault("image_size", crop if isinstance(crop, int) else tuple(crop))
        for key in ("clip", "text_embeddings"):
            if isinstance(model_cfg.get(key), str):
                try:
                    model_cfg[key] = resolve_path(model_cfg[key])
                except FileNotFoundError as error:
                    raise FileNotFoundError(f"config key model.{key}: {error}") from error
        return model_cfg

    def _built_model(self) -> Any:
        """The model for the classes of the training set, else those of the first set there is."""
        if self._model is None:
            part = next((name for name in ("train", "val", "test") if name in self._datasets), None)
            part = part or next(
                (name for name in ("val", "test", "train") if self.cfg.dataset.get(name)), "val"
            )
            dataset = self._dataset(part)
            model_cfg = self._model_cfg()
            if "clip" in model_cfg:
                self._clip_sha256 = file_sha256(model_cfg["clip"])
            seed_everything(self.seed, BEFORE_TRAINING)
            offered = {"class_names": tuple(dataset.class_names), "unseen": tuple(dataset.unseen)}
            self._model = MODELS.build(model_cfg, where="model", offered=offered)
            # Initial values are random and lazy: draw them now, before another seed is set.
            jt.sync_all()
        return self._model

    def _evaluate(
        self, model: Any, short: bool = False, outputs: PictureOutputs | None = None
    ) -> dict[str, Any]:
        model.eval()
        summary = evaluate(model, self._dataset("val"), self.cfg.inference, self.log, outputs)
        headline = "  ".join(f"{key} {summary[key]:.2f}" for key in HEADLINE)
        self.log.info(headline if short else "\n" + format_table(summary))
        return summary

    def _write_metrics(self, summary: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        if not is_main():
            return
        text = json.dumps({**extra, **json_ready(dict(summary))}, indent=1) + "\n"
        with replacing(self.work_dir / "metrics.json") as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _draw(self, model: Any) -> None:
        if is_main():
            model.eval()
            count = self.cfg.visualize["num_images"]
            for path in draw_pictures(model, self._dataset("val"), self.cfg.inference, self.work_dir, count):
                self.log.info(f"drew {path}")
        barrier()
