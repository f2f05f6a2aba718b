"""The command line: started in another folder, and its errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "run_net.py"


def run_tool(folder, *arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_a_run_is_evaluated_and_applied_by_either_name_of_the_command(trained_run, tmp_path):
    """`python tools/run_net.py --task val` and `jseg val`, from
    the config that the run itself has written."""
    assert {"log.jsonl", "metrics.json", "config.py", "checkpoints", "pictures"} <= {
        path.name for path in trained_run.iterdir()
    }
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    options = ("--config", str(run / "config.py"), "--work-dir", str(run))
    evaluated = run_tool(tmp_path, "--task", "val", *options)
    assert evaluated.returncode == 0, evaluated.stderr
    metrics, after_training = (
        json.loads((folder / "metrics.json").read_text()) for folder in (run, trained_run)
    )
    assert metrics["per_class"] == after_training["per_class"] and len(metrics["per_class"]) == 20
    applied = subprocess.run(
        [sys.executable, "-m", "jseg", "test", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert applied.returncode == 0, applied.stderr
    assert len(list((run / "predictions").glob("*.png"))) == 2


def test_errors_are_one_sentence_with_status_2(tmp_path):
    (tmp_path / "run.py").write_text("max_iters = 5\nmax_itres = 3\n")
    result = run_tool(tmp_path, "--config-file", "run.py", "--task", "val")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and all(
        key in result.stderr for key in ("max_itres", "max_iters")
    )
    assert "Traceback" not in result.stderr and result.stderr.count("\n") == 1


def test_shipped_configs_are_found_and_a_typo_stops_before_the_data(tmp_path):
    """The base files, joined with the smallest leaf, pass the checks; a misspelt option does not."""
    bases = ("schedule.py", "models/clip_rc.py")
    (tmp_path / "leaf.py").write_text(
        f"_base_ = {[str(REPOSITORY / 'configs' / '_base_' / name) for name in bases]}\n"
        "model = dict(clip='nowhere.safetensors')\n"
        "dataset = dict(train=dict(type='VOCDataset', split='train'), val=dict(type='VOCDataset', "
        "split='val'))\n"
        "data_root = 'no_data_here'\ninference = dict(mode='whole')\n"
    )
    typo = run_tool(tmp_path, "--config", "leaf.py", "--set", "model.backbone.num_regoins=4")
    assert typo.returncode == 2 and "num_regoins" in typo.stderr and "num_regions" in typo.stderr
    assert not (tmp_path / "work_dirs").exists()
    absent = run_tool(
        tmp_path, "--config", "leaf.py", "--set", "seed=1", "max_iters=2", "--set", "num_workers=0"
    )
    assert absent.returncode == 2 and "no_data_here" in absent.stderr and "Traceback" not in absent.stderr


@pytest.mark.parametrize(
    "arguments, option",
    [
        (("--task", "val", "--resume"), "--resume"),
        (("--checkpoint", "x"), "--checkpoint"),
    ],
)
def test_options_of_another_task_are_refused(tmp_path, arguments, option):
    result = run_tool(tmp_path, "--config", "leaf.py", *arguments)
    # The usage above names all of them.
    assert result.returncode == 2 and option in result.stderr.splitlines()[-1]
