"""A web page on one's own machine: photo and words in the browser, masks from a `Segmenter` behind it.

    page -> app (HTTP, limits) -> worker (queue, one thread) -> engine (models, photos)

This module imports nothing; Flask and waitress come with the extra `web`.
"""
