"""Segments images with words. `segmenter` is the public interface; `recipe` and `windows` are the test
recipe.

This module imports nothing, so that the parts without Jittor can be used on their own.
"""
