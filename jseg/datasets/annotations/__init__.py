"""Annotations as labelling tools export them, read and turned into the folder that `FolderDataset` reads.

    core.py       what a format hands over: images, each with regions or a label image; what does not fit
    regions.py    the kinds of regions, each drawn as a mask
    drawing.py    regions of one image -> label; the rule for overlaps
    convert.py    images, masks, class words and lists -> the new folder
    formats.py    the table of formats; which format a folder holds
    coco.py, cvat.py, ...   one module a format
    rle.py, polygons.py   run lengths and polygons as masks

Needs NumPy and Pillow, and for some formats the packages of the extra `annotations`.
"""
