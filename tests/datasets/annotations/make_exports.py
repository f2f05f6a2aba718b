"""Makes `exports/` and `exports/truth.npz` with the formats' own libraries: input files, and what they mean.

Run in an environment of its own, which jseg and its tests do not need:

    pip install labelme==6.3.1 label-studio-converter==0.0.59 datumaro==1.13.12 supervisely==6.74.51
    python tests/datasets/annotations/make_exports.py [labelme] [labelstudio] [cvat] [voc] [supervisely]

The libraries do not all go into one environment; each part can be made by itself. `truth.npz` holds labels,
uint8 (H, W): class number in the order of WORDS, 254 where nothing is named. Regions are painted in order.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent / "exports"
WORDS = ["cat", "dog", "tree"]
SIZE = (48, 64)  # (H, W)
UNNAMED = 254


def scenes():
    """Two images: regions as (word, outline), outlines float (n, 2)."""
    rng = np.random.default_rng(28)
    found = {}
    for name in ("one", "two"):
        regions = []
        for number in range(6):
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 10)))
            radii = rng.uniform(5, 18, len(angles))
            centre = rng.uniform((8, 6), (56, 42))
            outline = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            # Quarters: datumaro keeps points in single precision, which holds those exactly.
            outline = np.clip(np.round(outline * 4) / 4, 0, (SIZE[1], SIZE[0]))
            regions.append((WORDS[number % 3], outline))
        found[name] = regions
    return found


def blob(seed):
    """A mask with holes and ragged borders, bool `SIZE`."""
    rng = np.random.default_rng(seed)
    small = rng.random((12, 16)) < 0.45
    return np.kron(small, np.ones((4, 4), bool)) ^ (rng.random(SIZE) < 0.02)


def write_image(folder, name, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 120, np.uint8)).save(folder / f"{name}.{suffix}")


def painted(masks):
    """Label of (word, mask) pairs, painted in order."""
    label = np.full(SIZE, UNNAMED, np.uint8)
    for word, mask in masks:
        label[np.asarray(mask, bool)] = WORDS.index(word)
    return label


def labelme():
    """Truth: `labelme.utils.shapes_to_label`."""
    from labelme.utils import shape_to_mask

    truth = {}
    for name, regions in scenes().items():
        shapes = [dict(label=word, points=line.tolist(), shape_type="polygon") for word, line in regions]
        shapes[1] = dict(label="dog", points=[[30.5, 40.2], [8.3, 9.9]], shape_type="rectangle")
        shapes[3] = dict(label="cat", points=[[40.0, 20.0], [46.3, 24.1]], shape_type="circle")
        masks = [shape_to_mask((*SIZE, 3), shape["points"], shape["shape_type"]) for shape in shapes]
        truth[f"labelme.{name}"] = painted((shape["label"], mask) for shape, mask in zip(shapes, masks))
        write_image(HERE / "labelme", name)
        content = dict(version="5.5.0", flags={}, shapes=shapes, imagePath=f"{name}.png", imageData=None)
        content |= dict(imageHeight=SIZE[0], imageWidth=SIZE[1])
        (HERE / "labelme" / f"{name}.json").write_text(json.dumps(content) + "\n")
    return truth


def labelstudio():
    """Brush strokes packed by the library's encoder; truth: its decoder. Polygons: see the test."""
    from label_studio_converter.brush import decode_rle, mask2rle

    masks = [("cat", blob(1)), ("tree", blob(2))]
    results, decoded = [], []
    for word, mask in masks:
        packed = mask2rle(mask.astype(np.uint8) * 255)
        decoded.append((word, decode_rle(packed).reshape(*SIZE, 4)[..., 3] > 0))
        value = dict(format="rle", rle=[int(value) for value in packed], brushlabels=[word])
        result = dict(type="brushlabels", value=value, image_rotation=0)
        results.append(result | dict(original_width=SIZE[1], original_height=SIZE[0]))
    cancelled = dict(was_cancelled=True, result=results[:1])
    task = dict(id=1, data=dict(image="/data/upload/1/0123abcd-brush.png"), predictions=[])
    task["annotations"] = [cancelled, dict(was_cancelled=False, result=results)]
    write_image(HERE / "labelstudio", "brush")
    (HERE / "labelstudio" / "project.json").write_text(json.dumps([task]) + "\n")
    return {"labelstudio.brush": painted(decoded)}


def cvat():
    """Written by datumaro's CVAT exporter; truth: its masks of the same items, read back from the file."""
    from datumaro.components.annotation import AnnotationType, LabelCategories, Mask, Polygon
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Media
    from datumaro.util.mask_tools import rles_to_mask

    items = []
    for number, (name, regions) in enumerate(scenes().items()):
        shapes = [
            Polygon(outline.reshape(-1).tolist(), label=WORDS.index(word), z_order=z)
            for z, (word, outline) in enumerate(reversed(regions))
        ]
        shapes.insert(2, Mask(blob(3 + number), label=2, z_order=3))
        media = Media.from_numpy(np.full((*SIZE, 3), 120, np.uint8))
        attributes = dict(frame=number)
        items.append(
            DatasetItem(name, subset="train", media=media, annotations=shapes, attributes=attributes)
        )
    categories = {AnnotationType.label: LabelCategories.from_iterable(WORDS)}
    made = Dataset.from_iterable(items, categories=categories)
    made.export(str(HERE / "cvat"), "cvat", save_media=False)
    for name in scenes():
        write_image(HERE / "cvat" / "images", name, "jpg")
    truth = {}
    for item in Dataset.import_from(str(HERE / "cvat"), "cvat"):
        masks = []
        for shape in sorted(item.annotations, key=lambda entry: entry.z_order):
            image = (
                shape.image
                if shape.type == AnnotationType.mask
                else rles_to_mask([shape.points], SIZE[1], SIZE[0])
            )
            masks.append((WORDS[shape.label], image))
        truth[f"cvat.{Path(item.id).name}"] = painted(masks)
    return truth


def voc():
    """Colour masks and label map written by datumaro's VOC exporter; truth: the labels given to it."""
    from datumaro.components.annotation import AnnotationType, LabelCategories, Mask, MaskCategories
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Media

    names = ["background", *WORDS]
    colours = {0: (0, 0, 0), 1: (250, 50, 83), 2: (36, 179, 83), 3: (131, 224, 112)}
    label = painted([("cat", blob(5)), ("dog", blob(6))])
    shapes = [Mask(label == index, label=index + 1) for index in range(3) if (label == index).any()]
    item = DatasetItem(
        "scene",
        subset="train",
        media=Media.from_numpy(np.full((*SIZE, 3), 120, np.uint8)),
        annotations=shapes,
    )
    categories = {
        AnnotationType.label: LabelCategories.from_iterable(names),
        AnnotationType.mask: MaskCategories(colours),
    }
    made = Dataset.from_iterable([item], categories=categories)
    made.export(str(HERE / "voc"), "voc_segmentation", save_media=True, image_ext=".png", label_map="source")
    return {"voc.scene": label}


def supervisely():
    """Truth: `supervisely.Annotation` draws its labels itself."""
    import supervisely as sly

    classes = {word: sly.ObjClass(word, sly.AnyGeometry) for word in WORDS}
    folder = HERE / "supervisely"
    truth = {}
    for number, (name, regions) in enumerate(scenes().items()):
        labels = []
        for word, outline in regions[:4]:
            points = [sly.PointLocation(int(y), int(x)) for x, y in outline]
            labels.append(sly.Label(sly.Polygon(points, []), classes[word]))
        hole = [sly.PointLocation(row, column) for row, column in ((10, 20), (10, 30), (20, 30), (20, 20))]
        outer = [sly.PointLocation(row, column) for row, column in ((4, 12), (4, 40), (30, 40), (30, 12))]
        labels.append(sly.Label(sly.Polygon(outer, [hole]), classes["tree"]))
        cut = blob(7 + number)[5:25, 10:40]
        labels.append(sly.Label(sly.Bitmap(cut, origin=sly.PointLocation(5, 10)), classes["cat"]))
        annotation = sly.Annotation(SIZE, labels)
        canvas = np.full(SIZE, UNNAMED, np.uint8)
        for label in annotation.labels:
            label.draw(canvas, color=WORDS.index(label.obj_class.name))
        truth[f"supervisely.{name}"] = canvas
        (folder / "first" / "ann").mkdir(parents=True, exist_ok=True)
        write_image(folder / "first" / "img", name)
        text = json.dumps(annotation.to_json())
        (folder / "first" / "ann" / f"{name}.png.json").write_text(text + "\n")
    meta = sly.ProjectMeta(obj_classes=list(classes.values()))
    (folder / "meta.json").write_text(json.dumps(meta.to_json()) + "\n")
    return truth


def main(chosen):
    HERE.mkdir(exist_ok=True)
    file = HERE / "truth.npz"
    truth = dict(np.load(file)) if file.exists() else {}
    for part in (labelme, labelstudio, cvat, voc, supervisely):
        if not chosen or part.__name__ in chosen:
            truth |= part()
    np.savez_compressed(file, **truth)
    print({name: array.shape for name, array in truth.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
