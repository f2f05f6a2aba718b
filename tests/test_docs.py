"""Documentation: links lead somewhere, the index is complete, and named functions exist."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from jseg.cli.main import COMMANDS, Command, load
from jseg.reproduce.rows import TABLES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """Headings as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_index_names_every_page():
    listed = set(_LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def test_functions_of_the_method_page_exist():
    rows = re.findall(
        r"`([A-Za-z_.]+)` in\s+`(jseg/[\w/]+\.py)`", (DOCS / "method.md").read_text(encoding="utf-8")
    )
    assert len(rows) > 12
    for name, file in rows:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:def|class) {name.split('.')[-1]}\b", text, re.MULTILINE), (name, file)


def test_every_command_is_described():
    text = (DOCS / "command_line.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if not re.search(rf"`(?:jseg )?{name}`", text)] == []


def test_rows_of_the_model_zoo_exist_with_their_numbers():
    from jseg.reproduce.rows import find_row

    pattern = r"`(table\d) --row ([\w-]+)` \| ([\d.]+) / ([\d.]+) / ([\d.]+) / ([\d.]+) \|"
    rows = re.findall(pattern, (DOCS / "model_zoo.md").read_text(encoding="utf-8"))
    assert len(rows) == 12 and {table for table, *_ in rows} <= set(TABLES)
    for table, row, *numbers in rows:
        paper = find_row(table, row).paper
        keys = ("pAcc", "mIoU(S)", "mIoU(U)", "hIoU")
        assert [paper[key] for key in keys] == [float(number) for number in numbers], (table, row)


def commands():
    """Yields (page, arguments) of every `jseg` command in the bash blocks, also as `python tools/NAME.py`."""
    for page in [*PAGES, ROOT / "weights" / "README.md", ROOT / "benchmarks" / "README.md"]:
        for block in re.findall(
            r"^```(?:bash)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|\s)(?:jseg|python tools/(\w+)\.py) (.*)", line)
                if found is None or "…" in line or "..." in line or line.lstrip().startswith("#"):
                    continue
                try:
                    words = shlex.split(found[2], comments=True)
                except ValueError:  # a text in which a word of prose looks like a command
                    continue
                yield page.name, found[1], words


def test_documented_commands_have_valid_options(capsys):
    seen = 0
    for page, tool, words in commands():
        words = list(itertools.takewhile(lambda word: word not in ("|", "&&", "&", ">", ";"), words))
        if tool is None and (not words or words[0] not in COMMANDS):
            continue
        name = tool or words.pop(0)
        command = COMMANDS[name] if tool is None else Command(tool, "")
        make = load(command).make_parser
        parser = make() if command.task is None else make(command.task)
        try:
            given, unknown = parser.parse_known_args(words)
        except SystemExit as stop:
            assert not stop.code, f"{page}: {name} {' '.join(words)}\n{capsys.readouterr().err}"
            continue
        assert not unknown, f"{page}: {name} has no {unknown}"
        config = getattr(given, "config", None)
        if config and str(config).startswith("configs/"):
            assert (ROOT / config).is_file(), f"{page}: {config}"
        seen += 1
    assert seen > 60
