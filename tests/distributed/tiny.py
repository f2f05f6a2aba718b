"""A model with everything that could depend on the number of ranks, small enough to train in a second."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jseg.checkpoints import Architecture
from jseg.config import Config
from jseg.datasets import DATASETS, Dataset
from jseg.models.losses import NELLoss, labelled_pixels, pixel_accuracy
from jseg.models.segmentors import MODELS, Segmentor
from jseg.models.state import load_arrays_into
from jseg.ops import dropout
from jseg.runtime.backend import jt

SIZE, PICTURES = 8, 10
NEL = NELLoss(focal_weight=10.0, dice_weight=1.0)


@MODELS.register("TestRanksModel")
class RanksModel(Segmentor[jt.Var]):
    """A linear map of colours with dropout; losses are counted (NEL) and averaged over pixels.

    Args:
        ballast: number of further weights, which depend on the images too, to make the gradients larger.
    """

    def __init__(
        self, class_names: Sequence[str], unseen: Sequence[int], setting: str = "inductive", ballast: int = 0
    ) -> None:
        super().__init__()
        self.ballast = jt.zeros((ballast,)) if ballast else None
        self.weight = jt.randn((len(class_names), 3))
        self.bias = jt.zeros((len(class_names),))

    def encode(self, image: jt.Var, num_regions: int | None = None) -> jt.Var:
        """The image itself."""
        return image

    def decode(self, features: jt.Var, text: jt.Var) -> jt.Var:
        """Without words."""
        return self.predict(features)

    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W)."""
        products = image.unsqueeze(1) * self.weight.reshape(1, -1, 3, 1, 1)
        return products.sum(2) + self.bias.reshape(1, -1, 1, 1)

    def divisors(self, image: jt.Var, label: jt.Var) -> jt.Var:
        """What NEL and accuracy are divided by."""
        classes = self.bias.shape[0]
        return jt.concat([NEL.divisors(label, classes), labelled_pixels(label, classes)])

    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """NEL, and a mean over all numbers."""
        scores = dropout(self.predict(image), 0.25)
        counts, pixels = (None, None) if divisors is None else (divisors[:1], divisors[1])
        terms = NEL(scores, label, counts)
        terms["loss_size"] = scores.sqr().mean()
        if self.ballast is not None:
            terms["loss_ballast"] = ((self.ballast - image.mean()).sqr()).mean()
        total = sum(terms.values())
        return {**terms, "acc_seg": pixel_accuracy(scores, label, pixels), "total": total}

    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Strict."""
        load_arrays_into(self, arrays, source)
        return []

    def architecture(self) -> Architecture:
        """Nothing but its sizes, which follow from the data."""
        return Architecture()

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """All."""
        ballast = {} if self.ballast is None else {"head.ballast": self.ballast}
        return {"head.weight": self.weight, "head.bias": self.bias, **ballast}


@DATASETS.register("TestRanksImages")
class Images(Dataset):
    """Random colours and labels; every third image has no label
    at all, the others differ in their classes."""

    class_names, unseen = ("a", "b", "c"), (2,)
    palette = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)

    def __init__(self, length: int = PICTURES, seed: int = 0) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def name(self, index: int) -> str:
        """File stem."""
        return f"image_{index}"

    def raw(self, index: int) -> Any:
        """Image, label, name."""
        rng = np.random.default_rng(index)
        label = rng.integers(0, 1 + index % 3, (SIZE, SIZE)).astype(np.uint8)
        label[rng.random((SIZE, SIZE)) < (1.0 if index % 3 == 0 else 0.3)] = 255
        return rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8), label, self.name(index)

    def sample(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """As the model takes it."""
        image, label, name = self.raw(index)
        return {
            "image": image.transpose(2, 0, 1).astype(np.float32) / 128 - 1,
            "label": label,
            "name": name,
            "original_size": label.shape,
        }


def tiny_config(work_dir: str, **changes: Any) -> Config:
    """A run of ten iterations on batches of four images."""
    values: dict[str, Any] = dict(
        model=dict(type="TestRanksModel"),
        dataset=dict(
            train=dict(type="TestRanksImages"),
            val=dict(type="TestRanksImages", length=5),
            test=dict(type="TestRanksImages", length=1),
        ),
        optimizer=dict(type="AdamW", lr=0.02),
        scheduler=dict(type="WarmupPoly", warmup_iters=0),
        max_iters=10,
        batch_size=4,
        log_interval=1,
        seed=3,
        inference=dict(mode="whole"),
        visualize=dict(num_images=0),
        work_dir=work_dir,
    )
    return Config.from_dict({**values, **changes})
