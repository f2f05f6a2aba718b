"""Lets the tests in this folder import the writers and the fuzzer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
