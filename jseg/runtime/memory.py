"""Turns "out of memory" errors of Jittor, CUDA and NumPy into one sentence of advice."""

import contextlib
import re
from collections.abc import Iterator

_OUT_OF_MEMORY = re.compile(
    r"Unable to alloc (cuda device )?memory|memory is overflow|out of memory|cudaErrorMemoryAllocation|"
    r"CUBLAS_STATUS_ALLOC_FAILED|CURAND_STATUS_ALLOCATION_FAILED|Cannot allocate memory|std::bad_alloc",
    re.IGNORECASE,
)
_WANTED = re.compile(r"for size\W*(\d+)")
TRAINING = (
    "raise accumulate, set model.backbone.checkpoint_blocks=True or lower batch_size, then lower "
    "model.backbone.num_regions, then crop_size in dataset.train.pipeline"
)
INFERENCE = "set inference.mode=slide with a smaller inference.crop_size, or lower model.backbone.num_regions"
ONE_INPUT = "compute on the CPU (--device cpu)"


class OutOfMemory(OSError):
    """GPU or host memory is exhausted. The message is one sentence of advice."""


@contextlib.contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Within this context, errors that mean "out of memory" become `OutOfMemory`. Others are not changed.

    Args:
        advice: what to reduce, such as `TRAINING`.

    Raises:
        OutOfMemory: instead of a RuntimeError or MemoryError with this meaning.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if not (isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text)):
            raise
        wanted = _WANTED.search(text)
        size = f" ({int(wanted[1]) / (1 << 30):.2f} GiB more were needed)" if wanted else ""
        where = "the GPU" if re.search("cuda|cublas|curand|GPU", text, re.IGNORECASE) else "the machine"
        raise OutOfMemory(
            f"{where} is out of memory{size}: {advice}; other programs may also use memory"
        ) from None
