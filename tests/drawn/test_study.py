"""benchmarks/initialization.py and study.py keep one line for each finished run, and repeat none."""

import argparse
import importlib
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.drawn import DRAWN

SCORES = {"pAcc": 80.0, "mIoU(S)": 70.0, "mIoU(U)": 60.0}


@pytest.fixture
def benchmark(monkeypatch):
    """The module, whose trainings only give hIoU 10 * seed."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    module = importlib.import_module("initialization")
    module.trained = []

    def measure(run, work_root, threads):
        module.trained.append(run)
        return {**SCORES, "hIoU": 10.0 * run.seed, "per_class": []}

    monkeypatch.setattr(module, "measure", measure)
    return module


def arguments(tmp_path, *seeds, iterations=6000):
    return argparse.Namespace(
        seeds=list(seeds), iterations=iterations, threads=1, work_root=tmp_path, out=tmp_path / "runs.jsonl"
    )


def test_finished_runs_are_not_repeated(benchmark, tmp_path, capsys):
    assert benchmark.report(arguments(tmp_path, 1)) == 0
    assert benchmark.report(arguments(tmp_path, 1, 3)) == 0
    assert len(benchmark.trained) == 8 == len(set(benchmark.trained))
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "init": "designed",
        "feed_forward_dropout": 0.0,
        "seed": 1,
        "iterations": 6000,
        **SCORES,
        "hIoU": 10.0,
    }
    table = capsys.readouterr().out.splitlines()[-4:]
    assert table[-1] == "| released | 0.1 | 2 | 80.0 ± 0.0 | 70.0 ± 0.0 | 60.0 ± 0.0 | 20.0 ± 10.0 |"
    benchmark.report(arguments(tmp_path, 1, iterations=500))  # another length is another run
    assert len(benchmark.trained) == 12


def test_a_damaged_line_is_named_before_training(benchmark, tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"init": "designed"}\n')
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 1 .*remove it"):
        benchmark.report(arguments(tmp_path, 0))
    assert not benchmark.trained


@pytest.fixture
def study(monkeypatch):
    """The module, whose trainings only give hIoU 10 * seed."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    module = importlib.import_module("study")
    module.trained = []

    def measure(run, start, work_root, threads):
        module.trained.append((run.config, run.overrides, run.seed))
        assert (start is not None) == ("transductive" in run.config)
        return {**SCORES, "hIoU": 10.0 * run.seed, "per_class": []}

    monkeypatch.setattr(module, "measure", measure)
    return module


def study_arguments(tmp_path, *seeds, jobs=1):
    return argparse.Namespace(
        study="zeroshapes", seeds=list(seeds), jobs=jobs, work_root=tmp_path, out=tmp_path / "runs.jsonl"
    )


def test_a_study_trains_each_row_once_and_tells_the_mean_beside_the_paper(study, tmp_path, capsys):
    assert study.report(study_arguments(tmp_path, 1)) == 0
    assert study.report(study_arguments(tmp_path, 1, 3, jobs=2)) == 0
    # 4 settings and 4 rows of Table 5, whose last row is the inductive setting
    assert len(study.trained) == 2 * 7 == len(set(study.trained))
    tables = capsys.readouterr().out.splitlines()
    row = "| inductive | 2 | 80.0 ± 0.0 | 70.0 ± 0.0 | 60.0 ± 0.0 | 20.0 ± 10.0 | 84.4, 88.4 |"
    assert tables.count(row) == 1
    assert sum(line.startswith("| RLB, RAM, RDL | 2 | 80.0") for line in tables) == 1


def test_a_line_of_another_config_is_another_run(study, tmp_path):
    study.report(study_arguments(tmp_path, 0))
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    changed = [{**line, "digest": "0" * 10} for line in lines[:1]] + lines[1:]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    study.report(study_arguments(tmp_path, 0))
    assert len(study.trained) == 8 and study.trained[-1][0] == changed[0]["config"]


@pytest.mark.parametrize(
    "gains, found",
    [
        ((3.0, 4.0, 5.0), "yes"),
        ((-3.0, -4.0, -5.0), "no, reversed"),
        ((-3.0, 4.0, 5.0), "no clear difference"),
        ((3.0, 4.0), "too few seeds"),
    ],
)
def test_claims_are_compared_by_seed(study, gains, found):
    """The difference of two rows has the spread of its seeds, not that of the rows."""
    rows = {row.label: row for row in study.STUDIES["zerowords"]}
    runs = {}
    for seed, gain in enumerate(gains):
        scores = {**SCORES, "mIoU(U)": 20.0 * seed, "hIoU": 10.0 * seed}
        runs[study.run_of(rows["none"], seed)] = scores
        runs[study.run_of(rows["RLB"], seed)] = {**scores, "mIoU(U)": 20.0 * seed + gain}
    table = study.comparisons(study.STUDIES["zerowords"], runs).splitlines()
    gain = f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}"
    assert table[2:] == [
        f"| Table 5: RLB over none | {len(gains)} | {gain} | +0.0 ± 0.0 | +2.2, +1.1 | {found} |"
    ]
    one = {run: scores for run, scores in runs.items() if run.seed == 0}
    assert study.comparisons(study.STUDIES["zerowords"], one) == ""


def test_a_chart_of_finished_runs(study, tmp_path):
    pytest.importorskip("matplotlib")
    figure = importlib.import_module("study_figure")
    study.report(study_arguments(tmp_path, 0, 1))
    options = argparse.Namespace(
        study="zeroshapes", picture=tmp_path / "chart.png", runs=tmp_path / "runs.jsonl"
    )
    assert figure.run(options) == 0
    with Image.open(options.picture) as image:
        assert image.width == 1000 and len(image.getcolors(1 << 20)) > 10
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no run of the study"):
        figure.run(options)


def test_confusions_separate_words_from_seen_and_unseen(study, tmp_path, capsys):
    """Half of the pixels of unseen words are called a seen word, and of the rest a third is right."""
    confusions = importlib.import_module("study_confusions")
    matrix = np.zeros((24, 24))
    unseen = DRAWN["zerowords"].classes.unseen
    for index in range(24):
        matrix[index, index] = 3
    matrix[unseen, unseen] = 1
    matrix[unseen, np.roll(unseen, 1)] = 2
    matrix[unseen, 0] = 3
    row = study.STUDIES["zerowords"][0]
    for seed in (4, 5):  # run 5 is not finished
        folder = tmp_path / study.run_of(row, seed).name
        folder.mkdir()
        (folder / "confusion.json").write_text(json.dumps({"classes": [], "matrix": matrix.tolist()}))
    (tmp_path / "runs.jsonl").write_text(study.run_of(row, 4).line({**SCORES, "hIoU": 1.0}) + "\n")
    arguments = argparse.Namespace(study="zerowords", work_root=tmp_path, runs=tmp_path / "runs.jsonl")
    assert confusions.report(arguments) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "| Settings: ZegCLIP, inductive | 1 | 50.0 | 33.3 | 100.0 | 100.0 |"
    with pytest.raises(ValueError, match=r"no confusion\.json"):
        arguments.work_root = tmp_path / "other"
        confusions.report(arguments)


@pytest.mark.parametrize("name", ["zeroshapes", "zerowords"])
def test_every_row_of_a_study_can_be_read(study, name):
    rows = study.STUDIES[name]
    assert len({study.run_of(row, 0) for row in rows}) >= 7
    assert all(study._paper(row) for row in rows)
    assert {row.starts_from for row in rows} <= {None, "inductive"}
