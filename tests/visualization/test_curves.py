"""Curves: reading the logs of killed runs, ticks, smoothing, drawing."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from jseg.visualization import read_records, save_curves
from jseg.visualization.curves import METRICS, curves_figure, loss_series, metric_series, points, smooth


def write_lines(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def count(path, colour, left=0, right=1200):
    """Pixels close to a colour; lines are drawn with smooth borders."""
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB"), int)[:, left:right]
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((np.abs(pixels - wanted) < 24).all(axis=-1).sum())


@pytest.mark.parametrize("tail", ["", "\n", '{"iter": 3, "tot', '{"iter": 3, "total": 1.0', "\x00\x00"])
def test_partly_written_last_line_is_skipped(tmp_path, tail):
    log = write_lines(tmp_path / "log.jsonl", [{"iter": 1, "total": 3.0}, {"iter": 2, "total": 2.0}], tail)
    assert [record["iter"] for record in read_records(log)] == [1, 2]


def test_resumed_run_repeats_iterations_after_a_torn_line(tmp_path):
    """Killed in the middle of a line and resumed from iteration 1: the incomplete line is ignored."""
    before = [{"iter": 1, "total": 3.0}, {"iter": 2, "total": 9.0}]
    log = write_lines(tmp_path / "log.jsonl", before, '{"iter": 3, "t')
    with log.open("a") as stream:
        stream.write('{"iter": 2, "total": 2.0}\n{"iter": 2, "total": 2.5}\n{"iter": 3, "total": 1.0}\n')
    x, y = points(read_records(log), "total")
    assert x.tolist() == [1, 2, 3] and y.tolist() == [3.0, 2.5, 1.0]


def test_non_finite_and_missing_values_are_left_out():
    values = [1.0, float("nan"), None, "text", True]
    records = [{"iter": 5}] + [{"iter": i, "total": value} for i, value in enumerate(values)]
    assert points(records, "total")[0].tolist() == [0.0]
    assert points([], "total")[0].shape == (0,)


def test_series_of_losses_and_metrics():
    records = [{"iter": 1, "loss_dice": 1.0, "lr": 0.1, "my_loss": 2.0, "acc_seg": 50.0, "total": 3.0}]
    assert [line.name for line in loss_series(records)] == ["total", "dice", "my_loss"]
    names = [line.name for line in metric_series([{"iter": 5, "hIoU": 41.26}])]
    assert names == ["hIoU 41.3", "mIoU(S)", "mIoU(U)"]


def test_smoothing_keeps_constants_and_calms_noise():
    np.testing.assert_allclose(smooth(np.full(200, 2.5)), 2.5)
    noise = np.random.default_rng(0).normal(size=600)
    assert smooth(noise).std() < 0.5 * noise.std()
    np.testing.assert_allclose(smooth(np.array([7.0])), [7.0])
    falling = np.array([1e4, 10.0] + [1.0] * 200)
    assert smooth(falling)[30] < 5  # an arithmetic mean would still be above 100
    assert smooth(np.array([-1.0, 1.0])).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("smallest, scale", [(0.1, "log"), (5.0, "linear")])
def test_the_loss_axis_is_logarithmic_only_for_large_ratios(smallest, scale):
    figure = curves_figure([{"iter": 1, "total": 10.0, "loss_mask": smallest}], [])
    assert figure.axes[0].get_yscale() == scale and figure.axes[1].get_ylim() == (0, 100)


def test_without_unseen_classes_mean_iou_is_drawn():
    lines = metric_series([{"iter": 1, "mIoU": 56.04, "mIoU(S)": 56.04, "hIoU": None, "mIoU(U)": None}])
    assert [line.name for line in lines] == ["mIoU 56.0"]


def test_curves_of_a_run(tmp_path):
    losses = [{"iter": i, "total": 3.0 / i, "loss_mask": 2.0 / i} for i in range(1, 80)]
    log = write_lines(tmp_path / "log.jsonl", losses, '{"it')
    evaluations = write_lines(
        tmp_path / "eval.jsonl",
        [{"iter": i, "hIoU": i / 2, "mIoU(S)": i * 0.7, "mIoU(U)": i * 0.3} for i in (20, 40, 60)],
    )
    path = tmp_path / "curves.png"
    save_curves(path, log, evaluations, "a run")
    with Image.open(path) as figure:
        assert figure.size == (1200, 520)
    for _, colour in METRICS:
        assert count(path, colour, left=620) > 100
    save_curves(path, log, tmp_path / "missing.jsonl", "a run")
    assert count(path, METRICS[2][1]) == 0, "not evaluated yet: no line of unseen classes"


def test_single_point_is_drawn_as_a_dot(tmp_path):
    log = write_lines(tmp_path / "log.jsonl", [{"iter": 1, "total": 3.0}])
    record = {"iter": 1, "hIoU": 0.0, "mIoU(S)": 50.0, "mIoU(U)": 0.0}
    evaluations = write_lines(tmp_path / "eval.jsonl", [record])
    save_curves(tmp_path / "curves.png", log, evaluations, "")
    blue = METRICS[1][1]
    assert count(tmp_path / "curves.png", blue, left=1100) > 15


def test_empty_logs_and_refused_files(tmp_path):
    empty = write_lines(tmp_path / "log.jsonl", [])
    save_curves(tmp_path / "curves.png", empty, empty, "nothing yet")
    assert (tmp_path / "curves.png").is_file()
    with pytest.raises(FileNotFoundError, match="missing.jsonl"):
        save_curves(tmp_path / "curves.png", tmp_path / "missing.jsonl", empty, "")
    text = tmp_path / "notes.txt"
    text.write_text("not a log\nat all\n")
    with pytest.raises(ValueError, match="notes.txt"):
        save_curves(tmp_path / "curves.png", text, None, "")
