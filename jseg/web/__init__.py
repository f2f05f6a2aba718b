"""A local web page for segmentation: photo and words in the browser, masks from a `Segmenter`.

    page -> app (HTTP, limits) -> worker (queue, one thread) -> engine (models, photos)

This module has no imports. Flask and waitress are installed by the extra `web`.
"""
