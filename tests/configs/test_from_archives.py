"""From the official archives to scores, with the commands in
the README, for each benchmark and setting."""

import json
from pathlib import Path

import miniature
import pytest

from jseg.cli import evaluate_masks, prepare_dataset, run_net
from jseg.config import Config

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "clip_rc"
ARCHIVES = {
    "voc2012": miniature.voc2012,
    "context": miniature.context_json,
    "coco_stuff": miniature.coco_stuff,
}
CLASS_LIST = {"voc2012": "voc2012", "context": "context60", "coco_stuff": "coco_stuff164k"}
MASKS = {
    "voc2012": "VOCdevkit/VOC2012/SegmentationClass",
    "context": "VOCdevkit/VOC2010/SegmentationClassContext",
    "coco_stuff": "coco_stuff164k/annotations/val2017",
}


def read_json(path):
    return json.loads(Path(path).read_text())


@pytest.mark.parametrize("dataset", ARCHIVES)
def test_archives_to_scores(dataset, tmp_path, monkeypatch, reduced):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSEG_DATA_ROOT", str(tmp_path / "data"))
    miniature.pack(ARCHIVES[dataset](), tmp_path / "data")
    assert prepare_dataset.main([dataset, "--any-count", "--jobs", "1"]) == 0
    for setting in ("inductive", "transductive", "full"):
        name = f"{dataset}_{setting}"
        path = str(CONFIGS / f"{name}.py")
        options = [*reduced(Config.load(path)), "max_iters=2", "checkpoint_interval=1"]
        if setting == "transductive":  # at half its length
            options.append(f"init_from=work_dirs/{dataset}_inductive/checkpoints/iter_1.safetensors")
        assert run_net.main(["--config", path, "--task", "train", "--set", *options]) == 0
        run = tmp_path / "work_dirs" / name
        after_training = read_json(run / "metrics.json")
        assert run_net.main(["--config", path, "--task", "val", "--save-predictions", "--set", *options]) == 0
        metrics = read_json(run / "metrics.json")
        assert metrics["per_class"] == after_training["per_class"]
        assert sum(row["pixels"] for row in metrics["per_class"] if row["unseen"]) > 0
    scores = tmp_path / "scores.json"
    assert (
        evaluate_masks.main(
            [
                str(run / "val_predictions"),
                str(tmp_path / "data" / MASKS[dataset]),
                "--dataset",
                CLASS_LIST[dataset],
                "--out",
                str(scores),
            ]
        )
        == 0
    )
    assert all(
        read_json(scores)[key] == metrics[key] for key in ("pAcc", "mIoU(S)", "mIoU(U)", "hIoU", "per_class")
    )
