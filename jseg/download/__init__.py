"""Downloads the archives of the benchmarks and OpenAI's CLIP weights.

This only runs on request: by `jseg download`, or by `--download` of another command. `sources.py` holds the
addresses and their public sources, `transfer.py` downloads one file, and `files.py` downloads several.
"""

from jseg.download.files import Mirror, fetch
from jseg.download.sources import (
    ANNOTATIONS,
    CLIP_NAMES,
    Checksum,
    Source,
    clip_source,
    dataset_sources,
)
from jseg.download.transfer import Settings

__all__ = [
    "ANNOTATIONS",
    "CLIP_NAMES",
    "Checksum",
    "Mirror",
    "Settings",
    "Source",
    "clip_source",
    "dataset_sources",
    "fetch",
]
