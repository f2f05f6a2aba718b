"""One training iteration on one rank, with gradients averaged over accumulation steps and ranks.

n ranks and k accumulation steps give the losses and weights of one rank with the whole batch, up to the order
of summation, for these reasons:
- Every part has the same number of images, so the mean over parts of a mean over images is the mean over the
  batch.
- Terms that are divided by a count over the batch (NEL: present (image, class) pairs) are divided by the mean
  of the count over all parts, with a total of at least 1 over the whole batch (`Segmentor.divisors`, passed
  to `loss`).
- Dropout depends on (seed, iteration, position of the image in the whole batch): `jseg.ops.randomness`.
"""

from collections.abc import Callable

import numpy as np

from jseg.datasets.batch import Batch
from jseg.distributed import Compression, all_reduce_sum, average_gradients, rank, world_size
from jseg.models.segmentors import Segmentor
from jseg.optim import Optimizer
from jseg.runner.seeding import seed_everything
from jseg.runtime.backend import jt


def rank_batch_size(batch_size: int, ranks: int, accumulate: int) -> int:
    """Returns the number of images of one rank in one iteration.

    Raises:
        ValueError: if the batch cannot be divided evenly.
    """
    if batch_size % (ranks * accumulate):
        fits = max(1, batch_size // (ranks * accumulate)) * ranks * accumulate
        raise ValueError(
            f"config key batch_size: {batch_size} images cannot be divided evenly between {ranks} rank(s) "
            f"times {accumulate} accumulation step(s); use batch_size={fits}, or change accumulate "
            "or mpirun -n"
        )
    return batch_size // ranks


class TrainingStep:
    """Computes one iteration and updates the parameters.

    Args:
        model: a segmentor in training mode.
        optimizer: optimizer of its parameters.
        seed: seed of the run.
        accumulate: number of parts in which this rank processes its images, which must be a multiple of it.
            Only one part is in memory at a time.
        compression: how gradients travel between ranks. None: as they are.
    """

    def __init__(
        self,
        model: Segmentor,
        optimizer: Optimizer,
        seed: int,
        accumulate: int = 1,
        compression: Compression | None = None,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._seed, self._accumulate = seed, accumulate
        self._parts = accumulate * world_size()
        self._compression = compression

    def __call__(
        self, iteration: int, batch: Batch, learning_rate: Callable[[float], float]
    ) -> dict[str, jt.Var]:
        """Trains on this rank's images of `iteration`.

        Args:
            batch: NumPy arrays image (B, 3, H, W) and label (B, H, W).
            learning_rate: see `AdamW.apply`.

        Returns:
            Loss terms, averaged over the accumulation steps of this rank, without gradient.
        """
        size = len(batch["image"]) // self._accumulate
        first = rank() * len(batch["image"])
        parts = [
            (
                first + start,
                batch["image"][start : start + size],
                batch["label"][start : start + size].astype("int32"),
            )
            for start in range(0, size * self._accumulate, size)
        ]
        divisors = self._divisors(iteration, parts)
        gradients: list[jt.Var] = []
        terms: list[dict[str, jt.Var]] = []
        for position, image, label in parts:
            seed_everything(self._seed, iteration, position)
            loss = self._model.loss(jt.array(image), jt.array(label), divisors)
            own = self._optimizer.gradients(loss["total"])
            gradients = [(a + b).stop_grad() for a, b in zip(gradients, own)] if gradients else own
            terms.append({name: term.stop_grad() for name, term in loss.items()})
            if self._accumulate > 1:
                jt.sync_all()  # frees the activations of this part and draws its random numbers
        if self._accumulate > 1:
            gradients = [(gradient * (1.0 / self._accumulate)).stop_grad() for gradient in gradients]
            terms = [{name: sum(part[name] for part in terms) / self._accumulate for name in terms[0]}]
        gradients = average_gradients(gradients, f"gradients of iteration {iteration + 1}", self._compression)
        self._optimizer.apply(gradients, learning_rate)
        return terms[0]

    def _divisors(self, iteration: int, parts: list[tuple[int, np.ndarray, np.ndarray]]) -> jt.Var | None:
        """Returns the divisors of the loss as means over all parts of the batch, with totals of at least 1.

        None if this part is the whole batch, or the loss is not divided by a count.
        """
        if self._parts == 1:
            return None
        own: np.ndarray | None = None
        for position, image, label in parts:
            seed_everything(self._seed, iteration, position)
            counts = self._model.divisors(jt.array(image), jt.array(label))
            if counts is None:
                return None
            own = counts.numpy().astype(np.float64) + (0.0 if own is None else own)
        total = np.maximum(all_reduce_sum(own, f"counts of iteration {iteration + 1}"), 1.0)
        return jt.array((total / self._parts).astype(np.float32))
