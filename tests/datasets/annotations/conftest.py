"""Small images, and the conversion of what a test has written beside them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import read_mask
from jseg.datasets.annotations.convert import Settings, convert
from jseg.datasets.annotations.core import Options
from jseg.datasets.annotations.formats import read

sys.path.insert(0, str(Path(__file__).parent))

from shapes import SIZE


@pytest.fixture
def source(tmp_path):
    """The folder of the annotations."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def image(source):
    """Writes an image: name, size (H, W) and orientation tag."""

    def write(name, size=SIZE, orientation=None):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.full((*size, 3), 90, np.uint8))
        exif = Image.Exif()
        if orientation:
            exif[274] = orientation
        image.save(path, exif=exif)
        return path

    return write


@pytest.fixture
def write(source):
    """Writes a file: text as it is, everything else as JSON."""

    def write(name, content):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def converted(source, tmp_path):
    """Converts the folder: format -> what was made, and the masks by id."""

    def run(name, path=source, options=None, **settings):
        out = tmp_path / "out"
        result = convert(read(name, path, Options(**(options or {}))), out, Settings(**settings))
        masks = {file.stem: read_mask(file) for file in sorted((out / "masks").iterdir())}
        return result, masks

    return run
