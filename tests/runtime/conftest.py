"""A machine of our own making, see `fake_machine`."""

from fake_machine import machine  # noqa: F401
