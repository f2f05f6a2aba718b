"""The training images that could not be read: left out up to a limit, and tried again after a resume."""

from collections.abc import Mapping

from jseg.datasets import Dataset
from jseg.datasets.batch import still_unreadable
from jseg.distributed import alive, gather_objects
from jseg.runner.log import RunLog


class BadImages:
    """Counts them over all ranks; `reasons` maps the name of each to what is wrong with it.

    Args:
        limit: how many may be left out, the config's `max_bad_images`.
    """

    def __init__(self, limit: int, log: RunLog) -> None:
        self._limit, self._log = limit, log
        self.reasons: dict[str, str] = {}

    def add(self, found: Mapping[str, str]) -> None:
        """Remembers those that any rank has found.

        Raises:
            ValueError: there are more than the limit.
        """
        for name, reason in found.items():
            if name not in self.reasons:
                self.reasons[name] = reason
                self._log.info(f"warning: training image {name} is left out: {reason}")
        count = len(self.reasons)
        if count > self._limit:
            names = ", ".join(sorted(self.reasons))
            raise ValueError(
                f"config key max_bad_images: {count} training images cannot be read, {self._limit} "
                f"may be left out ({names}); fix them or raise the limit, then go on with --resume auto"
            )

    def restore(self, remembered: Mapping[str, str], dataset: Dataset) -> None:
        """Takes over those of an earlier run that some rank still cannot read; called by all ranks."""
        alive("trying the images that could not be read")
        parts = gather_objects(still_unreadable(dataset, remembered), "the images that still cannot be read")
        self.reasons = {name: reason for part in parts for name, reason in part.items()}
        for name in sorted(set(remembered) - set(self.reasons)):
            self._log.info(f"training image {name} can be read again and is not left out any more")
