"""`--json` and `--quiet`: which commands have them, and what they print."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg import progress
from jseg.cli import output
from jseg.cli.main import COMMANDS, load, main

# Without --json: documents and scripts, a page in the browser, and a check with a file for its results.
TEXT = {"completion", "config-keys", "gpu-check", "web"}
# Without --quiet: what they print is their only result.
PRINTED = {*TEXT, "classify", "configs", "flops"}


def options(name):
    """All options of a command and of its subcommands."""
    command = COMMANDS[name]
    make = load(command).make_parser
    found, parsers = set(), [make() if command.task is None else make(command.task)]
    for parser in parsers:
        for action in parser._actions:
            found.update(action.option_strings)
            parsers += (getattr(action, "choices", None) or {}).values() if action.nargs == "A..." else []
    return found


def test_every_command_has_them_where_a_script_needs_them():
    assert {name for name in COMMANDS if "--json" not in options(name)} == TEXT
    assert {name for name in COMMANDS if "--quiet" not in options(name)} == PRINTED


@pytest.fixture
def masks(tmp_path):
    """Two folders of the same masks, and a file with the words."""
    for folder in ("predicted", "labelled"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / folder / "a.png")
    (tmp_path / "words.txt").write_text("cat\ndog\n")
    return [str(tmp_path / name) for name in ("predicted", "labelled", "words.txt")]


def run(capsys, *arguments):
    """Exit status, the objects printed on stdout, and stderr."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


def test_scores(masks, capsys):
    command = ("evaluate-masks", *masks[:2], "--classes", masks[2])
    status, (scores,), err = run(capsys, *command, "--json")
    assert (status, err) == (0, "") and scores["images"] == 1 and scores["mIoU"] == 100.0
    assert scores["mIoU(U)"] is None and [row["name"] for row in scores["per_class"]] == ["cat", "dog"]
    assert run(capsys, *command, "--quiet") == (0, [], "")


def test_errors_are_printed_in_any_case(masks, capsys):
    for option in ("--json", "--quiet"):
        command = ("evaluate-masks", "nowhere", masks[1], "--classes", masks[2], option)
        status, printed, err = run(capsys, *command)
        assert status == 2 and printed == [] and err.startswith("error: ") and "nowhere" in err
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate-masks", *masks[:2], "--classes", masks[2], "--json", "--quiet"])


def test_tables(capsys):
    status, rows, _ = run(capsys, "configs", "voc2012_inductive", "--json")
    assert status == 0 and {row["data"] for row in rows} == {"VOC"} and len(rows) == 2
    status, rows, _ = run(capsys, "reproduce", "table1", "--json")
    assert status == 0 and rows[0]["row"] == "voc2012" and rows[0]["paper"]["hIoU"] == 88.4
    status, rows, _ = run(capsys, "flops", "--regions", 4, 16, "--json")
    assert [row["regions"] for row in rows] == [4, 16]
    assert all(row["release"] == sum(row["parts"].values()) for row in rows)
    status, rows, _ = run(capsys, "download", "list", "--json")
    assert status == 0 and sum(row["checksum"] is not None for row in rows) > 5


def test_files_that_are_made(tmp_path, capsys):
    folder = tmp_path / "shapes"
    command = ("zeroshapes", "--out", folder, "--train", 2, "--val", 1, "--test", 1)
    assert run(capsys, *command, "--quiet") == (0, [], "")
    status, (made,), _ = run(capsys, *command, "--json")
    assert status == 0 and made["drawn"] is False and made["counts"] == {"train": 2, "val": 1, "test": 1}
    config = ("--config", "configs/clip_rc/zeroshapes_inductive.py", "--set", f"data_root={folder}")
    status, (content,), err = run(capsys, "check-dataset", *config, "--json")
    assert (status, err) == (0, "") and content["problems"] == []
    assert content["parts"]["train"]["images"] == 2 and len(content["parts"]["val"]["classes"]) == 20


def test_the_doctor(capsys):
    status, (found,), _ = run(capsys, "doctor", "--no-self-test", "--json")
    assert found["works"] == (status == 0)
    assert {"name", "mark", "text", "fix"} == set(found["findings"][0])


def test_progress_is_hidden_within_the_command_alone(capsys):
    arguments = load(COMMANDS["zeroshapes"]).make_parser().parse_args(["--quiet"])
    with output.chosen_output(arguments) as record:
        assert progress.is_hidden() and progress.progress([1]).disable
        print("text")
        record({"value": 1})
    assert not progress.is_hidden() and capsys.readouterr().out == ""


def test_output_has_no_colours():
    """So there is nothing that NO_COLOR would have to switch off."""
    for path in Path(progress.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(\\x1b|\\033|\x1b)\[[0-9;]*m", text), path


def test_values_that_json_does_not_have(tmp_path):
    value = {"path": tmp_path, "nan": float("nan"), "list": (np.float32(0.5), np.arange(2)), 3: None}
    assert output.plain(value) == {"path": str(tmp_path), "nan": None, "list": [0.5, [0, 1]], "3": None}
