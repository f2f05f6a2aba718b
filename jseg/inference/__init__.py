"""Images and words to masks: `segmenter` is the front door, `recipe` and `windows` the test recipe below it.

This module imports nothing, so that the framework-free parts can be used without Jittor.
"""
