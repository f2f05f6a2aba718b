"""Rows of the paper, the steps to each, and what is said about a result. No run is started."""

import json
import re
from pathlib import Path

import pytest

from jseg.checkpoints.run_metadata import saved_config
from jseg.config import Config
from jseg.config.headers import header_fields
from jseg.files import shipped_folder
from jseg.reproduce import TABLES, Result, compare, deviations, find_row, plan, rows
from jseg.reproduce.rows import Row

ROW = Row("table1", "x", Path("x.py"), {"pAcc": 95.8, "hIoU": 88.4})


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_config_of_the_paper_is_a_row_of_its_tables():
    """By the line `Reproduces:` of its header, in both directions."""
    folder = shipped_folder("configs")
    stated = set()
    for path in folder.rglob("*.py"):
        text = header_fields(path).get("Reproduces", "")
        config = path.relative_to(folder).with_suffix("").as_posix()
        stated |= {(f"table{number}", config) for number in re.findall(r"Table (\d)", text)}
    assert stated == {(table, config) for table, found in TABLES.items() for config in found.values()}
    assert len(TABLES) == 8 and len({*TABLES["table6"]}) == 7


def test_rows_have_the_numbers_of_the_paper():
    assert find_row("table1", "voc2012").paper == {
        "pAcc": 95.8,
        "hIoU": 88.4,
        "mIoU(S)": 92.8,
        "mIoU(U)": 84.4,
    }
    assert find_row("table4", "context59").metric == "mIoU"
    assert [row.name for row in rows("table6") if not row.paper] == ["1024"]
    assert find_row("table1", "COCO_Stuff").config.stem == "coco_stuff_inductive"


@pytest.mark.parametrize(
    "table, name, part", [("table9", "x", "table"), ("table1", "voc", "voc2012, context")]
)
def test_other_rows_are_refused(table, name, part):
    with pytest.raises(ValueError, match=part):
        find_row(table, name)


def test_an_inductive_row_is_one_training():
    (step,) = plan(find_row("table5", "rlb"), overrides=("max_iters=8",))
    assert (step.task, step.config.stem) == ("train", "table5_rlb") and step.load().max_iters == 8
    assert step.work_dir == Path("work_dirs/table5_rlb") and step.scores() is None
    assert step.arguments()[2:] == [
        *("--work-dir", "work_dirs/table5_rlb", "--seed", "0", "--resume", "auto", "--set", "max_iters=8"),
    ]


@pytest.mark.parametrize("name", TABLES["table2"])
def test_a_transductive_row_starts_where_its_config_says(name):
    row = find_row("table2", name)
    first, last = plan(row)
    shipped = Config.load(row.config)
    assert last.load().init_from == shipped.init_from == str(Path(shipped.init_from))
    assert first.load().model["setting"] == "inductive"
    assert str(first.work_dir) == str(Path(shipped.init_from).parents[1])
    assert not first.is_complete()
    Path(shipped.init_from).parent.mkdir(parents=True)
    Path(shipped.init_from).touch()  # the inductive run need not be at its end
    assert first.is_complete() and not last.is_complete()


def test_another_seed_has_its_own_folders():
    first, last = plan(find_row("table2", "voc2012"), seed=2)
    assert [step.work_dir.name for step in (first, last)] == [
        *("voc2012_inductive_seed2", "voc2012_transductive_seed2"),
    ]
    assert last.load().init_from == "work_dirs/voc2012_inductive_seed2/checkpoints/iter_20000.safetensors"
    assert last.seed == first.seed == 2
    (own,) = plan(find_row("table2", "voc2012"), overrides=("init_from=mine.safetensors",))
    assert own.load().init_from == "mine.safetensors"


def test_an_evaluation_on_other_data_needs_its_training():
    first, last = plan(find_row("table4", "context59"), overrides=("batch_size=2", "dataset.train.split='x'"))
    assert (first.task, first.config.resolve().stem, last.task) == ("train", "coco_stuff_inductive", "val")
    assert last.checkpoint == Path("work_dirs/coco_stuff_inductive/checkpoints/iter_80000.safetensors")
    assert last.overrides == ("batch_size=2",) and last.load().dataset["val"]["background"] is False


def test_a_checkpoint_is_evaluated_and_nothing_trained():
    Path("release.pth").touch()
    (step,) = plan(find_row("table2", "coco-stuff"), checkpoint=Path("release.pth"))
    assert step.task == "val" and step.arguments()[-2:] == ["--checkpoint", "release.pth"]
    step.work_dir.mkdir(parents=True)
    metrics = step.work_dir / "metrics.json"
    metrics.write_text(json.dumps({"checkpoint": "other.pth", "hIoU": 1.0}))
    assert step.scores() is None
    metrics.write_text(json.dumps({"checkpoint": "release.pth", "hIoU": 49.5}))
    assert step.scores()["hIoU"] == 49.5


def test_results_and_hours_are_those_of_the_last_iteration():
    (step,) = plan(find_row("table1", "voc2012"), overrides=("max_iters=4",))
    (step.work_dir / "checkpoints").mkdir(parents=True)
    evaluations = [{"iter": 2, "hIoU": 90.0}, {"iter": 4, "hIoU": 88.0}]
    (step.work_dir / "eval.jsonl").write_text(
        "".join(json.dumps(item) + "\n" for item in evaluations) + '{"it'
    )
    assert step.scores() is None  # the checkpoint is missing
    (step.work_dir / "checkpoints/iter_4.safetensors").touch()
    assert step.scores()["hIoU"] == 88.0
    log = [{"iter": 2, "seconds": 900.0}, {"iter": 4, "seconds": 1800.0}]
    (step.work_dir / "log.jsonl").write_text("".join(json.dumps(item) + "\n" for item in log))
    assert step.hours() == 1.5


def results(*values):
    return [Result(f"seed {seed}", {"pAcc": 95.0, "hIoU": value}, 2.0) for seed, value in enumerate(values)]


@pytest.mark.parametrize(
    "values, verdict",
    [
        ((87.5,), r"reproduced: hIoU 87\.50 is within 1\.00 .*one seed, so the deviation is unknown"),
        ((87.3,), r"not reproduced: hIoU 87\.30 is 1\.10 points below"),
        ((90.0,), r"better than the paper: hIoU 90\.00 is 1\.60 points above"),
        ((86.0, 88.0), r"reproduced: hIoU 87\.00 is within 2\.83 .*2 seeds"),
        ((86.9, 87.0, 87.1), r"not reproduced: hIoU 87\.00 is 1\.40 points below the paper's \(3 seeds\)"),
        ((None,), r"hIoU is not defined"),
    ],
)
def test_verdicts(values, verdict):
    text = compare(ROW, results(*values), [], tolerance=1.0)
    assert re.search(rf"^verdict: .*{verdict}", text, re.MULTILINE)
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["pAcc", "hIoU"] and lines[1] == ["paper", "95.8", "88.4"]
    assert ("mean" in text) == ("standard deviation" in text) == (len(values) > 1)
    assert lines[-2] == ["hours", "of", "training:", *["2.00,"] * (len(values) - 1), "2.00", "(measured)"]


def test_a_run_that_departs_is_not_compared():
    text = compare(ROW, results(88.4), ["a part of the data was used"], tolerance=1.0)
    assert text.splitlines()[-2:] == [
        "verdict: not comparable with the paper",
        "  a part of the data was used",
    ]
    assert "out of memory" in compare(ROW._replace(paper={}), results(88.4), [], tolerance=1.0)


def test_departures_are_named_by_their_keys():
    config = find_row("table1", "voc2012").config
    own = dict(Config.load(config, ("optimizer.lr=1e-3", "seed=3", "num_workers=0", "data_root=/x")))
    own["model"] = {**own["model"], "clip": "elsewhere/ViT-B-16.safetensors"}
    assert deviations(own, config) == ["voc2012_inductive.py was run with different values of optimizer.lr"]
    own["model"]["clip"] = "weights/ViT-L-14.safetensors"
    assert "model.clip, optimizer.lr" in deviations(own, config)[0]


@pytest.mark.parametrize("config", sorted({config for found in TABLES.values() for config in found.values()}))
def test_a_run_as_shipped_does_not_depart(config):
    """What a checkpoint carries is the text of the resolved config."""
    path = shipped_folder("configs") / f"{config}.py"
    assert deviations(saved_config({"config": Config.load(path).text()}), path) == []
