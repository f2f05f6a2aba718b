"""A fake machine; see `fake_machine`."""

from fake_machine import machine  # noqa: F401
