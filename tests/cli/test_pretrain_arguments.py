"""tools/pretrain_clip.py: settings passed on, and options refused before anything is drawn."""

import re
from dataclasses import replace

import pytest

import jseg.drawn.pretrain as room
from jseg.cli import pretrain_clip
from jseg.drawn.pretrain import DEFAULTS, PretrainSettings


@pytest.fixture
def runs(monkeypatch):
    """Settings of the runs that were started; each writes one small array."""
    started = []

    def pretrain(config, settings, log, save):
        started.append(settings)
        save({"logit_scale": room.np.ones(1, room.np.float32)})

    monkeypatch.setattr(room, "pretrain", pretrain)
    return started


def test_only_what_was_given_departs_from_the_defaults(runs, tmp_path):
    out = tmp_path / "new" / "clip.npz"
    assert pretrain_clip.main([str(out)]) == 0
    assert pretrain_clip.main([str(out), "--scenes", "7", "--batch-size", "3"]) == 0
    assert pretrain_clip.main([str(out), "--dataset", "zerowords", "--seed", "2"]) == 0
    assert runs[:2] == [PretrainSettings(), PretrainSettings(num_scenes=7, batch_size=3)]
    assert runs[2:] == [replace(DEFAULTS["zerowords"], seed=2)]
    assert [path.name for path in out.parent.iterdir()] == ["clip.npz"]


def test_help_tells_the_defaults():
    defaults = {
        str(value)
        for settings in DEFAULTS.values()
        for value in (settings.iterations, settings.batch_size, settings.num_scenes, settings.seed)
    }
    assert defaults <= set(re.findall(r"\b\d+\b", pretrain_clip.__doc__))


@pytest.mark.parametrize(
    "option, value",
    [
        ("--iterations", "0"),
        ("--batch-size", "-1"),
        ("--scenes", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**31)),
    ],
)
def test_numbers_out_of_range_are_refused(runs, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        pretrain_clip.main([str(tmp_path / "clip.npz"), option, value])
    assert stop.value.code == 2 and not runs
    said = capsys.readouterr().err.splitlines()[-1]
    assert option in said and value in re.findall(r"-?\d+", said)


def test_an_unwritable_out_is_refused_before_the_run(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path, tmp_path / "file" / "clip.npz", tmp_path / ("x" * 300)):
        assert pretrain_clip.main([str(out)]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ") and str(out) in printed and printed.count("\n") == 1
    assert not runs
