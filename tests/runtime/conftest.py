"""A fake machine, see `fake_machine`; and the import path of the helpers beside the tests."""

import sys
from pathlib import Path

from fake_machine import machine  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parent))
