"""Clones and environments share what Jittor compiles: nothing is compiled again because it lies elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime import shared_cache
from jseg.runtime.environment import jittor_cache
from jseg.runtime.shared_cache import header_copy, jittor_copy, place_of_jittor

ROOT = Path(__file__).resolve().parents[2]

# One of each fused operator, forwards and backwards.
_PROGRAM = """
import numpy as np
from jseg.ops import RegionLayout, attention, bias_quick_gelu, bias_relu, dropout, layer_norm
from jseg.ops import region_attention
from jseg.runtime.backend import jt
import jittor, jseg

layout = RegionLayout((2, 2), (1, 1), 1)
x, row = jt.array(np.ones((1, layout.tokens, 8), np.float32)), jt.array(np.ones(8, np.float32))
y = layer_norm(dropout(bias_relu(bias_quick_gelu(attention(x, x, x, 2), row), row), 0.5), row, row, 1e-5)
z = region_attention(jt.concat([y, y, y], 2), 2, layout)
jt.sync(jt.grad(z.sum(), [x, row]))
print("IMPORTED", jseg.__file__, jittor.__file__)
"""


def compilations(clone: Path, *search_path: Path) -> int:
    """How often the program, run in `clone`, calls a compiler, by what Jittor logs before each call."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (clone, *search_path))),
        "log_silent": "0",
        "log_vprefix": "cache_compile=1000",
        "JSEG_FUSED": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = re.search("IMPORTED (.*) (.*)", done.stdout)
    assert files[1].startswith(str(clone)) and files[2].startswith(str(jittor_cache()))
    return done.stderr.count("Run cmd:") + done.stdout.count("Run cmd:")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Another clone, at another path."""
    shutil.copytree(ROOT / "jseg", tmp_path / "clone" / "jseg", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "clone"


def test_a_clone_compiles_nothing_again_but_what_was_changed_in_it(clone: Path) -> None:
    compilations(ROOT)  # the first time it may compile
    assert compilations(ROOT) == 0
    assert compilations(clone) == 0
    header = clone / "jseg" / "ops" / "bias_activation" / "bias_activation_cpu.h"
    header.write_text(header.read_text() + f"// {clone}\n")
    assert compilations(clone) > 0


def test_another_environment_compiles_nothing_again(tmp_path: Path) -> None:
    """Jittor installed a second time, elsewhere."""
    compilations(ROOT)
    installed = shared_cache._installed_packages()
    site = tmp_path / "site-packages"
    for folder in (*shared_cache._PACKAGES, next(installed.glob("jittor-*.dist-info")).name):
        shutil.copytree(installed / folder, site / folder, ignore=shutil.ignore_patterns("__pycache__"))
    os.utime(next(site.glob("*/RECORD")))
    assert compilations(ROOT, site) == 0


def test_headers_are_copied_once_for_each_content(tmp_path: Path) -> None:
    first, second, other = tmp_path / "a" / "x.h", tmp_path / "b" / "x.h", tmp_path / "c" / "x.h"
    for path, text in ((first, "int a;"), (second, "int a;"), (other, "int b;")):
        path.parent.mkdir()
        path.write_text(text)
    home = tmp_path / "home"
    copy = header_copy(first, home)
    assert copy == header_copy(second, home) != header_copy(other, home)
    assert copy.read_text() == "int a;" and copy.name == "x.h"
    copy.write_text("")  # as after a loss of power
    shared_cache.header_copy.cache_clear()
    assert header_copy(first, home).read_text() == "int a;"
    assert len(list(home.rglob("*.h"))) == 2 and len(list(home.rglob("*.h*"))) == 2


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages with an imitation of Jittor in it, first on the path."""
    site = tmp_path / "site"
    for name in ("jittor/compiler.py", "jittor_utils/__init__.py", "jittor-1.0.dist-info/RECORD"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    (site / "jittor-1.0.dist-info/RECORD").write_text(
        "jittor/compiler.py,sha256=abc,5\nother/x.py,sha256=def,5\n"
    )
    monkeypatch.syspath_prepend(str(site))
    return site


def test_the_place_of_jittor_depends_on_its_files_alone(packages: Path, tmp_path: Path) -> None:
    record = next(packages.glob("*/RECORD"))
    place = place_of_jittor(tmp_path)
    assert place.parent == tmp_path / "jseg"
    record.write_text(
        "other/x.py,sha256=xyz,9\njittor/__pycache__/a.pyc,,\njittor/compiler.py,sha256=abc,5\n"
    )
    assert place_of_jittor(tmp_path) == place
    record.write_text("jittor/compiler.py,sha256=abd,5\n")
    assert place_of_jittor(tmp_path) not in (place, None)


def test_a_jittor_that_was_edited_or_not_installed_by_pip_stays_where_it_is(
    packages: Path, tmp_path: Path
) -> None:
    record = next(packages.glob("*/RECORD"))
    os.utime(packages / "jittor" / "compiler.py", (record.stat().st_mtime + 60,) * 2)
    assert jittor_copy(tmp_path) is None
    record.unlink()
    assert jittor_copy(tmp_path) is None
    assert not (tmp_path / "jseg").exists()


def test_an_interrupted_copy_is_made_anew(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil, "copytree", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(OSError):
            jittor_copy(tmp_path)
    assert not any((tmp_path / "jseg").iterdir())
    folder = jittor_copy(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["jittor", "jittor_utils", "python"]
    assert os.access(folder / "python", os.X_OK)
