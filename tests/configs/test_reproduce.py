"""`jseg reproduce` on the benchmarks in miniature, in the formats of the archives."""

import re
from pathlib import Path

import pytest

from jseg.cli import reproduce, run_net
from jseg.config import Config
from jseg.files import shipped_folder


@pytest.fixture
def command(data_root, reduced, tmp_path, monkeypatch, capsys):
    """command(arguments) -> exit status, what was printed, and the tasks that were run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSEG_DATA_ROOT", str(data_root))
    config = Config.load(shipped_folder("configs") / "clip_rc/voc2012_inductive.py")
    options = [*reduced(config), "max_iters=2", "checkpoint_interval=1"]
    started = []
    run = run_net.main

    def counted(argv, task):
        started.append((task, Path(argv[argv.index("--work-dir") + 1]).name))
        return run(argv, task)

    monkeypatch.setattr(run_net, "main", counted)

    def call(*arguments, more=()):
        started.clear()
        status = reproduce.main([*map(str, arguments), "--set", *options, *more])
        return (status, *capsys.readouterr(), list(started))

    return call


@pytest.mark.slow
def test_a_row_from_data_then_again_then_from_its_checkpoint(command):
    status, out, err, started = command("table2", "--row", "voc2012", "--any-count")
    assert status == 0, err
    assert started == [("train", "voc2012_inductive"), ("train", "voc2012_transductive")]
    assert re.search(r"^paper +97\.0 +93\.0 +93\.9 +92\.2$", out, re.MULTILINE)
    assert re.search(r"^jseg, seed 0 +\d+\.\d\d", out, re.MULTILINE)
    end = out[out.index("verdict: ") :]
    assert "not comparable" in end and "--any-count" in end and "batch_size" in end
    assert "voc2012_inductive.py" in end and "voc2012_transductive.py" in end

    table = out[out.index("table2, voc2012") :].splitlines()[:4]
    status, out, _, started = command("table2", "--row", "voc2012", "--any-count")
    assert status == 0 and started == [] and table == out[out.index("table2, ") :].splitlines()[:4]
    status, out, _, started = command("table1", "--row", "voc2012", "--any-count")
    assert status == 0 and started == [] and "voc2012_inductive: complete" in out

    trained = Path("work_dirs/voc2012_transductive/checkpoints/iter_2.safetensors")
    row = ("table2", "--row", "voc2012", "--any-count", "--checkpoint", trained)
    status, out, _, started = command(*row)
    assert status == 0 and started == [("val", "voc2012_transductive_evaluated")]
    assert (
        table[3].split()[3:]
        == re.search(r"^jseg, iter_2\.safetensors (.*)$", out, re.MULTILINE).group(1).split()
    )
    assert command(*row)[3] == []


def test_missing_data_and_weights_are_named_with_their_commands(command, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    row = ("table4", "--row", "context60", "--root", "empty")
    status, _, err, started = command(*row)
    assert status == 2 and "`jseg download coco-stuff --root empty`" in err and not started
    brought = []

    def bring(name, *_):
        brought.append(name)
        return {"complete": True}

    monkeypatch.setattr(reproduce, "download_dataset", bring)
    monkeypatch.setattr(reproduce, "download_clip", bring)
    weights = ("model.clip=weights/ViT-L-14.safetensors",)
    monkeypatch.setattr(run_net, "main", lambda *_: 7)  # all is there: the run would begin
    assert command(*row, "--download", more=weights)[0] == 7
    assert brought == ["coco_stuff", "context", "ViT-L-14"]

    row = ("table1", "--row", "voc2012", "--any-count")
    status, _, err, _ = command(*row, more=weights)
    assert status == 2 and "`jseg download clip ViT-L-14 --root weights`" in err
    status, _, err, _ = command(*row, more=("model.clip=weights/own.npz",))
    assert status == 2 and "own.npz" in err and "jseg download" not in err
    assert len(brought) == 3  # nothing without --download


def test_rows_are_listed_and_arguments_must_fit(capsys):
    assert reproduce.main(["table6"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert reproduce.main(["table1", "--row", "cityscapes"]) == 2
    assert "its rows: voc2012" in capsys.readouterr().err
    assert reproduce.main(["table1", "--row", "voc2012", "--checkpoint", "no/such.pth"]) == 2
    assert "no/such.pth: there is no such file" in capsys.readouterr().err
    for arguments in (
        ["table9"],
        ["--row", "voc2012"],
        ["table1", "--row", "voc2012", "--from", "checkpoint"],
        ["table1", "--row", "voc2012", "--from", "data", "--checkpoint", "x.pth"],
        ["table1", "--row", "voc2012", "--seeds", "0", "1", "--checkpoint", "x.pth"],
        ["table1", "--row", "voc2012", "--seeds", "0", "0"],
        ["table1", "--row", "voc2012", "--tolerance", "nan"],
        ["table1", "--row", "voc2012", "--connections", "0"],
    ):
        with pytest.raises(SystemExit, match="2"):
            reproduce.main(arguments)
