"""Converts the exports of labelling tools to the folder that `FolderDataset` reads.

    core.py       the output of a reader: images, each with regions or a label image, and problems
    regions.py    the kinds of regions, each of which can be drawn as a mask
    drawing.py    the regions of one image -> a label; the rule for overlaps
    convert.py    writes images, masks, class words and lists to the new folder
    formats.py    the table of formats, and recognition of the format of a folder
    coco.py, cvat.py, ...   one module for each format
    rle.py, polygons.py   run lengths and polygons as masks

Needs NumPy and Pillow, and for some formats the packages of the extra `annotations`.
"""
