"""A segmentor with 24 parameters and a dataset of coloured stripes, registered under names used only in
tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

from jseg.checkpoints import Architecture
from jseg.config import Config
from jseg.datasets import DATASETS, Dataset
from jseg.models.segmentors import MODELS, Segmentor
from jseg.models.state import load_arrays_into
from jseg.runtime.backend import jt

COLOURS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)
SIZE = 8  # pixels


@dataclass(frozen=True)
class PixelArchitecture(Architecture):
    """Rows beyond those of the classes."""

    type: ClassVar[str] = "TestPixelModel"

    hidden: int


@MODELS.register("TestPixelModel")
class PixelModel(Segmentor[jt.Var]):
    """Class scores = linear map of a pixel's colour; the loss is the squared error plus a little noise."""

    def __init__(
        self,
        class_names: Sequence[str],
        unseen: Sequence[int],
        setting: str = "inductive",
        noise: float = 0.01,
        hidden: int = 0,
        clip: str = "",
    ) -> None:
        super().__init__()
        self.weight = jt.randn((len(class_names) + hidden, 3)) * 0.1
        self.bias = jt.zeros((len(class_names) + hidden,))
        self.noise, self.hidden = noise, hidden

    def scores(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W)."""
        products = image.unsqueeze(1) * self.weight.reshape(1, -1, 3, 1, 1)
        return products.sum(2) + self.bias.reshape(1, -1, 1, 1)

    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Squared error to the one-hot label."""
        scores = self.scores(image)
        wanted = (label.unsqueeze(1) == jt.arange(scores.shape[1]).reshape(1, -1, 1, 1)).float32()
        loss_fit = (scores - wanted + self.noise * jt.randn(scores.shape)).sqr().mean()
        loss_size = 0.001 * self.weight.sqr().sum()
        return {"loss_fit": loss_fit, "loss_size": loss_size, "total": loss_fit + loss_size}

    def encode(self, image: jt.Var, num_regions: int | None = None) -> jt.Var:
        """The image itself."""
        return image

    def decode(self, features: jt.Var, text: jt.Var) -> jt.Var:
        """Without words."""
        return self.scores(features)

    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Strict."""
        load_arrays_into(self, arrays, source)
        return []

    def architecture(self) -> PixelArchitecture:
        """Its one option of size."""
        return PixelArchitecture(self.hidden)

    def predict(self, image: jt.Var) -> jt.Var:
        """Scores without noise."""
        return self.scores(image)

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Names as in a real model, of a backbone and a head."""
        return {"backbone.weight": self.weight, "decode_head.bias": self.bias}


@DATASETS.register("TestStripes")
class Stripes(Dataset):
    """Images of three vertical stripes, the colour of each being its class."""

    class_names = ("red", "green", "blue")
    unseen = (2,)
    palette = COLOURS

    def __init__(
        self,
        length: int = 6,
        seed: int = 0,
        poison: bool = False,
        unreadable: Sequence[int] = (),
        names: Sequence[str] = class_names,
    ) -> None:
        if length < 0:
            raise ValueError(f"length: {length} is negative")
        self.length, self.seed, self.poison, self.unreadable = length, seed, poison, unreadable
        self.class_names = tuple(names)

    def __len__(self) -> int:
        return self.length

    def name(self, index: int) -> str:
        """File stem."""
        return f"stripes_{index}"

    def raw(self, index: int):
        """Image, label, name."""
        order = np.random.default_rng([self.seed, index]).permutation(3)
        label = order[np.arange(SIZE) * 3 // SIZE][None].repeat(SIZE, 0).astype(np.uint8)
        return COLOURS[label], label, self.name(index)

    def sample(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """The image with values around 0."""
        image, label, name = self.raw(index)
        if index in self.unreadable:
            raise ValueError(f"{name}: truncated")
        values = image.transpose(2, 0, 1).astype(np.float32) / 128 - 0.7
        if self.poison:
            values[0, 0, 0] = 3e38  # its square overflows
        return {"image": values, "label": label, "name": name, "original_size": label.shape}


@pytest.fixture
def make_config(tmp_path):
    """make_config({"model.noise": 0.0}, max_iters=2) -> a complete config with these changes."""

    def build(overrides: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Config:
        values: dict[str, Any] = dict(
            model=dict(type="TestPixelModel"),
            dataset=dict(
                train=dict(type="TestStripes"),
                val=dict(type="TestStripes", length=3),
                test=dict(type="TestStripes", length=2),
            ),
            optimizer=dict(type="AdamW", lr=0.01, weight_decay=0.0, lr_mult={"backbone": 2.0}),
            scheduler=dict(type="WarmupPoly", warmup_iters=4, warmup_ratio=0.1),
            max_iters=12,
            batch_size=2,
            log_interval=2,
            checkpoint_interval=4,
            seed=5,
            inference=dict(mode="whole"),
            visualize=dict(num_images=2),
            work_dir=str(tmp_path / "run"),
        )
        values.update(changes)
        for key, value in overrides.items():
            *parents, last = key.split(".")
            target = values
            for part in parents:
                target = target[part]
            target[last] = value
        return Config.from_dict(values)

    return build
