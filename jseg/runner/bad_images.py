"""Training images that cannot be read: skipped up to a limit, and tried again after a resume."""

from collections.abc import Mapping

from jseg.datasets import Dataset
from jseg.datasets.batch import still_unreadable
from jseg.distributed import alive, gather_objects
from jseg.runner.log import RunLog


class BadImages:
    """Collects unreadable images over all ranks. `reasons` maps the name of each image to the reason.

    Args:
        limit: largest number of images that may be skipped, the config's `max_bad_images`.
    """

    def __init__(self, limit: int, log: RunLog) -> None:
        self._limit, self._log = limit, log
        self.reasons: dict[str, str] = {}

    def add(self, found: Mapping[str, str]) -> None:
        """Adds the unreadable images found by any rank.

        Raises:
            ValueError: if there are more than the limit.
        """
        for name, reason in found.items():
            if name not in self.reasons:
                self.reasons[name] = reason
                self._log.info(f"warning: training image {name} is skipped: {reason}")
        count = len(self.reasons)
        if count > self._limit:
            names = ", ".join(sorted(self.reasons))
            raise ValueError(
                f"config key max_bad_images: {count} training images cannot be read, but only {self._limit} "
                f"may be skipped ({names}); fix them or raise the limit, then resume with --resume auto"
            )

    def restore(self, remembered: Mapping[str, str], dataset: Dataset) -> None:
        """Restores those images of an earlier run that a rank still cannot read. Called by all ranks."""
        alive("retrying the unreadable images")
        parts = gather_objects(still_unreadable(dataset, remembered), "the images that are still unreadable")
        self.reasons = {name: reason for part in parts for name, reason in part.items()}
        for name in sorted(set(remembered) - set(self.reasons)):
            self._log.info(f"training image {name} can be read again and is no longer skipped")
