"""Sinks receive losses, scores and figures, and never end a training that has begun."""

import builtins
from pathlib import Path

import pytest

from jseg.runner import Runner
from jseg.runner.sinks import SINKS, Sink


@SINKS.register("TestSink")
class Recorder(Sink):
    """Keeps what it receives in `log`."""

    log: list = []  # noqa: RUF012  (the sink is built by the runner, so that a test has no other way to it)

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def open(self, work_dir, start, config):
        Recorder.log = [("open", start, config["max_iters"])]

    def scalars(self, group, iteration, values):
        if self.fails == group:
            raise RuntimeError("the service is gone")
        Recorder.log.append((group, iteration, dict(values)))

    def figure(self, name, iteration, image):
        Recorder.log.append((name, iteration, image.shape))

    def close(self):
        Recorder.log.append(("close",))


def test_a_sink_receives_everything_and_is_told_of_a_resume(make_config):
    cfg = make_config(max_iters=4, sinks=[dict(type="TestSink")])
    Runner(cfg).train()
    log = Recorder.log
    assert log[0] == ("open", 0, 4) and log[-1] == ("close",)
    assert [entry[1] for entry in log if entry[0] == "train"] == [2, 4]
    (scores,) = [entry[2] for entry in log if entry[0] == "val"]
    assert 0 <= scores["hIoU"] <= 100 and "iter" not in scores
    assert {"loss_fit", "total", "lr", "seconds"} <= set(log[1][2]) and "gpu_memory_mb" not in log[1][2]
    assert [entry[0] for entry in log if len(entry) == 3 and isinstance(entry[2], tuple)] == [
        "panels",
        "curves",
    ]
    Runner(make_config(max_iters=6, sinks=[dict(type="TestSink")])).train(resume="auto")
    assert Recorder.log[0] == ("open", 4, 6)
    assert [entry[1] for entry in Recorder.log if entry[0] == "train"] == [6]


def test_a_failing_sink_is_closed_with_a_warning(make_config, capsys):
    Runner(make_config(max_iters=4, sinks=[dict(type="TestSink", fails="train")])).train()
    assert "TestSink" not in capsys.readouterr().err
    text = Path(make_config().work_dir, "log.txt").read_text(encoding="utf-8")
    assert text.count("warning: Recorder failed") == 1 and "the service is gone" in text


def test_tensorboard_files(make_config, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    Runner(make_config(max_iters=4, sinks=[dict(type="TensorBoard")])).train()
    (path,) = Path(make_config().work_dir, "tensorboard").iterdir()
    data, tags, place = path.read_bytes(), {}, 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += length + 16
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append(event.step)
    assert tags["train/total"] == [2, 4] and tags["val/hIoU"] == [4] and "panels" in tags


def test_what_is_refused(make_config, monkeypatch):
    with pytest.raises(ValueError, match=r"sinks\.0.*TensorBord.*TensorBoard"):
        Runner(make_config(sinks=[dict(type="TensorBord")]))
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="pip install tensorboardX"):
        Runner(make_config(sinks=[dict(type="TensorBoard")])).train()
