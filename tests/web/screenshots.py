"""Takes screenshots of the page: `python tests/web/screenshots.py LINK FOLDER`.

LINK is printed by `jseg web`. The PNG files show the page in several states, light and dark, on wide and on
phone screens. docs/web.md lists the required packages.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from browser import CHROMIUM, launch

WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def shots(page, folder: Path, name: str, link: str) -> None:
    """Without a photo, at the start, under the pointer, comparing two models, scrolled, and with an error."""
    page.route("**/api/info", without_start)
    page.goto(link)
    page.wait_for_selector("#samples button:last-child")
    page.screenshot(path=folder / f"{name}_empty.png")
    page.unroute("**/api/info")
    page.goto(link)
    page.wait_for_selector("#legend table")
    page.screenshot(path=folder / f"{name}_start.png", full_page=True)
    page.locator(".pane canvas").first.hover(position={"x": 120, "y": 120})
    page.screenshot(path=folder / f"{name}_hover.png")
    page.locator("#grid").check()
    page.locator("#regions").select_option("16")
    page.locator("#compare").check()
    page.wait_for_selector("#legend table:nth-child(2)", timeout=120_000)
    page.screenshot(path=folder / f"{name}_scrolled.png")
    page.evaluate("scrollTo(0, 0)")
    page.locator(".pane canvas").first.hover(position={"x": 40, "y": 40})
    page.screenshot(path=folder / f"{name}_compare.png", full_page=True)
    page.locator("#word").fill("x" * 101)
    page.locator("#word").press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    page.screenshot(path=folder / f"{name}_error.png")


def without_start(route) -> None:
    """Answers /api/info as a server with a user's model does, which starts without words and sample."""
    response = route.fetch()
    start = {"words": [], "threshold": 0, "note": "", "sample": False}
    route.fulfill(response=response, json={**response.json(), "start": start})


def main() -> int:
    """Returns 0, or 2 without a browser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("link")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    if CHROMIUM is None:
        print("error: chromium is missing; install it: apt-get install chromium", file=sys.stderr)
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
