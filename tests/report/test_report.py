"""`jseg report`: what it reads, what the page shows, and what it refuses."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jseg.config import Config, dumped_from
from jseg.files import shipped_folder

jinja2 = pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from jseg.cli.report import main
from jseg.datasets import save_mask
from jseg.report import read_run, report_page
from jseg.report.examples import draw_examples
from jseg.report.page import distinct_names, group_runs, mean_and_deviation
from jseg.report.run import confusions

NAMES = ["red circle", "<b>blue</b> $ring", "green cross"]


def make_run(folder, seed=0, shift=0.0, classes=NAMES, **changes):
    """A work folder as a training leaves it, without training."""
    folder.mkdir(parents=True)
    config = shipped_folder("configs") / "clip_rc" / "voc2012_inductive.py"
    overrides = [f"seed={seed}", *(f"{key}={value}" for key, value in changes.items())]
    Config.load(config, overrides).dump(folder / "config.py")
    rows = [
        {"name": name, "unseen": index == 2, "iou": 60.0 + shift + index, "acc": 70.0, "pixels": 10}
        for index, name in enumerate(classes)
    ]
    scores = {"pAcc": 80.0 + shift, "mAcc": 71.0, "mIoU": 61.0 + shift, "mIoU(S)": 60.5, "mIoU(U)": 62.0}
    metrics = {"iter": 20, **scores, "hIoU": 61.24 + shift, "per_class": rows}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    matrix = np.diag([10] * len(classes))
    matrix[0, :2] = 6, 4
    (folder / "confusion.json").write_text(json.dumps({"classes": classes, "matrix": matrix.tolist()}))
    lines = [{"iter": i, "total": 3.0 / i, "loss_mask": 2.0 / i, "seconds": 0.5} for i in range(1, 20)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "eval.jsonl").write_text(json.dumps({"iter": 20, **scores, "hIoU": 61.24}) + "\n")
    images = [{"name": f"image{i}", "mIoU": 10.0 * i, "pAcc": 50.0} for i in (3, 1, 2)]
    (folder / "per_image.jsonl").write_text("".join(json.dumps(line) + "\n" for line in images) + '{"na')
    (folder / "environment.json").write_text(json.dumps({"cpu": "a CPU", "processes": 1, "threads": None}))
    (folder / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "panels.png")
    return folder


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects addresses."""

    void = ("meta", "img", "br", "use", "path", "image")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        values = dict(attrs)
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]
        self.ids += [values["id"]] if "id" in values else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def parsed(page):
    outline = Outline()
    outline.feed(page)
    assert not outline.open
    return outline


def test_a_page_of_one_run(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    outline = parsed(page)
    assert all(link.startswith(("#", "data:")) for link in outline.links), "nothing from outside"
    assert len(outline.ids) == len(set(outline.ids)), "ids of several charts would clash"
    assert page.count("<svg") == 3 and page.count("data:image/jpeg") == 1
    assert "61.2" in page and "88.4" in page, "own and the paper's hIoU"
    assert "&lt;b&gt;blue&lt;/b&gt; $ring" in page and "<b>blue" not in page
    assert re.search(r"40\.0 %", page), "4 of 10 pixels of a class are confused"
    assert page.index("image1</td>") < page.index("image3</td>"), "worst images first"
    assert "0.500 s per iteration" in page and "a CPU" in page
    assert len(page) < 3_000_000


def test_seeds_are_joined_and_others_compared(tmp_path):
    folders = [
        make_run(tmp_path / "a" / "run", seed=0),
        make_run(tmp_path / "b" / "run", seed=1, shift=2.0),
        make_run(tmp_path / "c" / "run", shift=-5.0, **{"model.backbone.num_regions": 4}),
    ]
    runs = [read_run(folder) for folder in folders]
    assert distinct_names(runs) == ["a/run", "b/run", "c/run"]
    groups = group_runs(runs, distinct_names(runs))
    assert [len(group.runs) for group in groups] == [2, 1]
    np.testing.assert_allclose(groups[0].scores["hIoU"], (62.24, np.sqrt(2)))
    page = report_page(runs)
    parsed(page)
    assert "62.2 ± 1.4" in page and "model.backbone.num_regions" in page
    assert re.search(r"green cross</td>.*?63\.0.*?57\.0.*?−6\.0", page, re.DOTALL)
    assert mean_and_deviation([3.0]) == (3.0, 0.0)


def test_what_a_run_has_not_written_is_left_out(tmp_path):
    folder = make_run(tmp_path / "run")
    for name in ("metrics.json", "confusion.json", "environment.json", "config.py", "eval.jsonl"):
        (folder / name).unlink()
    page = report_page([read_run(folder)])
    parsed(page)
    assert "Not evaluated yet" in page and page.count("<svg") == 1


def test_changes_against_the_source_config(tmp_path):
    run = read_run(make_run(tmp_path / "run", seed=3, max_iters=7))
    assert dumped_from(run.folder / "config.py").name == "voc2012_inductive.py"
    assert [(item.key, item.own) for item in run.changes] == [("max_iters", 7)]
    assert run.paper["hIoU"] == 88.4
    (run.folder / "config.py").write_text("max_itres = 3\n")
    assert "max_itres" in read_run(run.folder).config_problem


def test_worst_and_best_images_are_drawn_from_data_and_masks(tmp_path):
    folder = make_run(tmp_path / "run")
    data = tmp_path / "data"
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    (folder / "val_predictions").mkdir()
    for name in ("image1", "image2", "image3"):
        Image.new("RGB", (40, 30), "red").save(data / "images" / f"{name}.png")
        save_mask(data / "masks" / f"{name}.png", np.zeros((30, 40), np.uint8), [])
        save_mask(folder / "val_predictions" / f"{name}.png", np.ones((30, 40), np.uint8), [])
    (data / "classes.txt").write_text("red\nblue\n")
    source = shipped_folder("configs") / "clip_rc" / "custom_inductive.py"
    overrides = [f"data_root={data}", "dataset.val.split=None"]
    Config.load(source, overrides).dump(folder / "config.py")
    run = read_run(folder)
    assert draw_examples(run, ["image1", "image2"]).width > 400
    assert report_page([run]).count("data:image/jpeg") == 3
    assert draw_examples(run, ["image1", "nowhere"]) is None
    (data / "images" / "image1.png").unlink()
    assert report_page([read_run(folder)]).count("data:image/jpeg") == 1


def test_confusions_are_sorted_by_share():
    matrix = np.array([[5.0, 5, 0], [0, 0, 0], [1, 3, 96]])
    assert [(row["label"], row["prediction"], row["share"]) for row in confusions(matrix, "abc", 9)] == [
        ("a", "b", 0.5),
        ("c", "b", 0.03),
        ("c", "a", 0.01),
    ]


def test_many_classes_stay_small(tmp_path):
    names = [f"class {index}" for index in range(171)]
    page = report_page([read_run(make_run(tmp_path / "run", classes=names))])
    assert len(page) < 1_000_000 and "class 170" in page


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda folder: folder, "does not exist"),
        (lambda folder: folder.mkdir(), "metrics.json"),
        (lambda folder: (folder.mkdir(), (folder / "metrics.json").write_text("{")), "damaged"),
    ],
)
def test_refused(make, named, tmp_path, capsys):
    make(tmp_path / "run")
    assert main([str(tmp_path / "run")]) == 2
    assert named in capsys.readouterr().err
