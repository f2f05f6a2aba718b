"""Every shipped config is built and runs for one iteration, at a reduced size, on miniature data."""

import json
from pathlib import Path

import numpy as np
import pytest

from jseg.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "clip_rc"
ZEGCLIP = CONFIGS.parent / "zegclip"
DATASETS = ("voc2012", "context", "coco_stuff")
TRAINED = [
    f"{dataset}_{setting}" for dataset in DATASETS for setting in ("inductive", "transductive", "full")
]
ABLATIONS = sorted(f"ablations/{path.stem}" for path in (CONFIGS / "ablations").glob("*.py"))
CROSS = ["coco_stuff_to_context60", "coco_stuff_to_context59"]
# And what runs them.
OTHERS = {"custom": "test_custom_data.py", "zeroshapes": "make demo", "zerowords": "docs/zerowords.md"}


def test_no_config_is_forgotten():
    names = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.py")}
    assert names - {name for name in names if name.startswith(tuple(OTHERS))} == set(
        TRAINED + ABLATIONS + CROSS
    )


@pytest.fixture(scope="module")
def work_root(tmp_path_factory, data_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JSEG_DATA_ROOT", str(data_root))
        yield tmp_path_factory.mktemp("work_dirs")


def runner_of(name, work_root, reduced, *more):
    from jseg.runner import Runner

    path = str((ZEGCLIP if name.startswith("zegclip") else CONFIGS) / f"{name}.py")
    overrides = [*reduced(Config.load(path)), f"work_dir={work_root / name}", "max_iters=1", *more]
    return Runner(Config.load(path, overrides))


def inductive_checkpoint(name, work_root):
    return work_root / f"{name.split('_to_')[0].rsplit('_', 1)[0]}_inductive/checkpoints/iter_1.safetensors"


@pytest.mark.parametrize("name", TRAINED + ABLATIONS)
def test_a_config_trains_for_one_iteration(name, work_root, reduced):
    more = []
    if name.endswith("transductive"):
        more.append(f"init_from={inductive_checkpoint(name, work_root)}")
    if name in ABLATIONS:  # what differs is the model; one image tells that it predicts
        more.append("dataset.val.split=one")
    runner = runner_of(name, work_root, reduced, *more)
    runner.train()
    record = json.loads((work_root / name / "log.jsonl").read_text())
    terms = {key for key in record if key.startswith(("loss", "recovery"))}
    recovery = runner.cfg.model["decode_head"]["recovery"]
    recovers = recovery is not None and recovery["weight"] > 0
    assert terms == {"loss_mask", "loss_dice"} | (
        {"recovery_loss_q", "recovery_loss_k"} if recovers else set()
    )
    assert all(np.isfinite(record[term]) for term in terms)
    metrics = json.loads((work_root / name / "metrics.json").read_text())
    counts = {"context": (60, 10), "coco_stuff": (171, 15)}.get(name.rsplit("_", 1)[0], (20, 5))
    assert (len(metrics["per_class"]), sum(row["unseen"] for row in metrics["per_class"])) == counts


@pytest.mark.parametrize("setting", ["inductive", "transductive", "full"])
def test_zegclip_trains_in_every_setting(setting, work_root, reduced):
    name, more = f"zegclip_voc2012_{setting}", ["dataset.val.split=one"]
    if setting == "transductive":
        more.append(f"init_from={inductive_checkpoint(name, work_root)}")
    runner_of(name, work_root, reduced, *more).train()
    record = json.loads((work_root / name / "log.jsonl").read_text())
    assert {key for key in record if key.startswith(("loss", "recovery"))} == {"loss_mask", "loss_dice"}
    assert np.isfinite(record["total"])


@pytest.mark.parametrize("path", sorted(ZEGCLIP.glob("*.py")), ids=lambda path: path.stem)
def test_a_config_of_zegclip_names_what_there_is(path):
    from jseg.config import validate
    from jseg.runner import REGISTRIES

    validate(Config.load(path), REGISTRIES)


@pytest.mark.parametrize("name", CROSS)
def test_the_coco_model_is_tested_on_context(name, work_root, reduced):
    checkpoint = inductive_checkpoint("coco_stuff_inductive", work_root)
    summary = runner_of(name, work_root, reduced).val(str(checkpoint))
    assert len(summary["per_class"]) == int(name[-2:]) and np.isnan(summary["mIoU(U)"])
    assert summary["mIoU"] == summary["mIoU(S)"]


@pytest.mark.parametrize(
    "name, start, pattern",
    [
        ("context_transductive", "voc2012_inductive", r"init_from.*voc2012_inductive.*diningtable"),
        ("voc2012_transductive", "voc2012_full", r"init_from.*\bfull\b"),
        ("voc2012_transductive", "ablations/table6_4", r"init_from.*model\.backbone\.num_regions=4"),
        ("voc2012_transductive", "nowhere", r"init_from.*nowhere"),
    ],
)
def test_a_transductive_run_refuses_the_wrong_start(name, start, pattern, work_root, reduced):
    path = work_root / start / "checkpoints/iter_1.safetensors"
    with pytest.raises((ValueError, FileNotFoundError), match=pattern):
        runner_of(name, work_root / "refused", reduced, f"init_from={path}").train()
