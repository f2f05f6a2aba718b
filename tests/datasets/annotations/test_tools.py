"""Forms of the other tools that their libraries do not write, with masks written down by hand."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from shapes import SIZE, box, label

from jseg.datasets import save_mask
from jseg.datasets.annotations.core import Options
from jseg.datasets.annotations.formats import read, recognised
from jseg.datasets.annotations.labelstudio import decode_brush
from jseg.datasets.annotations.regions import Unfit


def png(array, mode="L"):
    stream = io.BytesIO()
    Image.fromarray(array, mode).save(stream, format="PNG")
    return stream.getvalue()


def labelme_file(shapes, name="a.png", **more):
    return dict(shapes=shapes, imagePath=name, imageHeight=SIZE[0], imageWidth=SIZE[1], **more)


def test_labelme_masks_and_images_inside(write, converted):
    """A mask of Labelme's AI tools, and an image that is stored in the file alone. Labelme counts the outline
    as part of a region: 1..4 are four pixels."""
    ring = np.array([[255, 255, 255], [255, 0, 255], [255, 255, 255]], np.uint8)
    shapes = [
        dict(label="dog", shape_type="polygon", points=box(1, 1, 4, 4)),
        dict(
            label="cat", shape_type="mask", points=[[7, 4], [9, 6]], mask=base64.b64encode(png(ring)).decode()
        ),
        dict(label="cat", shape_type="line", points=[[0, 0], [3, 3]]),
        dict(label="_background_", shape_type="rectangle", points=[[2, 2], [2, 3]]),
    ]
    inside = base64.b64encode(png(np.full((*SIZE, 3), 9, np.uint8), "RGB")).decode()
    write("a.json", labelme_file(shapes, "C:\\photos\\a.png", imageData=inside))
    result, masks = converted("labelme")
    expected = label((1, 1, 1, 5, 5), (0, 7, 4, 10, 7), (255, 8, 5, 9, 6), (255, 2, 2, 3, 4))
    np.testing.assert_array_equal(masks["a"], expected)
    assert [problem.text for problem in result.problems] == ["shape 3: (cat) a line has no area"]
    assert result.names == ("cat", "dog")


def test_labelme_images_of_one_name_in_two_folders(image, write, converted, source):
    for folder in ("x", "y"):
        image(f"{folder}/a.png")
        write(f"{folder}/a.json", labelme_file([dict(label="cat", points=box(0, 0, 3, 3))], imageData=None))
    result, masks = converted("labelme")
    assert list(masks) == ["x_a", "y_a"] and not result.problems
    (source / "x/a.png").unlink()
    found = read("labelme", source, Options()).images
    assert [entry.image for entry in found] == [source / "y/a.png"]  # the same file serves both
    assert len(found[0].regions) == 2


CVAT = """<?xml version="1.0"?>
<annotations><meta><job><labels><label><name>dog</name></label></labels></job></meta>
<image id="0" name="set/a.png" width="12" height="8">
<box label="cat" xtl="4" ytl="1" xbr="6" ybr="7" rotation="90" z_order="0"/>
<polygon label="dog" points="0,0;3,0;3,3;0,3" z_order="2"/>
<mask label="cat" rle="1, 2, 1" left="1" top="1" width="2" height="2" z_order="1"/>
<ellipse label="dog" cx="10" cy="4" rx="1" ry="2" z_order="0"/>
<polyline label="dog" points="0,0;3,0" z_order="0"/><tag label="cat"/>
</image></annotations>"""


def test_cvat_layers_turned_boxes_and_ellipses(image, write, converted):
    """The dog of layer 2 covers the mask that follows it; the box, turned by 90 degrees, lies flat."""
    image("images/a.png")
    write("annotations.xml", CVAT)
    result, masks = converted("cvat")
    expected = label((1, 2, 3, 8, 5), (0, 0, 0, 3, 3), (0, 9, 2, 11, 6))
    # Centres of the corners: ((10.5 - 10) / 1)^2 + ((5.5 - 4) / 2)^2 = 0.81.
    np.testing.assert_array_equal(masks["a"], expected)
    assert result.names == ("dog", "cat")
    assert [problem.text for problem in result.problems] == [
        "shape 5 of image set/a.png: (dog) a polyline has no area"
    ]


def test_cvat_videos_are_refused(write, source):
    write("annotations.xml", '<annotations><track id="3" label="cat"/></annotations>')
    with pytest.raises(ValueError, match="track 3.*CVAT for images"):
        read("cvat", source, Options())


def studio(results, image="/data/local-files/?d=set/a.png", **more):
    sized = [dict(original_width=SIZE[1], original_height=SIZE[0], **result) for result in results]
    return [dict(data={"image": image}, annotations=[dict(result=sized)], **more)]


def test_label_studio_polygons_rectangles_and_ellipses(image, write, converted):
    percent = np.array([100 / SIZE[1], 100 / SIZE[0]])
    polygon = (np.array(box(0, 0, 3, 2)) * percent).tolist()
    place = dict(x=0, y=700 / 8, width=200 / 12, height=100 / 8, rotation=0)
    turned = dict(x=600 / 12, y=100 / 8, width=400 / 12, height=200 / 8, rotation=90, rectanglelabels=["dog"])
    circle = dict(
        x=1000 / 12, y=400 / 8, radiusX=100 / 12, radiusY=200 / 8, rotation=0, ellipselabels=["cat"]
    )
    results = [
        dict(type="polygonlabels", value=dict(points=polygon, polygonlabels=["cat"])),
        dict(type="rectanglelabels", value=turned),
        dict(type="ellipselabels", value=circle),
        dict(type="polygonlabels", value=dict(points=polygon, polygonlabels=["cat", "dog"])),
        dict(type="keypointlabels", value=dict(x=1, y=1, keypointlabels=["cat"])),
        dict(type="choices", value=dict(choices=["fine"])),
        # Place and words of one region in two entries, as with a tool and a list of labels side by side.
        dict(id="r", type="rectangle", value=place),
        dict(id="r", type="labels", value=dict(place, labels=["dog"])),
    ]
    image("set/a.png")
    write("export.json", studio(results))
    result, masks = converted("labelstudio")
    # The rectangle turns about its corner (6, 1), clockwise: it then reaches 2 to the left and 4 down.
    expected = label((0, 0, 0, 3, 2), (1, 4, 1, 6, 5), (0, 9, 2, 11, 6), (1, 0, 7, 2, 8))
    np.testing.assert_array_equal(masks["a"], expected)
    assert [("2 class names" in problem.text, "keypoint" in problem.text) for problem in result.problems] == [
        (True, False),
        (False, True),
    ]


def test_brush_strokes_by_hand():
    """n = 5 values of 8 bits, counts of 1, 2, 3 and 4 bits. A run of four 7s, then one value 9."""
    bits = f"{5:032b}" + "00111" + "0000" + "0001" + "0010" + "0011"
    bits += "1" + "01" + "11" + f"{7:08b}" + "0" + "00" + "0" + f"{9:08b}"
    packed = [int(bits[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(bits), 8)]
    assert decode_brush(packed).tolist() == [7, 7, 7, 7, 9]
    for wrong in (packed[:-2], packed[:4], [], [300], "x", None):
        with pytest.raises(Unfit):
            decode_brush(wrong)


def test_label_studio_short_export_is_refused(write, source):
    write("export.json", [dict(image="/data/upload/a.png", result=[], data={})])
    with pytest.raises(ValueError, match="JSON-MIN"):
        read("labelstudio", source / "export.json", Options())


@pytest.mark.parametrize("mode", ["ultralytics", "roboflow", "flat"])
def test_yolo_in_its_layouts(image, write, converted, mode):
    """Shares of width and height. A box has no outline, and a class without a name no word."""
    folders = {
        "ultralytics": ("images/{}", "labels/{}"),
        "roboflow": ("{}/images", "{}/labels"),
        "flat": ("images", "labels"),
    }[mode]
    shares = " ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in box(3, 2, 9, 6))
    for part, name in (("train", "a"), ("val", "b.c")):
        image(f"{folders[0].format(part)}/{name}.jpg")
        write(f"{folders[1].format(part)}/{name}.txt", f"1 {shares}\n\n0 0.5 0.5 0.1 0.1\n7 {shares}\n")
    if mode == "flat":
        write("classes.txt", "cat\ndog\n")
    else:
        write("data.yaml", "train: ../train/images\nval: images/val\nnames:\n  0: cat\n  1: dog\n")
    result, masks = converted("yolo")
    for mask in masks.values():
        np.testing.assert_array_equal(mask, label((1, 3, 2, 9, 6)))
    assert list(masks) == ["a", "b.c"] and result.names == ("cat", "dog")
    assert list(result.parts) == (["all"] if mode == "flat" else ["train", "val"])
    assert [problem.text for problem in result.problems] == [
        "line 3: (cat) it is a box without an outline",
        "line 4: there is no class 7",
    ] * 2


@pytest.mark.parametrize("words", ["nan\nrice\n", "inf 1 2 3 4\n"])
def test_words_that_are_numbers_are_no_labels_of_yolo(write, source, words):
    write("classes.txt", words)
    assert recognised(source) is None


def test_class_numbers_of_yolo(image, write, source, converted):
    """As text in another order; and what is no number."""
    image("images/a.jpg")
    write("labels/a.txt", "10 0 0 1 0 1 1\n")
    write("data.yaml", "names: {'2': dog, '10': cat}\n")
    assert converted("yolo")[0].names == ("dog", "cat")
    for names in ("{0: cat, x: dog}", "{0: null}", "[[1]]"):
        write("data.yaml", f"names: {names}\n")
        with pytest.raises(ValueError, match="YAML file"):
            read("yolo", source, Options())
    write("data.yaml", "names: [\n")
    with pytest.raises(ValueError) as refusal:
        read("yolo", source, Options())
    assert "\n" not in str(refusal.value)


def test_yolo_holes_are_cut_by_a_seam(image, write, converted):
    """Tools lead the outline to the hole and back along one line."""
    outline = [*box(1, 1, 9, 7), [1, 1], [3, 3], [3, 5], [6, 5], [6, 3], [3, 3]]
    image("images/a.jpg")
    write("labels/a.txt", "0 " + " ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in outline))
    write("classes.txt", "cat\n")
    _, masks = converted("yolo")
    np.testing.assert_array_equal(masks["a"], label((0, 1, 1, 9, 7), (255, 3, 3, 6, 5)))
    # The seam by itself, as pycocotools draws it, has no area.
    seam = coco_mask.frPyObjects([[1, 1, 3, 3, 1, 1]], *SIZE)
    assert coco_mask.area(seam).tolist() == [0]


def test_voc_colours_that_nobody_explained(image, source, write, converted):
    image("JPEGImages/a.jpg")
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[:4] = (10, 20, 30)
    colours[4, :3] = (1, 2, 3)
    colours[5] = (224, 224, 192)
    (source / "SegmentationClass").mkdir()
    Image.fromarray(colours).save(source / "SegmentationClass/a.png")
    assert recognised(source) == "voc"
    with pytest.raises(ValueError, match=r"labelmap\.txt"):
        read("voc", source, Options())
    write("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nfire engine:10,20,30::\n")
    result, masks = converted("voc", rest="street")
    np.testing.assert_array_equal(
        masks["a"], label((1, 0, 0, 12, 8), (0, 0, 0, 12, 4), (255, 0, 4, 3, 5), (255, 0, 5, 12, 6))
    )
    assert result.names == ("fire engine", "street")
    (problem,) = result.problems
    assert problem.file.endswith("a.png") and "3 pixels" in problem.text and "1,2,3" in problem.text


def test_voc_palette_masks_without_a_map(image, source, converted):
    image("JPEGImages/a.jpg")
    (source / "SegmentationClass").mkdir()
    from jseg.datasets.classes import voc_palette

    values = label((0, 0, 0, 12, 8), (15, 2, 2, 5, 5), (255, 5, 5, 6, 6))
    save_mask(source / "SegmentationClass/a.png", values, voc_palette(21))
    result, masks = converted("voc")
    assert result.names[14] == "person" and len(result.names) == 20
    np.testing.assert_array_equal(masks["a"], label((14, 2, 2, 5, 5)))


@pytest.mark.parametrize("line", ["cat", "cat:1,2", "cat:1,2,300", ":1,2,3", "cat:1,2,3\ndog:1,2,3"])
def test_wrong_label_maps(write, source, image, line):
    write("labelmap.txt", line)
    with pytest.raises(ValueError, match=r"labelmap\.txt"):
        read("voc", source, Options())


def test_mmsegmentation_folders(image, source, write, converted):
    for part, name in (("train", "a"), ("val", "b")):
        image(f"img_dir/{part}/{name}_leftImg8bit.png")
        (source / "ann_dir" / part).mkdir(parents=True)
        values = label((0, 0, 0, 12, 8), (1, 0, 0, 4, 4), (2, 4, 0, 8, 4), (9, 0, 7, 1, 8))
        save_mask(source / f"ann_dir/{part}/{name}_labelTrainIds.png", values, [])
        save_mask(source / f"ann_dir/{part}/{name}_instanceIds.png", values, [])
    endings = dict(image_ending="_leftImg8bit", mask_ending="_labelTrainIds")
    assert recognised(source) == "mmseg"
    with pytest.raises(FileNotFoundError, match=r"classes\.txt.*--classes"):
        read("mmseg", source, Options(**endings))
    write("classes.txt", "road\ncar\n")
    result, masks = converted("mmseg", options=dict(**endings, reduce_zero_label=True))
    for mask in masks.values():
        np.testing.assert_array_equal(mask, label((0, 0, 0, 4, 4), (1, 4, 0, 8, 4)))
    assert list(result.parts) == ["train", "val"] and list(masks) == ["a", "b"]
    assert ["9 on 1 pixels" in problem.text for problem in result.problems] == [True, True]


@pytest.mark.parametrize("damage", [b"", b"no image"])
@pytest.mark.parametrize("name, folder", [("mmseg", "ann_dir"), ("voc", "masks")])
def test_a_damaged_mask_does_not_stop_the_others(image, source, write, converted, name, folder, damage):
    for stem in "ab":
        image(f"img_dir/{stem}.png")
    write("classes.txt", "cat\ndog\n")
    write("labelmap.txt", "cat:9,0,0::\n")
    (source / folder).mkdir()
    mask = source / folder / "b.png"
    Image.fromarray(np.full((*SIZE, 3), (9, 0, 0), np.uint8)).save(source / folder / "a.png")
    if name == "mmseg":
        save_mask(source / folder / "a.png", label((0, 0, 0, 4, 4)), [])
    mask.write_bytes(damage or (source / folder / "a.png").read_bytes()[:50])
    result, masks = converted(name, options=dict(images=source / "img_dir"))
    assert list(masks) == ["a"]
    (problem,) = result.problems
    assert problem.file == str(mask) and "cannot be read" in problem.text and str(mask) not in problem.text


def test_masks_of_mmsegmentation_in_other_folders_are_recognised(image, source, write):
    """As in ADE20K; `annotations/` of COCO holds no masks."""
    image("images/training/a.jpg")
    write("annotations/other.txt", "")
    assert recognised(source) is None
    save_mask(source / "annotations/a.png", label((0, 0, 0, 4, 4)), [])
    assert recognised(source) == "mmseg"


@pytest.mark.parametrize("name", ["supervisely", "labelstudio"])
def test_images_among_the_masks_are_not_taken_for_masks(image, source, name):
    shutil.copytree(Path(__file__).parent / "exports" / name, source / "masks")
    assert recognised(source) == name


def test_supervisely_annotations_in_a_folder_of_masks(image, write, converted):
    """Not a whole project: files beside a folder of images, where masks were expected."""
    image("images/a.png")
    points = dict(exterior=box(1, 1, 6, 6), interior=[box(3, 3, 4, 4)])
    objects = [
        dict(classTitle="cat", geometryType="polygon", points=points),
        dict(classTitle="cat", geometryType="point", points=dict(exterior=[[1, 1]], interior=[])),
    ]
    write("masks/a.png.json", dict(size=dict(height=8, width=12), objects=objects))
    result, masks = converted("supervisely")
    np.testing.assert_array_equal(masks["a"], label((0, 1, 1, 7, 7), (255, 3, 3, 5, 5)))
    assert [problem.text for problem in result.problems] == ["object 2: (cat) a point has no area"]
    assert json.loads(json.dumps(result.names)) == ["cat"]
