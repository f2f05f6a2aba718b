"""Takes screenshots of the page, to be looked at: `python tests/web/screenshots.py LINK DIR`.

LINK is what `jseg web` prints; DIR gets PNG files: light and dark, wide and as on a phone, in several states.
Needs what the browser tests need; docs/web.md names it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from browser import CHROMIUM, launch

WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def shots(page, folder: Path, name: str, link: str) -> None:
    """The page at its start, compared with regions, under the pointer, with an error, and without a photo."""
    page.goto(link)
    page.wait_for_selector("#legend table")
    page.screenshot(path=folder / f"{name}_start.png", full_page=True)
    page.locator(".pane canvas").first.hover(position={"x": 120, "y": 120})
    page.screenshot(path=folder / f"{name}_hover.png")
    page.locator("#legend button").first.hover()
    page.locator("#grid").check()
    page.locator("#regions").select_option("16")
    page.locator("#compare").check()
    page.wait_for_selector("#legend table:nth-child(2)", timeout=120_000)
    page.screenshot(path=folder / f"{name}_compare.png", full_page=True)
    page.locator("#word").fill("x" * 101)
    page.locator("#word").press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    page.screenshot(path=folder / f"{name}_error.png")


def main() -> int:
    """0, or 2 without a browser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("link")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    if CHROMIUM is None:
        print("error: there is no chromium; apt-get install chromium", file=sys.stderr)
        return 2
    args.folder.mkdir(parents=True, exist_ok=True)
    with launch() as browser:
        for scheme in ("light", "dark"):
            for kind, size in (("wide", WIDE), ("phone", PHONE)):
                page = browser.new_page(viewport=size, color_scheme=scheme)
                page.on("console", lambda message: print(message.text))
                shots(page, args.folder, f"{scheme}_{kind}", args.link)
                page.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
