"""Config files: inheritance, overrides, typos, broken files, and the dump."""

import re
import textwrap

import pytest

from jseg.config import Config, validate
from jseg.registry import Registry

BASE = """
    model = dict(type='Net', num_regions=16, head=dict(layers=3, heads=8))
    dataset = dict(train=dict(type='Set', pipeline=[dict(type='Crop', size=96)]))
    optimizer = dict(type='Opt', lr=1e-3, lr_mult={'backbone': 10.0})
    scheduler = dict(type='Poly')
    max_iters = 100
    batch_size = 4
"""


def assert_names(error, parts):
    """The message contains every part as a separate word."""
    for part in parts:
        assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", str(error.value)), (part, error.value)


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write_file


@pytest.fixture
def registries():
    models, datasets, transforms, optimizers, schedulers = (
        Registry(kind, supplied=supplied)
        for kind, *supplied in (
            ("model", "class_names"),
            ("dataset", "data_root"),
            ("transform",),
            ("optimizer", "parameters"),
            ("scheduler", "max_iters"),
        )
    )

    @models.register("Net")
    def net(class_names, num_regions: int = 4, head=None, clip: str = ""):
        """A model."""

    @datasets.register("Set")
    def dataset(data_root: str, pipeline=None, seed: int = 0):
        """A dataset."""

    @transforms.register("Crop")
    def crop(size: int):
        """A transform."""

    @optimizers.register("Opt")
    def optimizer(parameters, lr: float, lr_mult=None):
        """An optimizer."""

    @schedulers.register("Poly")
    def poly(max_iters: int, power: float = 0.9):
        """A schedule."""

    return {
        "model": models,
        "dataset.*": datasets,
        "dataset.*.pipeline.#": transforms,
        "optimizer": optimizers,
        "scheduler": schedulers,
    }


def test_bases_are_merged_deeply_and_relative_to_the_file(write):
    write("_base_/net.py", BASE)
    write("_base_/more.py", "seed = 3\nmax_iters = 50\n")
    path = write(
        "leaf/run.py",
        """
        import os
        _base_ = ['../_base_/net.py', '../_base_/more.py']
        _half = 8
        def double(x): return 2 * x
        model = dict(num_regions=double(_half) // 4, head=dict(heads=2))
    """,
    )
    cfg = Config.load(path)
    assert cfg.model == {"type": "Net", "num_regions": 4, "head": {"layers": 3, "heads": 2}}
    assert (cfg.seed, cfg.max_iters, cfg["batch_size"]) == (3, 50, 4)
    assert cfg.log_interval == 50  # a default of the schema
    assert "_half" not in cfg and "os" not in cfg


def test_delete_replaces_the_inherited_dict(write):
    write("base.py", BASE)
    path = write(
        "run.py", "_base_ = 'base.py'\nmodel = dict(_delete_=True, type='Net', head=dict(_delete_=True))\n"
    )
    assert Config.load(path).model == {"type": "Net", "head": {}}


def test_overrides_are_literals_or_strings_and_reach_lists(write):
    cfg = Config.load(
        write("run.py", BASE),
        [
            "model.num_regions=4",
            "optimizer.lr=1e-4",
            "dataset.train.pipeline.0.size=(8, 8)",
            "data_root=data/voc 2012",
            "model.flag=False",
            "model.other=false",
            "optimizer.lr_mult.decode_head=3",
            "work_dir=a=b",
            "eval_interval=none",
        ],
    )
    assert cfg.model["num_regions"] == 4 and cfg.optimizer["lr"] == 1e-4
    assert cfg.dataset["train"]["pipeline"][0]["size"] == (8, 8)
    assert cfg.data_root == "data/voc 2012" and cfg.work_dir == "a=b" and cfg.eval_interval is None
    assert cfg.model["flag"] is False and cfg.model["other"] is False
    assert cfg.optimizer["lr_mult"] == {"backbone": 10.0, "decode_head": 3}


@pytest.mark.parametrize(
    "override, parts",
    [
        ("modle.num_regions=4", ["modle", "model"]),
        ("max_itres=4", ["max_itres", "max_iters"]),
        ("optimizer.lr_mult=dict(backbone=2.0)", ["optimizer.lr_mult", "{'key': value}"]),
        ("max_iters=many", ["max_iters", "int", "'many'"]),
        ("max_iters=0", ["max_iters", "0", "1"]),
        ("inference.crop=4", ["inference.crop", "crop_size"]),
        ("model.haed.layers=1", ["model.haed", "head"]),
        ("model.num_regions.x=1", ["model.num_regions", "16"]),
        ("dataset.train.pipeline.3.size=1", ["pipeline.3", "0"]),
        ("model.num_regions", ["key=value"]),
        ("model.num_regions=[1,", ["[1,", "Python"]),
    ],
)
def test_wrong_overrides_are_explained(write, override, parts):
    """The error does not blame the file."""
    with pytest.raises(ValueError) as error:
        Config.load(write("run.py", BASE), [override])
    assert_names(error, parts)
    assert f"--set {override}"[:9] in str(error.value)
    assert "run.py" not in str(error.value)


@pytest.mark.parametrize(
    "override, parts",
    [
        ("model.num_regoins=4", ["model.num_regoins", "num_regions"]),
        ("model.num_regions=four", ["model.num_regions", "int", "'four'"]),
        ("model.type=Nett", ["model.type", "'Nett'", "Net"]),
        ("dataset.train.pipeline.0.sice=4", ["dataset.train.pipeline.0.sice", "size"]),
        ("dataset.train.pipline=4", ["dataset.train.pipline", "pipeline"]),
        ("scheduler.pwoer=1.0", ["scheduler.pwoer", "power"]),
    ],
)
def test_validation_judges_constructor_arguments(write, registries, override, parts):
    path = write("run.py", BASE)
    validate(Config.load(path), registries)
    assert Config.load(path, ["model.clip=weights/clip"], registries).model["clip"] == "weights/clip"
    with pytest.raises(ValueError) as error:
        Config.load(path, [override], registries)
    assert_names(error, parts)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("max_iters = 3\nmodel = dict(\n", ["run.py", "line 2"]),
        ("max_iters = 3\n\nmodel = dict(a=missing)\n", ["run.py", "line 3", "NameError", "missing"]),
        ("_base_ = 'nowhere.py'\n", ["nowhere.py", "run.py"]),
        ("_base_ = 3\n", ["_base_", "3"]),
        ("_base_ = 'run.py'\n", ["run.py -> run.py"]),
        ("max_itres = 3\n", ["max_itres", "max_iters", "run.py"]),
        ("max_bad_pictures = 3\n", ["max_bad_pictures", "max_bad_images", "run.py"]),
        ("max_iters = 3\n", ["model", "run.py", "_base_"]),
        (
            "import numpy as np\nmodel = dict(a=np.zeros(3))\n"
            + textwrap.dedent(BASE).replace("model", "_model"),
            ["model.a", "array([0., 0., 0.])"],
        ),
    ],
)
def test_broken_files_are_explained_with_their_place(write, text, parts):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        Config.load(write("run.py", text))
    assert_names(error, parts)


def test_a_cycle_over_two_files_is_named(write):
    write("a.py", "_base_ = 'b.py'\n")
    write("b.py", "_base_ = 'a.py'\n")
    with pytest.raises(ValueError, match="a.py -> b.py -> a.py"):
        Config.load(write("a.py", "_base_ = 'b.py'\n"))


def test_access_to_a_misspelt_key_suggests(write):
    cfg = Config.load(write("run.py", BASE))
    with pytest.raises(AttributeError, match="max_itres.*max_iters"):
        _ = cfg.max_itres
    with pytest.raises(KeyError, match="max_itres.*max_iters"):
        cfg["max_itres"]


def test_the_dump_runs_again_and_gives_the_same(write, tmp_path):
    cfg = Config.load(write("run.py", BASE), ['model.note=it\'s "quoted"\\', "model.sizes=(1,)", "seed=7"])
    cfg.dump(str(tmp_path / "dumped.py"))
    assert Config.load(str(tmp_path / "dumped.py")) == cfg


def test_a_loaded_config_shares_nothing_with_the_schema_defaults(write):
    path = write("run.py", BASE)
    Config.load(path).inference["mode"] = "changed"
    assert Config.load(path).inference["mode"] == "slide"


def test_imports_of_bases_are_joined_and_kept_by_the_dump(write, tmp_path):
    write("base.py", BASE + "    imports = ['a.b', 'c']\n")
    cfg = Config.load(write("leaf.py", "_base_ = 'base.py'\nimports = ['d', 'c']\n"))
    assert cfg.imports == ["a.b", "c", "d"]
    cfg.dump(tmp_path / "again.py")
    assert Config.load(tmp_path / "again.py").imports == cfg.imports
    with pytest.raises(ValueError, match="imports.*list.*'my_head'"):
        Config.load(write("base.py", BASE), ["imports=my_head"])
