"""Python config files with `_base_` inheritance, `key=value` overrides, and validation before a run
starts."""

from jseg.config.config import Config, dumped_from
from jseg.config.plugins import import_plugins
from jseg.config.schema import TOP_LEVEL
from jseg.config.validate import validate

__all__ = ["TOP_LEVEL", "Config", "dumped_from", "import_plugins", "validate"]
