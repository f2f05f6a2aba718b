"""Documentation: links lead somewhere, the index is complete, and named functions exist."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
from pages import commands as blocks
from pages import rules

from jseg.cli.main import COMMANDS, Command, load
from jseg.reproduce.rows import TABLES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
_COMMAND = re.compile(r"(?:^|\s)(?:jseg|python tools/(\w+)\.py) (.*)")
_BESIDE = 8  # lines
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


@pytest.mark.parametrize("rule", [*rules.ONLY_PARSED, *rules.STAND_INS], ids=lambda rule: rule.pattern)
def test_every_rule_matches_a_command_of_the_pages(rule):
    texts = [command.text for page in blocks.PAGES for command in blocks.commands_of(page)]
    assert any(re.search(rule.pattern, text) for text in texts)


def test_blocks_of_commands_are_marked_as_bash():
    """The tests run only those."""
    for page in blocks.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            command = re.search(r"^(jseg|python|mpirun|pip|make) ", block, re.MULTILINE)
            assert language or not command, f"{page}: {block}"


@pytest.mark.parametrize("path", sorted((DOCS / "images").iterdir()), ids=lambda path: path.name)
def test_a_picture_is_shown_and_the_command_that_makes_it_is_named_beside_it(path):
    shown = 0
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        for at in (at for at, line in enumerate(lines) if re.search(rf"\]\([\w/]*{path.name}\)", line)):
            shown += 1
            beside = "\n".join(lines[max(at - _BESIDE, 0) : at + _BESIDE])
            scripts, names = re.findall(r"python ([\w/]+\.py)", beside), re.findall(r"jseg ([\w-]+)", beside)
            block = f'.save("{path.name}")' in beside  # Python blocks are run
            assert scripts or names or block, f"{page.name}: {path.name}"
            assert all((ROOT / script).is_file() for script in scripts)
            assert all(name in COMMANDS for name in names)
    assert shown


def commands():
    """Yields (page, tool, arguments) of the commands in blocks. `tool` is NAME of `python tools/NAME.py`."""
    for page in [*PAGES, ROOT / "weights" / "README.md", ROOT / "benchmarks" / "README.md"]:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                found = _COMMAND.search(line)
                if found is None or "…" in line or "..." in line or line.lstrip().startswith("#"):
                    continue
                try:
                    words = shlex.split(found[2], comments=True)
                except ValueError:  # a text in which a word of prose looks like a command
                    continue
                yield page.name, found[1], words


def parser_of(tool, words):
    """The parser of a command, and the command without its name; None for another program."""
    if tool is None and (not words or words[0] not in COMMANDS):
        return None, words
    command = COMMANDS[words[0]] if tool is None else Command(tool, "")
    make = load(command).make_parser
    return make() if command.task is None else make(command.task), words[tool is None :]


def test_documented_commands_have_valid_options(capsys):
    seen = 0
    for page, tool, words in commands():
        words = list(itertools.takewhile(lambda word: word not in ("|", "&&", "&", ">", ";"), words))
        parser, arguments = parser_of(tool, words)
        if parser is None:
            continue
        try:
            given, unknown = parser.parse_known_args(arguments)
        except SystemExit as stop:
            assert not stop.code, f"{page}: {' '.join(words)}\n{capsys.readouterr().err}"
            continue
        assert not unknown, f"{page}: {' '.join(words)} has no {unknown}"
        config = getattr(given, "config", None)
        if config and str(config).startswith("configs/"):
            assert (ROOT / config).is_file(), f"{page}: {config}"
        seen += 1
    assert seen > 60


def test_commands_within_sentences_have_valid_options():
    """They may leave something out, but not name what does not exist."""
    seen = 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"`((?:jseg|python tools/)[^`]*)`", text):
            found = _COMMAND.match(code.replace("\n", " "))
            if found is None:
                continue
            parser, arguments = parser_of(found[1], found[2].split())
            if parser is None:
                continue
            parsers = [parser]
            for inner in parsers:
                parsers += [
                    part
                    for action in inner._actions
                    if action.nargs == "A..."
                    for part in action.choices.values()
                ]
            known = {option for inner in parsers for option in inner._option_string_actions}
            options = {word.split("=")[0] for word in arguments if word.startswith("--") and len(word) > 2}
            assert options <= known, f"{page.name}: `{code}`"
            seen += 1
    assert seen > 50
