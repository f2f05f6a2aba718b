"""Datasets, class lists, transforms and the batch loader. Needs NumPy and Pillow, but not Jittor."""

from jseg.datasets.base import DATASETS, Dataset, Sample, SegmentationDataset
from jseg.datasets.classes import ClassList, available_class_lists, class_words_key, load_class_list
from jseg.datasets.coco_stuff import COCOObjectDataset, COCOStuffDataset
from jseg.datasets.folder import FolderDataset
from jseg.datasets.loader import DataLoader
from jseg.datasets.masks import read_image, read_mask, save_mask
from jseg.datasets.pascal_context import PascalContextDataset
from jseg.datasets.roots import configured_root
from jseg.datasets.transforms import TRANSFORMS, Transform
from jseg.datasets.voc import VOCDataset

__all__ = [
    "DATASETS",
    "TRANSFORMS",
    "COCOObjectDataset",
    "COCOStuffDataset",
    "ClassList",
    "DataLoader",
    "Dataset",
    "FolderDataset",
    "PascalContextDataset",
    "Sample",
    "SegmentationDataset",
    "Transform",
    "VOCDataset",
    "available_class_lists",
    "class_words_key",
    "configured_root",
    "load_class_list",
    "read_image",
    "read_mask",
    "save_mask",
]
