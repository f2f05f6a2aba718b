"""Miniature archives of each benchmark and how the tests prepare and check what is made of them."""

import miniature

from jseg.datasets.prepare import Work, check

SOURCES = {
    "voc2012": miniature.voc2012,
    "context": miniature.context_json,
    "coco_stuff": miniature.coco_stuff,
}


def work(root, **options):
    return Work(root, options.pop("archives", root), **{"any_count": True, **options})


def problems_of(name, root, **options):
    return check(name, work(root, **options)).problems
