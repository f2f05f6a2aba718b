"""Chromium and Playwright for the tests: `apt-get install chromium`, `pip install playwright`."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = ", ".join(
    name
    for name, there in (("chromium", CHROMIUM), ("playwright", importlib.util.find_spec("playwright")))
    if not there
)
"""Missing requirements of the browser tests, "" if there are none."""


@contextmanager
def launch() -> Iterator[Any]:
    """Starts a headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox does not work as root, which is usual in containers.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
