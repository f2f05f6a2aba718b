"""The parts of a run, built from its config, and its starting point."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jseg.config import Config, import_plugins, validate
from jseg.datasets import DATASETS, TRANSFORMS, Dataset, class_words_key, configured_root
from jseg.distributed import broadcast_object, check_same, is_main, world_size
from jseg.files import PathLike, expanded, file_sha256, find_file
from jseg.inference.loading import model_config
from jseg.inference.recipe import check_inference
from jseg.models.backbones import BACKBONES
from jseg.models.clip import ClassWordError
from jseg.models.heads import HEADS
from jseg.models.losses import LOSSES
from jseg.models.segmentors import MODELS, Segmentor
from jseg.models.state import arrays_of
from jseg.optim import OPTIMIZERS, SCHEDULERS, Optimizer, Schedule
from jseg.registry import Registry
from jseg.runner.bad_images import BadImages
from jseg.runner.checkpoint import (
    check_initial_weights,
    check_resumable,
    check_same_model,
    describe,
    fine_tuning_note,
    half_way_note,
    load_weights,
    resume_notes,
)
from jseg.runner.log import RunLog
from jseg.runner.paths import check_work_dir, default_work_dir, set_aside_earlier_run
from jseg.runner.same_data import check_same_data
from jseg.runner.seeding import BEFORE_TRAINING, seed_everything
from jseg.runner.sinks import SINKS
from jseg.runner.store import CheckpointStore
from jseg.runtime.backend import jt

REGISTRIES: dict[str, Registry[Any]] = {
    "model": MODELS,
    "model.backbone": BACKBONES,
    "model.decode_head": HEADS,
    "model.loss": LOSSES,
    "dataset.*": DATASETS,
    "dataset.*.pipeline.#": TRANSFORMS,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
    "sinks.#": SINKS,
}


def _located(path: PathLike) -> str:
    """`find_file` on the main rank, whose disk holds the checkpoints."""
    return broadcast_object(find_file(path) if is_main() else None, what=f"the path of {path}")


class Start(NamedTuple):
    """Starting point of a training: the number of finished iterations, and their loss terms not yet
    logged."""

    iteration: int
    losses: list[dict[str, float]]


class Experiment:
    """Data, model and starting point of one run in one work folder.

    Args:
        cfg: the resolved config. It is validated before anything is built.

    Attributes:
        work_dir: work folder of the run. log, store: its log files and checkpoints.
        bad_images: the images that are skipped because they cannot be read.

    Raises:
        ValueError: as in `jseg.config.import_plugins` and `jseg.config.validate`.
        OSError: if the work folder cannot be written.
    """

    def __init__(self, cfg: Config) -> None:
        import_plugins(cfg.imports)
        validate(cfg, REGISTRIES)
        check_inference(cfg.inference)
        self.cfg = cfg
        self.work_dir = expanded(cfg.work_dir or default_work_dir(cfg.filename))
        if is_main():
            check_work_dir(self.work_dir)
        self.log = RunLog(self.work_dir, active=is_main())
        self.store = CheckpointStore(self.work_dir, cfg.keep_checkpoints, cfg.checkpoint_interval)
        self.bad_images = BadImages(cfg.max_bad_images, self.log)
        self._datasets: dict[str, Dataset] = {}
        self._model: Segmentor | None = None
        self._clip_sha256 = ""

    def dataset(self, part: str) -> Dataset:
        """Returns the dataset 'train', 'val' or 'test', built on first use.

        Raises:
            ValueError: if the config lacks this part, or it is invalid. FileNotFoundError: if files are
                missing.
        """
        if part not in self._datasets:
            cfg = self.cfg.dataset.get(part)
            if cfg is None:
                raise ValueError(f"config key dataset.{part}: missing, but this task needs it")
            offered: dict[str, Any] = {
                "seed": self.cfg.seed,
                "data_root": configured_root(self.cfg.data_root),
            }
            try:
                self._datasets[part] = DATASETS.build(cfg, where=f"dataset.{part}", offered=offered)
            except ValueError as error:
                if str(error).startswith("config key"):
                    raise
                raise ValueError(f"config key dataset.{part}: {error}") from error
        return self._datasets[part]

    def model(self) -> Segmentor:
        """Returns the model, built on first use, for the classes of the training set, or else of another
        set."""
        if self._model is None:
            built = next((name for name in ("train", "val", "test") if name in self._datasets), None)
            part: str = built or next(
                (name for name in ("val", "test", "train") if self.cfg.dataset.get(name)), "val"
            )
            dataset = self.dataset(part)
            model_cfg = self._model_config()
            if "clip" in model_cfg:
                self._clip_sha256 = file_sha256(model_cfg["clip"])
            seed_everything(self.cfg.seed, BEFORE_TRAINING)
            offered = {"class_names": tuple(dataset.class_names), "unseen": tuple(dataset.unseen)}
            try:
                self._model = MODELS.build(model_cfg, where="model", offered=offered)
            except ClassWordError as error:
                key = class_words_key(part, self.cfg.dataset[part])
                raise ValueError(f"{key}: {error}") from error
            # Initial values are random and lazy, so draw them now, before another seed is set.
            jt.sync_all()
        return self._model

    def optimizer(self) -> Optimizer:
        """Creates an optimizer for the trained parameters."""
        parameters = self.model().trainable_parameters()
        return OPTIMIZERS.build(self.cfg.optimizer, where="optimizer", parameters=parameters)

    def scheduler(self) -> Schedule:
        """Creates the learning rate schedule: (base_lr, iteration) -> lr."""
        offered = {"max_iters": self.cfg.max_iters}
        return SCHEDULERS.build(self.cfg.scheduler, where="scheduler", offered=offered)

    def start(self, resume: str | None, optimizer: Optimizer) -> Start:
        """Loads the starting point of the training: a checkpoint, `init_from`, or nothing.

        Args:
            resume: None to start a new run (an earlier run in the folder is set aside), "auto" to resume from
                its newest checkpoint if there is one, or else a checkpoint file.
            optimizer: receives the state stored in the checkpoint.

        Raises:
            ValueError, FileNotFoundError: if a checkpoint is missing, damaged or does not match.
        """
        newest = self._newest_undamaged() if resume == "auto" else resume
        started = self._restore(newest, optimizer) if newest else self._begin(resume)
        self._check_same(optimizer)
        return started

    def describe(self, done: int, losses: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Metadata of the checkpoint after `done` iterations; see `jseg.runner.checkpoint`."""
        return describe(
            self.cfg,
            self._model_config(),
            self.model().architecture(),
            self.dataset("train"),
            done,
            self._clip_sha256,
            losses,
            self.bad_images.reasons,
        )

    def trained_model(self, checkpoint: str | None) -> tuple[Segmentor, Path]:
        """Returns the model with the weights of a checkpoint (default: the newest in the work folder), and
        its file.

        A model with nothing to train needs no checkpoint. In this case, the file is that of the CLIP.

        Raises:
            FileNotFoundError, ValueError: if there is no checkpoint, or it does not match.
        """
        path = Path(_located(checkpoint)) if checkpoint else broadcast_object(self.store.newest())
        if path is None and not self.model().trainable_parameters():
            return self.model(), Path(self._model_config()["clip"])  # the CLIP is the whole model
        if path is None:
            raise FileNotFoundError(f"no checkpoint in {self.store.folder}; train first or give --checkpoint")
        model = self.model()
        _, metadata = load_weights(model, path, self._clip_sha256)
        if not metadata:
            model.evaluates_released_weights()
        return model, path

    def _newest_undamaged(self) -> Path | None:
        return broadcast_object(
            self.store.newest_undamaged(self.log.info) if is_main() else None,
            what="the checkpoint to resume from",
        )

    def _restore(self, checkpoint: PathLike, optimizer: Optimizer) -> Start:
        """Restores model, optimizer and random state from a checkpoint."""
        path = _located(checkpoint)
        arrays, metadata = load_weights(self.model(), path, self._clip_sha256)
        start = check_resumable(path, metadata, self.cfg, len(self.dataset("train")))
        optimizer.load_state(arrays)
        if is_main():
            self.store.go_on_after(start)
        losses = json.loads(metadata.get("losses", "[]"))
        self.bad_images.restore(
            json.loads(metadata.get("bad_images", metadata.get("bad_pictures", "{}"))), self.dataset("train")
        )
        self.log.drop_after(start - len(losses))
        self.log.info(f"resuming {path} at iteration {start}")
        for note in resume_notes(metadata, self.cfg):
            self.log.info(note)
        return Start(start, losses)

    def _begin(self, resume: str | None) -> Start:
        source = self._load_initial_weights()
        folder = set_aside_earlier_run(self.work_dir) if is_main() else None
        if folder:
            self.log.info(
                f"the work folder contained an earlier run; its files are now in {folder} "
                "(--resume would have resumed it)"
            )
        elif resume == "auto":
            self.log.info(f"nothing to resume in {self.work_dir}: starting at iteration 0")
        if source:
            self.log.info(f"weights from {source}")
        return Start(0, [])

    def _load_initial_weights(self) -> str | None:
        setting = self.cfg.model.get("setting", "inductive")
        if self.cfg.init_from:
            try:
                path = _located(self.cfg.init_from)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"config key init_from: there is no checkpoint {self.cfg.init_from}; train the run that "
                    "writes it first, or --set init_from=PATH"
                ) from error
            _, metadata = load_weights(self.model(), path, self._clip_sha256)
            architecture, dataset = self.model().architecture(), self.dataset("train")
            if self.cfg.fine_tune:
                check_same_model(path, metadata, architecture)
                self.log.info(fine_tuning_note(metadata, dataset.class_names))
            else:
                check_initial_weights(path, metadata, dataset, architecture)
                note = half_way_note(metadata)
                if note:
                    self.log.info(note)
            return path
        if self.cfg.fine_tune:
            raise ValueError(
                "config key init_from: fine-tuning starts from a trained model; --set init_from=PATH"
            )
        if setting == "transductive":
            raise ValueError(
                "config key init_from: the transductive setting starts from an inductive checkpoint at "
                "half its iterations; set init_from to that file"
            )
        return None

    def _check_same(self, optimizer: Optimizer) -> None:
        """Checks that every rank starts with the same config, data, weights and optimizer state.

        Raises:
            ValueError: if not. The message names the ranks and the first difference.
        """
        dataset = self.dataset("train")
        if world_size() > 1:
            names = [dataset.name(index) for index in range(len(dataset))]
            arrays = {**arrays_of(self.model()), **optimizer.state()}
            check_same(
                {"the config": self.cfg.text(), "the training images": names, **arrays},
                "give every machine the same files and the same jseg",
                "the comparison of weights",
            )
            check_same_data([dataset, self.dataset("val")])

    def _model_config(self) -> dict[str, Any]:
        """Returns the model's config with file paths resolved and the crop size filled in."""
        return model_config(self.cfg.model, self.cfg.inference)
