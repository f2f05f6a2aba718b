"""Which pictures make the batch of an iteration, and joining samples into one."""

import functools
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from jseg.datasets.base import ORDER_STREAM


def batch_indices(iteration: int, size: int, batch_size: int, seed: int, rank: int, world_size: int,
                  shuffle: bool) -> List[Tuple[int, int]]:
    """The (index, epoch) pairs that `rank` loads in `iteration`, a pure function of its arguments.

    The epochs, each a permutation of all `size` pictures, are laid end to end. Every iteration takes the next
    batch_size * world_size of them and every rank its slice, so one rank with batch 8 and two with batch 4
    see the same pictures in the same order.
    """
    first = (iteration * world_size + rank) * batch_size
    pairs = []
    for position in range(first, first + batch_size):
        epoch, offset = divmod(position, size)
        index = int(_epoch_order(size, seed, epoch)[offset]) if shuffle else offset
        pairs.append((index, epoch))
    return pairs


def collate(samples: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Stack samples: image float32 (B, 3, H, W), label uint8 (B, H, W), names.

    Raises:
        ValueError: if the samples differ in size.
    """
    for sample in samples[1:]:
        for key in ('image', 'label'):
            if sample[key].shape != samples[0][key].shape:
                raise ValueError(f"a batch needs one size, but {key} '{samples[0]['name']}' is "
                                 f"{samples[0][key].shape} and '{sample['name']}' is {sample[key].shape}; "
                                 'end the pipeline with RandomCrop and Pad, or set batch_size to 1')
    return {'image': np.stack([sample['image'] for sample in samples]),
            'label': np.stack([sample['label'] for sample in samples]),
            'names': [sample['name'] for sample in samples]}


@functools.lru_cache(maxsize=4)
def _epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, 0, ORDER_STREAM]).permutation(size)
