"""The shipped configs: the paper's numbers, the releases'
recipe, and one config for each row of the paper's tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.cli.list_configs import experiment, find, header_fields
from jseg.config import Config
from jseg.config.config import merge

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "clip_rc"
KEYS = ("pAcc", "hIoU", "mIoU(S)", "mIoU(U)")
# The paper's rows of CLIP-RC, Tables 1 to 3 and 5 to 8.
PAPER = {
    "voc2012_inductive": (95.8, 88.4, 92.8, 84.4),
    "context_inductive": (76.2, 51.9, 47.5, 57.3),
    "coco_stuff_inductive": (63.1, 41.2, 40.9, 41.6),
    "voc2012_transductive": (97.0, 93.0, 93.9, 92.2),
    "context_transductive": (77.2, 55.1, 48.1, 64.5),
    "coco_stuff_transductive": (69.9, 49.7, 42.0, 60.8),
    "voc2012_full": (97.1, 93.7, 94.1, 93.4),
    "context_full": (76.9, 56.7, 47.1, 71.3),
    "coco_stuff_full": (70.8, 51.4, 42.9, 64.1),
    "ablations/table5_none": (94.6, 84.3, 91.9, 77.8),
    "ablations/table5_rlb": (95.2, 85.4, 91.5, 80.0),
    "ablations/table5_rlb_ram": (95.4, 87.4, 92.5, 82.9),
    "ablations/table6_16_updated": (95.8, 87.9, 93.3, 83.1),
    "ablations/table6_1": (95.3, 86.9, 92.5, 82.0),
    "ablations/table6_4": (95.6, 87.3, 92.6, 82.6),
    "ablations/table6_64": (96.0, 89.1, 93.0, 85.6),
    "ablations/table6_256": (96.0, 89.2, 92.7, 86.0),
    "ablations/table6_1024": (),
    "ablations/table7_none": (94.9, 85.6, 91.5, 80.5),
    "ablations/table7_cls": (95.4, 86.6, 92.1, 82.0),
    "ablations/table7_rlb": (95.7, 87.0, 92.9, 81.8),
    "ablations/table8_l2": (95.2, 86.7, 91.8, 81.9),
    "ablations/table8_kd": (95.4, 86.4, 92.2, 81.2),
    "ablations/table8_0_layers": (95.0, 86.6, 91.3, 82.1),
    "ablations/table8_2_layers": (95.4, 87.1, 92.4, 82.4),
    "ablations/table8_3_layers": (95.3, 87.0, 91.6, 82.8),
}
# The paper's rows of ZegCLIP, Tables 1 to 4.
ZEGCLIP = {
    "voc2012_inductive": (94.6, 84.3, 91.9, 77.8),
    "context_inductive": (76.2, 49.9, 46.0, 54.6),
    "coco_stuff_inductive": (62.0, 40.8, 40.2, 41.4),
    "voc2012_transductive": (96.2, 91.1, 92.3, 89.9),
    "context_transductive": (77.4, 54.0, 47.2, 63.2),
    "coco_stuff_transductive": (69.2, 48.5, 40.7, 59.9),
    "voc2012_full": (96.3, 91.6, 92.4, 90.9),
    "context_full": (77.4, 56.2, 46.9, 70.0),
    "coco_stuff_full": (69.9, 49.6, 40.7, 63.2),
}
# iterations, prompt tokens, focal, dice and recovery weight, templates: the releases' (Context: by analogy).
RECIPES = {
    "voc2012_inductive": (40000, 10, 100, 1, 2, "single"),
    "voc2012_transductive": (20000, 10, 100, 1, 2, "single"),
    "voc2012_full": (40000, 10, 100, 1, 0, "single"),
    "coco_stuff_inductive": (80000, 100, 200, 3, 50, "ensemble15"),
    "coco_stuff_transductive": (40000, 100, 200, 3, 50, "ensemble15"),
    "coco_stuff_full": (80000, 100, 100, 1.5, 1, "ensemble15"),
    "context_inductive": (40000, 35, 100, 1, 2, "ensemble15"),
    "context_transductive": (20000, 35, 100, 1, 2, "ensemble15"),
    "context_full": (40000, 35, 100, 1, 0, "ensemble15"),
}
# What a row of an ablation changes in the model of voc2012_inductive.
ABLATIONS = {
    "table5_none": dict(backbone=dict(num_regions=0), decode_head=dict(ram_inputs=(), recovery=None)),
    "table5_rlb": dict(decode_head=dict(ram_inputs=(), recovery=None)),
    "table5_rlb_ram": dict(decode_head=dict(recovery=None)),
    "table6_16_updated": dict(backbone=dict(train_regions=True)),
    **{f"table6_{m}": dict(backbone=dict(num_regions=m)) for m in (1, 4, 64, 256, 1024)},
    "table7_none": dict(decode_head=dict(ram_inputs=())),
    "table7_cls": dict(decode_head=dict(ram_inputs=("global",))),
    "table7_rlb": dict(decode_head=dict(ram_inputs=("region",))),
    "table8_l2": dict(decode_head=dict(recovery=dict(loss="l2"))),
    "table8_kd": dict(decode_head=dict(recovery=dict(loss="kd"))),
    **{f"table8_{n}_layers": dict(decode_head=dict(recovery=dict(num_layers=n))) for n in (0, 2, 3)},
}
# Table 4: pAcc, mIoU, mAcc.
CROSS = {"coco_stuff_to_context60": (62.1, 42.3, 68.8), "coco_stuff_to_context59": (70.9, 49.2, 69.9)}


def load(name):
    return Config.load(str(CONFIGS / f"{name}.py"))


def numbers(text):
    return {key: float(value) for key, value in re.findall(r"([\w()]+) ([\d.]+)", text)}


def test_every_row_of_the_paper_has_its_config_and_numbers():
    found = {
        path.relative_to(CONFIGS).with_suffix("").as_posix(): header_fields(path)
        for path in CONFIGS.rglob("*.py")
    }
    stated = {name: fields for name, fields in found.items() if "Paper" in fields}
    assert set(stated) == set(PAPER) | set(CROSS)
    for name, values in PAPER.items():
        assert numbers(stated[name]["Paper"]) == dict(zip(KEYS, values)), name
    for name, values in CROSS.items():
        assert numbers(stated[name]["Paper"]) == dict(zip(("pAcc", "mIoU", "mAcc"), values)), name
    for name, fields in stated.items():
        assert fields["Reproduces"].startswith("Table ") and fields["Measured"], name


@pytest.mark.parametrize("name", ZEGCLIP)
def test_zegclip_has_its_own_lengths_and_numbers(name):
    data, setting = name.rsplit("_", 1)
    path = CONFIGS.parent / "zegclip" / f"zegclip_{name}.py"
    assert numbers(header_fields(path)["Paper"]) == dict(zip(KEYS, ZEGCLIP[name]))
    cfg = Config.load(path)
    whole = {"voc2012": 20000, "context": 40000, "coco_stuff": 80000}[data]
    assert cfg.max_iters == (whole // 2 if setting == "transductive" else whole)
    assert cfg.eval_interval == cfg.checkpoint_interval == cfg.max_iters // 10
    assert cfg.model["loss"] == dict(type="NELLoss", focal_weight=100.0, dice_weight=1.0)
    assert cfg.model["decode_head"] == dict(
        type="ZegCLIPHead", num_layers=3, num_heads=8, dropout=0.1, init="released"
    )
    prompts = {"voc2012": 10, "context": 35, "coco_stuff": 100}[data]
    assert (cfg.model["backbone"]["num_prompts"], cfg.model["backbone"]["num_regions"]) == (prompts, 0)
    assert cfg.model["templates"] == ("single" if data == "voc2012" else "ensemble15")
    assert cfg.model["seen_bias"] == (0.0 if setting == "full" else 0.1)
    if setting == "transductive":
        inductive = f"zegclip_{data}_inductive"
        assert cfg.init_from == f"work_dirs/{inductive}/checkpoints/iter_{whole // 2}.safetensors"


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_is_the_releases(name):
    cfg, model = load(name), load(name).model
    iterations, prompts, focal, dice, recovery, templates = RECIPES[name]
    assert cfg.max_iters == iterations and cfg.eval_interval == cfg.checkpoint_interval == iterations // 10
    head = model["decode_head"]
    assert (
        model["backbone"]["num_prompts"],
        model["loss"]["focal_weight"],
        model["loss"]["dice_weight"],
        head["recovery"]["weight"],
        model["templates"],
    ) == (prompts, focal, dice, recovery, templates)
    assert model["setting"] == name.split("_")[-1] and model["seen_bias"] == (0.0 if "full" in name else 0.1)
    assert model["backbone"]["num_regions"] == 16 and head["recovery"]["num_layers"] == 1
    assert (head["num_layers"], head["num_heads"]) == (3, 8)
    assert (cfg.batch_size, cfg.optimizer["lr"], cfg.optimizer["weight_decay"]) == (16, 2e-5, 0.01)
    assert (cfg.scheduler["warmup_iters"], cfg.scheduler["power"], cfg.scheduler["min_lr"]) == (
        1500,
        0.9,
        1e-6,
    )
    assert {**cfg.inference} == dict(mode="slide", crop_size=512, stride=426, scales=(1.0,), flip=False)
    # Hence the releases', ImageNet mean and std.
    assert all("pipeline" not in part for part in cfg.dataset.values())
    assert cfg.data_root is None


@pytest.mark.parametrize("dataset", ["voc2012", "context", "coco_stuff"])
def test_a_transductive_run_finds_the_inductive_checkpoint_at_half_length(dataset):
    inductive, transductive = load(f"{dataset}_inductive"), load(f"{dataset}_transductive")
    half = inductive.max_iters // 2
    assert transductive.init_from == f"work_dirs/{dataset}_inductive/checkpoints/iter_{half}.safetensors"
    assert transductive.max_iters == half and half % inductive.checkpoint_interval == 0
    kept_later = (inductive.max_iters - half) // inductive.checkpoint_interval + 1
    assert inductive.keep_checkpoints >= kept_later  # not removed before the run ends


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_what_its_row_says_and_nothing_else(name):
    base, cfg = load("voc2012_inductive"), load(f"ablations/{name}")
    assert {**base, "model": merge(base.model, ABLATIONS[name])} == dict(cfg)


def test_cross_dataset_evaluation_takes_the_coco_model_with_nothing_unseen():
    coco = load("coco_stuff_inductive")
    for name in CROSS:
        cfg = load(name)
        assert cfg.model == coco.model and "train" not in cfg.dataset and cfg.dataset["val"]["unseen"] == ()
        assert cfg.dataset["val"].get("background", True) is name.endswith("60")


def test_every_config_has_a_row():
    rows = {path: experiment(path) for path in find([])}
    assert len(rows) == len(list((ROOT / "configs").glob("[!_]*/**/*.py")))
    dense = rows[ROOT / "configs" / "dense_clip" / "dense_zeroshapes.py"]
    assert dense[1:4] == ("ZeroShapes", "without training", "")


def test_the_table_is_printed_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "list_configs.py"), "table6", "clip_rc/coco_stuff_to_context"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 + 6 + 2
    order = [re.search(r"(\w+)\.py", line).group(1) for line in lines[2:]]
    assert order[:3] == ["table6_1", "table6_4", "table6_16_updated"]
    cells = [cell.strip() for cell in lines[-2].strip("|").split("|")]
    assert re.fullmatch(r"COCO-Stuff\W+Context-59", cells[1]) and cells[2] == "inductive"
    assert numbers(cells[5]) == dict(zip(("pAcc", "mIoU", "mAcc"), CROSS["coco_stuff_to_context59"]))
    wrong = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "list_configs.py"), "table9"], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "table9" in wrong.stderr
