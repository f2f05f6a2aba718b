"""From archives to datasets: every format, resumption, and one
clear message for each thing that can be wrong."""

import errno
import json
import os
import re
import shutil

import miniature
import numpy as np
import pytest
from preparing import SOURCES, problems_of, work

from jseg.datasets import read_mask
from jseg.datasets.prepare import BENCHMARKS, Problems, check, prepare
from jseg.datasets.prepare.parallel import run_tasks

VOC, CONTEXT, COCO = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010", "coco_stuff164k"


def content(root, ending=".png"):
    """Relative path -> bytes of all masks and lists in a folder."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in (ending, ".txt")
    }


def context_masks(names):
    """Expected result of the conversion, by a loop over the class list."""
    masks = {
        name: miniature.classes_of(miniature.scene(name, miniature.CONTEXT_VALUES)[1], "context60")
        for name in names
    }
    return {name: np.where(mask == 255, 0, mask) for name, mask in masks.items()}


@pytest.mark.parametrize("name", list(SOURCES))
def test_archives_and_their_contents_give_the_same(name, tmp_path):
    """Once from the archives, kept in a folder of their own, and once from what a user has extracted."""
    miniature.pack(SOURCES[name](), tmp_path / "archives")
    miniature.unpack(SOURCES[name](), tmp_path / "b")
    first = prepare(name, work(tmp_path / "a", archives=tmp_path / "archives"))
    second = prepare(name, work(tmp_path / "b"))
    assert first.counts == second.counts and first.problems == second.problems == []
    made = content(first.home)
    assert made and all(content(second.home)[path] == data for path, data in made.items())
    assert problems_of(name, tmp_path / "a") == []
    assert not list(tmp_path.rglob("*.part")) and not list((tmp_path / "a").rglob("SegmentationObject"))
    assert len(list((tmp_path / "archives").iterdir())) == len(SOURCES[name]())


def test_lists_of_voc(tmp_path):
    miniature.unpack(miniature.voc2012(), tmp_path)
    report = prepare("voc2012", work(tmp_path))
    lists = {
        split: (tmp_path / VOC / f"ImageSets/Segmentation/{split}.txt").read_text().split()
        for split in ("aug", "trainaug")
    }
    assert lists == {
        "aug": sorted(miniature.SBD_ONLY),
        "trainaug": sorted(miniature.VOC_TRAIN + miniature.SBD_ONLY),
    }
    assert report.counts == {
        "images in train": 5,
        "images in val": 4,
        "images in aug": 8,
        "images in trainaug": 13,
    }
    masks = tmp_path / VOC / "SegmentationClassAug"
    assert sorted(path.stem for path in masks.iterdir()) == sorted(miniature.SBD)
    for name in miniature.SBD:
        np.testing.assert_array_equal(read_mask(masks / f"{name}.png"), miniature.sbd_mask(name))


def test_lists_of_context_from_either_source(tmp_path):
    """The JSON leaves out the last image of each list of VOC
    2010, as the original leaves out two and one."""
    for folder, source, less in (("json", miniature.context_json, 1), ("mat", miniature.context_mat, 0)):
        miniature.unpack(source(), tmp_path / folder)
        report = prepare("context", work(tmp_path / folder))
        assert report.counts == {"images in train": 6 - less, "images in val": 5 - less}
        masks = tmp_path / folder / CONTEXT / "SegmentationClassContext"
        expected = context_masks((*miniature.CONTEXT_TRAIN[: 6 - less], *miniature.CONTEXT_VAL[: 5 - less]))
        assert sorted(path.stem for path in masks.iterdir()) == sorted(expected)
        for name, mask in expected.items():
            np.testing.assert_array_equal(read_mask(masks / f"{name}.png"), mask, err_msg=f"{folder} {name}")


def test_later_regions_cover_earlier_ones(tmp_path):
    miniature.unpack(miniature.context_json(), tmp_path)
    path = tmp_path / CONTEXT / "trainval_merged.json"
    name = miniature.CONTEXT_TRAIN[0]
    shape = miniature.scene(name, miniature.CONTEXT_VALUES)[1].shape
    everything = miniature.compressed_rle(np.ones(shape, bool))
    left = np.zeros(shape, bool)
    left[:, :5] = True
    data = json.loads(path.read_text())
    image_id = int(name.replace("_", ""))
    data["annos_segmentation"] = [
        {"image_id": image_id, "category_id": 458, "segmentation": miniature.compressed_rle(left)},
        {"image_id": image_id, "category_id": 2, "segmentation": everything},
        {"image_id": image_id, "category_id": 9, "segmentation": miniature.compressed_rle(left)},
    ]
    path.write_text(json.dumps(data))
    prepare("context", work(tmp_path))
    mask = read_mask(tmp_path / CONTEXT / f"SegmentationClassContext/{name}.png")
    assert (mask[:, :5] == 2).all() and (mask[:, 5:] == 1).all()


def test_lists_of_the_json_are_kept_beside_mat_files(tmp_path):
    """The counts of the paper with masks of the other release: its lists are a part of VOC 2010's."""
    miniature.unpack(miniature.context_mat(), tmp_path)
    folder = tmp_path / CONTEXT / "ImageSets/SegmentationContext"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_bytes(miniature.lines(miniature.CONTEXT_TRAIN[:5][::-1]))
    assert prepare("context", work(tmp_path)).counts == {"images in train": 5, "images in val": 5}
    assert (folder / "train.txt").read_bytes() == miniature.lines(miniature.CONTEXT_TRAIN[:5][::-1])


def test_coco_values(tmp_path):
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    prepare("coco_stuff", work(tmp_path))
    name = miniature.COCO["val2017"][0]
    folder = tmp_path / COCO / "annotations/val2017"
    published, label = read_mask(folder / f"{name}.png"), read_mask(folder / f"{name}_labelTrainIds.png")
    np.testing.assert_array_equal(label, miniature.classes_of(published, "coco_stuff164k"))


def test_files_of_other_projects_beside_the_annotations(tmp_path):
    """Each `_instanceTrainIds.png` used to be treated as an annotation and reported as one without an
    image."""
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    folder = tmp_path / COCO / "annotations/val2017"
    foreign = [f"{name}_instanceTrainIds.png" for name in miniature.COCO["val2017"]]
    for name in (*foreign, "colours.png"):
        (folder / name).write_bytes(miniature.grey_png(np.full((2, 3), 254, np.uint8)))
    before = {path.name for path in folder.iterdir()}
    report = prepare("coco_stuff", work(tmp_path))
    made = {f"{name}_labelTrainIds.png" for name in miniature.COCO["val2017"]}
    assert {path.name for path in folder.iterdir()} - before == made
    assert report.problems == [] and report.counts["masks in val2017"] == len(made)
    (note,) = report.notes
    assert str(folder) in note and " 5 (" in note and foreign[0] in note and "colours.png" in note
    assert check("coco_stuff", work(tmp_path)).notes == report.notes


def test_foreign_files_among_community_masks(tmp_path):
    miniature.unpack(miniature.voc2012(), tmp_path)
    home = prepare("voc2012", work(tmp_path)).home
    lists = home / "ImageSets/Segmentation"
    expected = (lists / "aug.txt").read_text()
    for path in (lists / "aug.txt", lists / "trainaug.txt"):
        path.unlink()
    for found in tmp_path.rglob("cls"):
        shutil.rmtree(found)
    name = expected.split()[0]
    mask = home / "SegmentationClassAug" / f"{name}.png"
    mask.with_name(f"{name}_instance.png").write_bytes(mask.read_bytes())
    report = prepare("voc2012", work(tmp_path))
    assert (lists / "aug.txt").read_text() == expected and report.problems == []
    assert f"{name}_instance.png" in report.notes[0]


def test_every_published_value_of_coco(tmp_path):
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    name = miniature.COCO["val2017"][0]
    path = tmp_path / COCO / f"annotations/val2017/{name}.png"
    published = np.append(np.arange(182), [255] * 18).reshape(10, 20).astype(np.uint8)
    path.write_bytes(miniature.grey_png(published))
    (tmp_path / COCO / f"images/val2017/{name}.jpg").write_bytes(
        miniature.jpeg(np.zeros((10, 20, 3), np.uint8))
    )
    prepare("coco_stuff", work(tmp_path))
    label = read_mask(path.with_name(f"{name}_labelTrainIds.png")).reshape(-1)
    nothing = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]  # never drawn
    assert np.flatnonzero(label[:182] == 255).tolist() == nothing
    assert label[label != 255].tolist() == list(range(171)) and (label[182:] == 255).all()


def test_community_masks_need_no_sbd(tmp_path):
    """An existing SegmentationClassAug of other origin is kept, and only the lists are created."""
    miniature.unpack(miniature.voc2012(), tmp_path)
    prepare("voc2012", work(tmp_path))
    lists = tmp_path / VOC / "ImageSets/Segmentation"
    before = content(tmp_path / VOC)
    shutil.rmtree(tmp_path / "benchmark_RELEASE")
    (lists / "aug.txt").unlink()
    (lists / "trainaug.txt").unlink()
    assert prepare("voc2012", work(tmp_path)).problems == [] and content(tmp_path / VOC) == before


# ---- resumption ----


@pytest.mark.parametrize("name", list(SOURCES))
def test_what_is_done_stays_and_the_rest_is_made(name, tmp_path):
    miniature.pack(SOURCES[name](), tmp_path)
    home = prepare(name, work(tmp_path)).home
    made = content(home)
    masks = [
        path
        for path in sorted(home.rglob("*.png"))
        if f"{path.parent.name}/" != "SegmentationClass/"
        and (name != "coco_stuff" or path.stem.endswith("_labelTrainIds"))
    ]
    kept, gone, cut, empty = masks[:4]
    age = kept.stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-5])  # what a power cut may leave behind
    empty.write_bytes(b"")
    picture = next(home.rglob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:100])  # not the size of the archive's member
    assert prepare(name, work(tmp_path)).problems == []
    assert content(home) == made and kept.stat().st_mtime_ns == age
    assert problems_of(name, tmp_path) == []


def test_lists_of_the_same_ids_keep_their_order_and_others_are_not_overwritten(tmp_path):
    miniature.unpack(miniature.voc2012(), tmp_path)
    prepare("voc2012", work(tmp_path))
    path = tmp_path / VOC / "ImageSets/Segmentation/trainaug.txt"
    path.write_text("\n".join(reversed(path.read_text().split())))
    own = path.read_bytes()
    prepare("voc2012", work(tmp_path))
    assert path.read_bytes() == own
    path.write_bytes(own + b"\n2031_000007\n")
    with pytest.raises(ValueError, match=r"trainaug\.txt.*\b1\b.*2031_000007"):
        prepare("voc2012", work(tmp_path))
    assert path.read_bytes().startswith(own)


def test_process_that_dies_is_reported():
    with pytest.raises(ChildProcessError, match="--jobs"):
        run_tasks(os._exit, [1, 1, 1], 2, "label")


# ---- missing and bad sources ----


@pytest.mark.parametrize(
    "name, archive", [(name, archive) for name, source in SOURCES.items() for archive in source()]
)
def test_missing_archive_is_named(tmp_path, name, archive):
    archives = {other: members for other, members in SOURCES[name]().items() if other != archive}
    miniature.pack(archives, tmp_path)
    with pytest.raises(FileNotFoundError, match=re.escape(archive)):
        prepare(name, work(tmp_path))


def test_published_counts_are_demanded(tmp_path):
    miniature.unpack(miniature.voc2012(), tmp_path)
    report = prepare("voc2012", work(tmp_path, any_count=False))
    assert len(report.problems) == 4
    assert re.search(rf"{tmp_path / VOC}\b.*\b5\b.*\btrain\b.*\b1464\b", report.problems[0])
    assert check("voc2012", work(tmp_path, any_count=False)).problems == report.problems


def test_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    from jseg.datasets.prepare import files

    def full(path, *_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    miniature.unpack(miniature.voc2012(), tmp_path)
    monkeypatch.setattr(files, "save_mask", full)
    with pytest.raises(OSError, match=r"SegmentationClassAug/.*\.png.*No space left on device"):
        prepare("voc2012", work(tmp_path))
    assert not list((tmp_path / VOC / "SegmentationClassAug").iterdir())


def test_counts_of_context_come_in_pairs():
    from jseg.datasets.prepare.check import wrong_counts

    published = BENCHMARKS["context"].PUBLISHED

    def problems(train, val):
        return wrong_counts("home", {"images in train": train, "images in val": val}, published)

    assert problems(4996, 5104) == problems(4998, 5105) == []
    assert re.search(r"\b4990\b.*\btrain\b.*\b4996\b.*\b4998\b", problems(4990, 5105)[0])
    assert len(problems(4996, 5105)) == 1 and "home" in problems(4996, 5105)[0]


def test_published_counts():
    assert BENCHMARKS["voc2012"].PUBLISHED == (
        {
            "images in train": 1464,
            "images in val": 1449,
            "images in aug": 9118,
            "images in trainaug": 1464 + 9118,
        },
    )
    assert list(BENCHMARKS["coco_stuff"].PUBLISHED[0].values()) == [118287, 118287, 5000, 5000]


def refused(name, root, *patterns):
    """Prepares, expects a problem for each of `patterns`, and returns all."""
    with pytest.raises(Problems) as caught:
        prepare(name, work(root))
    text = "\n".join(caught.value.problems)
    assert all(re.search(pattern, text) for pattern in patterns), text
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def test_bad_sbd_annotations_are_all_named_and_the_others_converted(tmp_path):
    miniature.unpack(miniature.voc2012(), tmp_path)
    folder = tmp_path / "benchmark_RELEASE/dataset/cls"
    names = sorted(miniature.SBD_ONLY)
    mask = miniature.sbd_mask(names[0])
    mask[0, 0] = 21
    (folder / f"{names[0]}.mat").write_bytes(miniature.sbd_mat(mask))
    (folder / f"{names[1]}.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    (folder / f"{names[2]}.mat").unlink()
    (folder / f"{names[3]}.mat").write_bytes(miniature.matlab(LabelMap=mask))
    (folder / f"{names[4]}.mat").write_bytes(miniature.sbd_mat(miniature.sbd_mask(names[4])[:-1]))
    (folder / f"{names[5]}.mat").write_bytes(miniature.matlab(GTcls=mask))
    height, width = miniature.sbd_mask(names[4]).shape
    problems = refused(
        "voc2012",
        tmp_path,
        rf"{names[0]}\.mat.*\b21\b.*0\.\.20\b",
        rf"{names[2]}\.mat",
        rf"{names[3]}\.mat.*GTcls",
        rf"{names[4]}\.mat.*\b{width}x{height - 1}\b",
        rf"{names[5]}\.mat.*GTcls\.Segmentation",
    )
    assert len(problems) == 6 and f"{names[1]}.mat" in problems[1]
    assert len(list((tmp_path / VOC / "SegmentationClassAug").iterdir())) == len(miniature.SBD) - 6
    miniature.unpack(miniature.voc2012(), tmp_path)
    assert prepare("voc2012", work(tmp_path)).problems == []


def test_damaged_mat_files_never_break_it(tmp_path):
    from jseg.datasets.prepare.matlab import read_label_map, read_sbd

    rng = np.random.default_rng(0)
    for reader, data in (
        (read_sbd, miniature.sbd_mat(miniature.sbd_mask("x"))),
        (read_label_map, miniature.matlab(LabelMap=np.ones((40, 30), np.uint16))),
    ):
        for _ in range(60):
            broken = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.5 else data)
            for place in rng.integers(0, len(broken), 5):
                broken[place] = rng.integers(256)
            (tmp_path / "x.mat").write_bytes(broken)
            try:
                reader(tmp_path / "x.mat")
            except ValueError as problem:
                assert "x.mat" in str(problem)


def test_without_scipy(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.io", None)
    miniature.unpack(miniature.voc2012(), tmp_path)
    with pytest.raises(ValueError, match=r"\.mat\b.*SciPy.*pip install -e '\.\[datasets\]'"):
        prepare("voc2012", work(tmp_path))


def edited_json(root, edit):
    path = root / CONTEXT / "trainval_merged.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


CONTEXT_SIZE = "{1}x{0}".format(
    *miniature.scene(miniature.CONTEXT_TRAIN[0], miniature.CONTEXT_VALUES)[1].shape
)


@pytest.mark.parametrize(
    "edit, pattern",
    [
        (lambda first: first["segmentation"].update(counts="131"), rf"\b{CONTEXT_SIZE}\b"),
        (lambda first: first["segmentation"].update(size=[3, 3]), r"\b3x3\b"),
        (
            lambda first: first.update(segmentation=miniature.compressed_rle(np.ones((3, 3), bool))),
            rf"\b3x3\b.*\b{CONTEXT_SIZE}\b",
        ),
        (lambda first: first.update(category_id=460), r"\b460\b.*1\.\.459\b"),
        (lambda first: first.update(category_id="cat"), r"'cat'.*1\.\.459\b"),
        (lambda first: first.update(segmentation=[[1, 2]]), r"\bsize\b.*\bcounts\b"),
    ],
)
def test_bad_region_names_file_and_image(tmp_path, edit, pattern):
    miniature.unpack(miniature.context_json(), tmp_path)
    edited_json(tmp_path, lambda data: edit(data["annos_segmentation"][0]))
    problems = refused(
        "context", tmp_path, rf"trainval_merged\.json.*{miniature.CONTEXT_TRAIN[0]}.*{pattern}"
    )
    assert len(problems) == 1 and len(list((tmp_path / CONTEXT / "SegmentationClassContext").iterdir())) == 8


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.pop("images"),
        lambda data: data.pop("annos_segmentation"),
        lambda data: data["images"][0].pop("phase"),
        lambda data: data.update(images=[3]),
    ],
)
def test_another_json(tmp_path, edit):
    miniature.unpack(miniature.context_json(), tmp_path)
    edited_json(tmp_path, edit)
    with pytest.raises(ValueError, match=r"trainval_merged\.json.*images.*annos_segmentation"):
        prepare("context", work(tmp_path))


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff\xfe", b'{"images": [{"file'])
def test_damaged_json(tmp_path, damage):
    miniature.unpack(miniature.context_json(), tmp_path)
    (tmp_path / CONTEXT / "trainval_merged.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"trainval_merged\.json"):
        prepare("context", work(tmp_path))


def test_bad_stuff_maps(tmp_path):
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    folder = tmp_path / COCO / "annotations/train2017"
    first, second, third, fourth = miniature.COCO["train2017"][:4]
    label = read_mask(folder / f"{first}.png")
    label[0, 0] = 182
    (folder / f"{first}.png").write_bytes(miniature.grey_png(label))
    (folder / f"{second}.png").write_bytes(miniature.grey_png(label[1:]))
    (folder / f"{third}.png").write_bytes(b"no image")
    (tmp_path / COCO / f"images/train2017/{fourth}.jpg").unlink()
    height, width = label.shape
    refused(
        "coco_stuff",
        tmp_path,
        rf"{first}\.png.*\b182\b.*0\.\.181\b.*\b255\b",
        rf"{second}\.png.*\b{width}x{height - 1}\b",
        rf"{third}\.png",
        rf"{fourth}\.jpg",
    )
