"""The steps of docs/custom_dataset.md: check, train,
evaluate, score from disk, segment new images."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.checkpoints.native import load_arrays
from jseg.cli import check_dataset, evaluate_masks, run_net
from jseg.config import Config
from jseg.datasets import save_mask
from jseg.drawn.zeroshapes import CLASSES, draw_scene

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "clip_rc"


@pytest.fixture
def own_data(tmp_path):
    root = tmp_path / "mydata"
    for folder in ("images", "masks", "test"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        scene = draw_scene(0, "train", number)
        Image.fromarray(scene.image).save(root / f"images/{number}.png")
        save_mask(root / f"masks/{number}.png", scene.label, CLASSES.palette)
    Image.fromarray(draw_scene(0, "test", 0).image).save(root / "test/new.png")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES.names))
    (root / "unseen.txt").write_text("".join(f"{CLASSES.names[index]}\n" for index in CLASSES.unseen))
    return root


@pytest.mark.slow
def test_from_files_to_a_report(own_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config, run = str(CONFIGS / "custom_tiny.py"), tmp_path / "work_dirs/custom_tiny"
    options = ["--set", f"data_root={own_data}", "max_iters=2", "visualize.num_images=1", "batch_size=2"]
    assert check_dataset.main(["--config", config, *options]) == 0
    captured = capsys.readouterr()
    assert all(name in captured.out for name in CLASSES.names) and captured.err == ""
    assert run_net.main(["--config", config, "--task", "train", *options]) == 0
    assert (run / "pictures/panels.png").exists()
    assert (
        run_net.main(["--config", config, "--task", "val", "--save-predictions", "--per-image", *options])
        == 0
    )
    assert run_net.main(["--config", config, "--task", "test", *options]) == 0
    label = np.array(Image.open(run / "predictions/new.png"))
    assert label.shape == (64, 64) and label.max() < len(CLASSES.names)
    alone = tmp_path / "alone"  # without masks, lists and images to learn from
    alone.mkdir()
    for name in ("test", "classes.txt", "unseen.txt"):
        (own_data / name).rename(alone / name)
    (run / "predictions/new.png").unlink()
    moved = [option.replace(str(own_data), str(alone)) for option in options]
    assert run_net.main(["--config", config, "--task", "test", *moved]) == 0
    assert (np.array(Image.open(run / "predictions/new.png")) == label).all()
    for name in ("classes.txt", "unseen.txt"):
        (alone / name).rename(own_data / name)
    assert (
        evaluate_masks.main(
            [
                str(run / "val_predictions"),
                str(own_data / "masks"),
                "--classes",
                str(own_data / "classes.txt"),
                "--unseen",
                str(own_data / "unseen.txt"),
                "--out",
                "scores.json",
            ]
        )
        == 0
    )
    scores, metrics = (
        json.loads(path.read_text()) for path in (tmp_path / "scores.json", run / "metrics.json")
    )
    assert scores["per_class"] == metrics["per_class"]


def test_every_bad_file_is_listed(own_data, capsys):
    options = ["--config", str(CONFIGS / "custom_inductive.py"), "--set", f"data_root={own_data}"]
    picture = own_data / "images/3.png"
    picture.write_bytes(picture.read_bytes()[:200])
    save_mask(own_data / "masks/5.png", np.full((64, 64), 99, np.uint8), [])
    assert check_dataset.main(options) == 1
    captured = capsys.readouterr()
    assert re.search(r"\b2\b", captured.out.splitlines()[-1]) and "images/3.png" in captured.err
    assert re.search(r"masks/5\.png.*\b99\b", captured.err)
    (own_data / "masks/6.png").unlink()
    assert check_dataset.main(options) == 2
    assert re.search(r"masks.*'6'", capsys.readouterr().err)


def test_the_config_for_real_images_runs_reduced(own_data, tmp_path, reduced):
    from jseg.runner import Runner

    path = str(CONFIGS / "custom_inductive.py")
    Runner(
        Config.load(
            path,
            [
                *reduced(Config.load(path)),
                f"data_root={own_data}",
                "max_iters=1",
                f"work_dir={tmp_path / 'run'}",
            ],
        )
    ).train()
    assert (tmp_path / "run/metrics.json").exists()


@pytest.mark.parametrize("name, words, tokens, context", [("inductive", 12, 90, 77), ("tiny", 4, 34, 32)])
def test_a_class_word_too_long_for_clip_is_found_by_the_check(
    name, words, tokens, context, own_data, tmp_path, capsys
):
    """The context is that of the config's CLIP, and the template counts; training says the same."""
    word = ("a very long description of a thing " * words).strip()
    path = own_data / "classes.txt"
    path.write_text(path.read_text().replace(CLASSES.names[0], word))
    (own_data / "unseen.txt").unlink()
    options = ["--config", str(CONFIGS / f"custom_{name}.py"), "--set", f"data_root={own_data}"]
    found = rf"dataset\.train\.classes \(classes\.txt\).*a very long.*\b{tokens}\b.*\b{context}\b"
    assert check_dataset.main(options) == 1
    assert re.search(found, capsys.readouterr().err)
    if name == "tiny":
        assert run_net.main([*options, f"work_dir={tmp_path / 'run'}", "--task", "train"]) == 2
        assert re.search(found, capsys.readouterr().err)


def test_fine_tuning_takes_everything_over_but_the_words(own_data, tmp_path):
    """With a rate of 0, what is saved are the arrays of the checkpoint that comes with jseg."""
    from jseg.runner import Runner

    for path in (own_data / "masks").iterdir():
        label = np.array(Image.open(path))
        save_mask(path, np.where(label < 255, label % 4, 255), CLASSES.palette)
    (own_data / "classes.txt").write_text("circle\ntriangle\ncross\nring\n")
    (own_data / "unseen.txt").write_text("ring\n")
    options = (f"data_root={own_data}", "max_iters=1", "batch_size=2", "visualize.num_images=0")
    run = tmp_path / "run"
    config = str(CONFIGS / "custom_fine_tune_tiny.py")
    Runner(Config.load(config, [*options, f"work_dir={run}", "optimizer.lr=0.0"])).train()
    before, _ = load_arrays(CONFIGS.parents[1] / "weights/zeroshapes_clip_rc.safetensors")
    after, metadata = load_arrays(run / "checkpoints/iter_1.safetensors")
    assert len(before) == 146 and all(np.array_equal(after[name], before[name]) for name in before)
    assert json.loads(metadata["class_names"]) == ["circle", "triangle", "cross", "ring"]


@pytest.mark.parametrize(
    "name, trained", [("custom_fine_tune", "voc2012"), ("custom_fine_tune_coco_stuff", "coco_stuff")]
)
def test_fine_tuning_describes_the_model_that_it_starts_from(name, trained):
    tuned, whole = (Config.load(str(CONFIGS / f"{path}.py")) for path in (name, f"{trained}_inductive"))
    assert tuned.fine_tune and not whole.fine_tune and tuned.init_from is None
    assert tuned.model == whole.model and tuned.inference == whole.inference
    assert tuned.optimizer["lr"] < whole.optimizer["lr"] and tuned.max_iters < whole.max_iters
