"""benchmarks/initialization.py keeps one line for each finished run, and repeats none."""

import argparse
import importlib
import json
from pathlib import Path

import pytest

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
