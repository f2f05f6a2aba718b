"""Checks that the files of the datasets are the same on all hosts.

Names alone do not show that a copy is incomplete, or older. To compare every byte would take minutes at each
start, so the size of every file is compared, and the contents of as many as can be read in a second or two.
"""

from collections.abc import Callable, Iterable, Sequence

from jseg.datasets import Dataset
from jseg.distributed import broadcast_object, check_same, local_rank, world_size
from jseg.files import file_sha256

CONTENT_BYTES = 1 << 28
"""Total size of the files whose contents are compared. They are spread evenly over the dataset."""

_ADVICE = "copy the data again, or put it on a file system that all hosts share"


def check_same_data(parts: Iterable[Dataset]) -> None:
    """Compares the files of datasets between hosts. The first rank of each host reads them.

    Raises:
        ValueError: on every process if they differ. The message names hosts, ranks and the first such file.
        OSError: if a file is missing.
    """
    if world_size() == 1:
        return
    paths = list(dict.fromkeys(path for part in parts for path in part.sources()))
    sizes = _compared("sizes", lambda: [f"{path}: {path.stat().st_size} bytes" for path in paths])
    # Sizes are known to be equal, so every host chooses the same files.
    chosen = spread([int(size.split()[-2]) for size in sizes], CONTENT_BYTES)
    _compared(
        "contents", lambda: [f"{paths[index]}: SHA-256 {file_sha256(paths[index])[:16]}" for index in chosen]
    )


def spread(sizes: Sequence[int], most: int) -> list[int]:
    """Returns indices of files, all or as many as have about `most` bytes, at equal distances.

    >>> spread([10, 10, 10, 10, 10, 10], 30)
    [0, 2, 4]
    """
    step = max(1, -(-sum(sizes) // most))
    return list(range(0, len(sizes), step))


def _compared(kind: str, describe: Callable[[], list[str]]) -> list[str]:
    """Returns what every host says about the files, if it is the same."""
    own = describe() if local_rank() == 0 else []
    what = f"comparing the {kind} of the data files"
    reference = broadcast_object(own, what=what)
    check_same({f"the {kind} of the data files": own if local_rank() == 0 else reference}, _ADVICE, what)
    return reference
