"""Complete runs of the tiny model: learning, resume, evaluation, and user errors."""

import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jseg.checkpoints import CLIPRCArchitecture, load_arrays
from jseg.checkpoints.pointers import POINTER
from jseg.models.weights import check_parameters
from jseg.runner import Interrupted, Runner
from jseg.runner import checkpoint as checkpoints
from jseg.runner import step as stepping
from jseg.runner.store import CheckpointStore

TIMING = ("seconds", "data_seconds", "eta_seconds", "memory_mb", "gpu_memory_mb")


def read_log(work_dir, name="log.jsonl"):
    records = [json.loads(line) for line in (Path(work_dir) / name).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One complete run, shared by tests that only read it."""
    return str(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def trained(finished, make_config):
    cfg = make_config(work_dir=finished)
    if not Path(finished, "log.jsonl").exists():
        Runner(cfg).train()
    return cfg


def test_training_learns_logs_saves_and_draws(trained):
    folder = Path(trained.work_dir)
    records = read_log(folder)
    assert [record["iter"] for record in records] == [2, 4, 6, 8, 10, 12]
    assert records[-1]["total"] < 0.75 * records[0]["total"]
    assert set(records[0]) == {"iter", "lr", "loss_fit", "loss_size", "total"}
    # Iteration 12 is t = 11 of 12; largest group rate 0.01 * 2.
    assert records[-1]["lr"] == pytest.approx((0.02 - 1e-6) * (1 / 12) ** 0.9 + 1e-6)
    assert CheckpointStore(folder).iterations() == [4, 8, 12]
    assert (folder / "checkpoints" / "latest").read_text().strip() == "iter_12.safetensors"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert read_log(folder, "eval.jsonl")[-1]["hIoU"] == metrics["hIoU"]
    assert {row["name"] for row in metrics["per_class"]} == {"red", "green", "blue"}
    assert {path.name for path in (folder / "pictures").iterdir()} == {"curves.png", "panels.png"}


def test_checkpoint_holds_everything_by_name(trained):
    arrays, metadata = load_arrays(CheckpointStore(trained.work_dir).newest())
    parameters = {"backbone.weight", "decode_head.bias"}
    moments = {f"optimizer.{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in parameters}
    assert set(arrays) == parameters | moments | {"optimizer.steps"}
    assert (metadata["iteration"], metadata["seed"], metadata["setting"]) == ("12", "5", "inductive")
    assert json.loads(metadata["class_names"]) == ["red", "green", "blue"]
    assert metadata["config"] == trained.text()


def test_a_killed_and_resumed_run_repeats_the_uninterrupted_one(trained, make_config, monkeypatch):
    """Killed at iteration 7, after records beyond the checkpoint of iteration 4 had been written."""
    cfg = make_config()
    killed = Runner(cfg)
    report = Runner._report

    def die_late(self, done, *rest):
        report(self, done, *rest)
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "_report", die_late)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    monkeypatch.undo()
    with Path(cfg.work_dir, "log.jsonl").open("a") as file:
        file.write('{"iter": 7, "tot')
    Runner(cfg).train(resume="auto")
    assert read_log(cfg.work_dir) == read_log(trained.work_dir)
    ours, theirs = (
        load_arrays(CheckpointStore(work_dir).path(12))[0] for work_dir in (cfg.work_dir, trained.work_dir)
    )
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_lost_console_does_not_end_a_training(make_config, monkeypatch):
    """With `run_net.py ... | head`, or a `tee` that dies, the run used to end at the next line, without a
    checkpoint."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        cfg = make_config(max_iters=4)
        Runner(cfg).train()
        monkeypatch.undo()
    assert CheckpointStore(cfg.work_dir).iterations() == [4]
    assert "saved" in Path(cfg.work_dir, "log.txt").read_text()


def test_an_error_that_a_signal_has_caused_is_a_stop(make_config, monkeypatch):
    """Ctrl-C also reaches Jittor's compilers, and Jittor reports their end as an error."""

    def broken_off(self, *_):
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("[f 1128] Run cmd failed")

    monkeypatch.setattr(stepping.TrainingStep, "__call__", broken_off)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted) as stop:
            Runner(make_config()).train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.exit_code == 130


def test_a_new_run_sets_the_earlier_one_aside(make_config):
    cfg = make_config(max_iters=2)
    Runner(cfg).train()
    Runner(cfg).train()
    assert Path(cfg.work_dir, "earlier-1", "checkpoints", "iter_2.safetensors").exists()
    assert [record["iter"] for record in read_log(cfg.work_dir)] == [2]


def test_val_and_test_take_the_newest_checkpoint(trained, make_config):
    summary = Runner(trained).val()
    assert summary["pAcc"] == pytest.approx(read_log(trained.work_dir, "eval.jsonl")[-1]["pAcc"])
    folder = Runner(trained).test()
    picture = Image.open(folder / "stripes_1.png")
    assert picture.mode == "P" and picture.size == (8, 8)
    assert picture.getpalette()[:9] == [200, 30, 30, 30, 200, 30, 30, 30, 200]
    assert int(np.asarray(picture).max()) < 3
    with pytest.raises(FileNotFoundError, match="--checkpoint"):
        Runner(make_config()).val()


def test_applying_a_model_needs_no_training_and_validation_data(trained, make_config):
    """Weights, class words and a folder of images are enough. The validation set used to be required."""
    absent = dict(type="TestStripes", length=-1)
    for parts in ({"dataset.train": absent, "dataset.val": absent}, {"dataset": {}}):
        cfg = make_config({**parts, "dataset.test": dict(type="TestStripes", length=2)})
        folder = Runner(cfg).test(str(CheckpointStore(trained.work_dir).path(12)))
        assert sorted(path.name for path in folder.glob("*.png")) == ["stripes_0.png", "stripes_1.png"]


def test_transductive_starts_from_inductive_weights(trained, make_config):
    weights = str(CheckpointStore(trained.work_dir).path(8))
    transductive = {"model.setting": "transductive"}
    with pytest.raises(ValueError, match="init_from"):
        Runner(make_config(transductive)).train()
    cfg = make_config(transductive, init_from=weights, max_iters=1)
    runner = Runner(cfg)
    runner.train()
    pointer = str(runner.store.folder / POINTER)
    with pytest.raises(ValueError, match=rf"^(?=.*{re.escape(pointer)}).*\btransductive\b"):
        Runner(make_config(transductive, init_from=pointer)).train()


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({"setting": "full"}, r"\bfull\b"),
        ({"class_names": '["red", "grey"]'}, r"\bgrey\b.*\bblue\b"),
        ({"class_names": '["blue", "red"]'}, r"\border\b"),
        ({"unseen": "[0]"}, r"\bunseen\b.*\bred\b.*\bblue\b"),
        (
            {"architecture": '{"type": "CLIPRC", "num_regions": 4}'},
            r"model\.backbone\.num_regions=4\b.*\b16\b",
        ),
    ],
)
def test_initial_weights_of_another_run_are_refused(metadata, message):
    dataset = SimpleNamespace(class_names=("red", "blue"), unseen=(1,))
    model = CLIPRCArchitecture(num_regions=16)
    right = {
        "setting": "inductive",
        "class_names": '["red", "blue"]',
        "unseen": "[1]",
        "architecture": '{"type": "CLIPRC", "num_regions": 16}',
    }
    checkpoints.check_initial_weights("a.safetensors", right, dataset, model)
    checkpoints.check_initial_weights("release.pth", {}, dataset, model)
    with pytest.raises(ValueError, match=message):
        checkpoints.check_initial_weights("a.safetensors", {**right, **metadata}, dataset, model)


def test_fine_tuning_takes_any_classes_and_any_setting_but_the_same_model():
    model = CLIPRCArchitecture(num_regions=16)
    other = {
        "setting": "transductive",
        "class_names": '["red", "grey"]',
        "architecture": '{"type": "CLIPRC", "num_regions": 16}',
    }
    checkpoints.check_same_model("a.safetensors", other, model)
    with pytest.raises(ValueError, match=r"model\.backbone\.num_regions=4\b.*\b16\b"):
        wrong = {**other, "architecture": '{"type": "CLIPRC", "num_regions": 4}'}
        checkpoints.check_same_model("a.safetensors", wrong, model)
    note = checkpoints.fine_tuning_note(other, ("red", "blue", "green"))
    assert re.search(r"\b2 classes\b.*\b3\b.*\b2\b.*blue, green", note)
    assert "does not record" in checkpoints.fine_tuning_note({}, ("red",))


def test_fine_tuning_starts_from_another_run(trained, make_config):
    weights = str(CheckpointStore(trained.work_dir).path(8))
    renamed = {"dataset.train": dict(type="TestStripes", names=("rot", "green", "blau"))}
    with pytest.raises(ValueError, match="fine_tune=True"):
        Runner(make_config(renamed, init_from=weights)).train()
    with pytest.raises(ValueError, match="init_from"):
        Runner(make_config(renamed, fine_tune=True)).train()
    cfg = make_config(renamed, init_from=weights, fine_tune=True, max_iters=1)
    Runner(cfg).train()
    assert re.search(r"fine-tuning.*2 are new \(rot, blau\)", Path(cfg.work_dir, "log.txt").read_text())


def test_a_start_that_is_not_half_way_is_remarked():
    assert checkpoints.half_way_note({"iteration": "6", "config": "seed = 1\nmax_iters = 12\n"}) == ""
    note = checkpoints.half_way_note({"iteration": "4", "config": "max_iters = 12\n"})
    assert re.search(r"init_from.*\b4\b.*\b12\b", note)
    assert checkpoints.half_way_note({}) == ""


def test_a_checkpoint_of_another_architecture_lists_both_sides(trained, make_config):
    weights = str(CheckpointStore(trained.work_dir).newest())
    with pytest.raises(ValueError) as error:
        Runner(make_config({"model.hidden": 2})).val(weights)
    for part in (r"backbone\.weight\b.*\(3, 3\).*\(5, 3\)", r"model\.hidden\b.*\b2\b", re.escape(weights)):
        assert re.search(part, str(error.value))
    shapes = {"a": (1,), "ours.b": (2,)}
    with pytest.raises(ValueError, match=r"\b1\b.*\bours\.b\b.*\b1\b.*\btheirs\.c\b"):
        check_parameters({"a": np.zeros(1), "theirs.c": np.zeros(1)}, shapes, "x")


def test_resume_refuses_a_checkpoint_of_another_run(trained, make_config):
    weights = str(CheckpointStore(trained.work_dir).newest())
    with pytest.raises(ValueError, match=r"--seed\D*5\b"):
        Runner(make_config(seed=6)).train(resume=weights)
    with pytest.raises(ValueError, match=r"max_iters\D*10\b"):
        Runner(make_config(max_iters=10)).train(resume=weights)
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        Runner(make_config()).train(resume="nowhere.safetensors")


def test_other_clip_weights_are_refused(make_config, tmp_path):
    clip = tmp_path / "clip.bin"
    clip.write_bytes(b"one")
    cfg = make_config({"model.clip": str(clip)}, max_iters=1)
    Runner(cfg).train()
    clip.write_bytes(b"two")
    with pytest.raises(ValueError, match=r"^(?=.*clip\.bin)(?=.*\bmodel\.clip\b).*SHA-256"):
        Runner(cfg).val()


def test_a_loss_that_is_not_finite_stops_with_every_term(make_config):
    cfg = make_config({"dataset.train.poison": True})
    with pytest.raises(FloatingPointError, match=r"\b1\b.*loss_fit=.*loss_size=.*total="):
        Runner(cfg).train()
    assert CheckpointStore(cfg.work_dir).newest() is None
    with np.load(Path(cfg.work_dir, "bad_batch_iter_1_rank_0.npz")) as kept:
        assert kept["image"].max() > 1e38 and len(kept["names"]) == len(kept["label"]) == 2


def test_weights_that_are_not_finite_are_not_saved(make_config):
    cfg = make_config(
        {"optimizer.lr": 3e38, "optimizer.lr_mult": {"decode_head": 10.0}, "scheduler.warmup_iters": 0},
        max_iters=1,
    )
    with pytest.raises(
        FloatingPointError, match=r"\b(backbone\.weight|decode_head\.bias)\b.*\b1\b.*optimizer\.lr"
    ):
        Runner(cfg).train()
    assert CheckpointStore(cfg.work_dir).newest() is None


def test_a_typo_fails_before_anything_is_built(make_config):
    with pytest.raises(ValueError, match=r"\bmodel\.niose\b.*\bnoise\b"):
        Runner(make_config({"model.niose": 0.0}))
    wrong = make_config({"dataset.train.length": -1})
    with pytest.raises(ValueError, match=r"\bdataset\.train\b.*\blength\b.*-1\b"):
        Runner(wrong).train()
    assert not Path(wrong.work_dir).exists()  # nothing happened there


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_happened(
    trained, make_config, monkeypatch, number, code
):
    """In iteration 7, between two log lines: the mean of 7 and 8 must still be logged at 8."""
    cfg = make_config()
    killed = Runner(cfg)
    seed = stepping.seed_everything

    def signal_late(own_seed, iteration, *rest):
        seed(own_seed, iteration, *rest)
        if iteration == 6:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(stepping, "seed_everything", signal_late)
    # However the suite was started, it is not ignored.
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match=r"\b7\b.*iter_7\.safetensors") as stop:
            killed.train()
    finally:
        signal.signal(number, before)
    assert stop.value.exit_code == code
    monkeypatch.undo()
    Runner(cfg).train(resume="auto")
    assert read_log(cfg.work_dir) == read_log(trained.work_dir)
    assert read_log(cfg.work_dir, "eval.jsonl") == read_log(trained.work_dir, "eval.jsonl")
    assert CheckpointStore(cfg.work_dir).iterations() == [4, 8, 12]


def test_an_evaluation_that_was_cut_off_is_repeated(trained, make_config, monkeypatch):
    cfg = make_config()
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_evaluate", lambda *arguments, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Runner(cfg).train()
    assert CheckpointStore(cfg.work_dir).iterations() == [4, 8, 12]
    Runner(cfg).train(resume="auto")
    assert read_log(cfg.work_dir, "eval.jsonl") == read_log(trained.work_dir, "eval.jsonl")


def test_unreadable_images_are_left_out_up_to_the_limit(make_config):
    cfg = make_config({"dataset.train.unreadable": [2]}, max_bad_images=1, max_iters=4)
    runner = Runner(cfg)
    runner.train()
    _, metadata = load_arrays(runner.store.newest())
    assert json.loads(metadata["bad_images"]) == {"stripes_2": "stripes_2: truncated"}
    log = Path(cfg.work_dir, "log.txt").read_text().splitlines()
    assert sum("stripes_2" in line for line in log) == 1
    with pytest.raises(ValueError, match=r"max_bad_images\b.*\b2\b"):
        Runner(make_config({"dataset.train.unreadable": [2, 4]}, max_bad_images=1)).train()


def test_fixed_images_do_not_count_after_a_resume(make_config):
    """One of two was fixed between the runs and another one
    breaks: still two, and not the three ever seen."""
    Runner(make_config({"dataset.train.unreadable": [2, 4]}, max_bad_images=2, max_iters=4)).train()
    cfg = make_config({"dataset.train.unreadable": [4, 5]}, max_bad_images=2, max_iters=8)
    runner = Runner(cfg)
    runner.train(resume="auto")
    _, metadata = load_arrays(runner.store.newest())
    assert set(json.loads(metadata["bad_images"])) == {"stripes_4", "stripes_5"}
    log = Path(cfg.work_dir, "log.txt").read_text().splitlines()
    assert sum("stripes_2" in line for line in log) == 2  # left out in the first run only
    with pytest.raises(ValueError, match=r"^(?=.*\b2\b)(?=.*\b1\b).*\bstripes_4, stripes_5\b"):
        Runner(make_config({"dataset.train.unreadable": [4, 5]}, max_bad_images=1, max_iters=12)).train(
            resume="auto"
        )


def test_an_unusable_work_folder_is_named(make_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="--work-dir"):
        Runner(make_config(work_dir=str(tmp_path / "file" / "run")))
