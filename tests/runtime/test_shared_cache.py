"""Clones and environments share compiled files: nothing is recompiled because of its location."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jseg.runtime import overlay, shared_cache
from jseg.runtime.environment import find_compiler, jittor_cache
from jseg.runtime.shared_cache import header_copy, jittor_copy, place_of_jittor

ROOT = Path(__file__).resolve().parents[2]
EMPTY = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0"  # of a file, in RECORD

# Each fused operator forwards, and two backwards; one at a time,
# so that Jittor has nothing to fuse them with.
_PROGRAM = """
import numpy as np
from jseg.ops import RegionLayout, attention, bias_quick_gelu, bias_relu, dropout, layer_norm
from jseg.ops import region_attention
from jseg.runtime.backend import jt
import jittor, jseg

layout = RegionLayout((2, 2), (1, 1), 1)
x, row = jt.array(np.ones((1, layout.tokens, 8), np.float32)), jt.array(np.ones(8, np.float32))
qkv = jt.array(np.ones((1, layout.tokens, 24), np.float32))
jt.sync([x, row, qkv])
for y in (attention(x, x, x, 2), region_attention(qkv, 2, layout), layer_norm(x, row, row, 1e-5),
          bias_relu(x, row), dropout(x, 0.5)):
    y.sync()
y = bias_quick_gelu(x, row)
y.sync()
jt.grad(y.sum(), x).sync()
print("IMPORTED", jseg.__file__, jittor.__file__)
"""
# A sitecustomize.py, with which folders are listed in the order of no real file system.
_LISTED_BACKWARDS = """
import os

listdir, scandir = os.listdir, os.scandir


class Backwards:
    def __init__(self, *path):
        with scandir(*path) as entries:
            self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    close = __exit__


os.listdir = lambda *path: sorted(listdir(*path), reverse=True)
os.scandir = Backwards
"""


def compilations(clone: Path, *search_path: Path) -> list[str]:
    """Names of the files that the program, run in `clone`, has
    compiled, by what Jittor logs before each call."""
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
    commands = [line for line in (done.stdout + done.stderr).splitlines() if "Run cmd:" in line]
    return [Path(re.search('-o "([^"]+)"', line)[1]).name for line in commands]


def compiled_again(clone: Path, *search_path: Path) -> list[str]:
    """The same, of the better of two runs: Jittor writes an operator's source anew whenever it loads it, and
    a process that reads it at that moment takes it for changed."""
    return compilations(clone, *search_path) and compilations(clone, *search_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Another clone, at another path."""
    shutil.copytree(ROOT / "jseg", tmp_path / "clone" / "jseg", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "clone"


@pytest.mark.slow
def test_a_clone_compiles_nothing_again_but_what_was_changed_in_it(clone: Path) -> None:
    compilations(ROOT)  # the first time it may compile
    assert compiled_again(ROOT) == []
    assert compiled_again(clone) == []
    header = clone / "jseg" / "ops" / "bias_activation" / "bias_activation_cpu.h"
    header.write_text(header.read_text() + f"// {clone}\n")
    assert len(compilations(clone)) >= 3  # relu, and gelu both ways


@pytest.mark.slow
def test_another_environment_compiles_nothing_again(tmp_path: Path) -> None:
    """Jittor installed a second time, in another place."""
    compilations(ROOT)
    installed = shared_cache._installed_packages()
    site = tmp_path / "site-packages"
    record = shared_cache._record(installed)  # of a wheel, or of an installation without one
    for folder in (*shared_cache._PACKAGES, record.parent.name):
        shutil.copytree(installed / folder, site / folder, ignore=shutil.ignore_patterns("__pycache__"))
    os.utime(site / record.parent.name / record.name)
    assert compiled_again(ROOT, site) == []


@pytest.mark.slow
def test_a_file_system_with_another_order_compiles_nothing_again(tmp_path: Path) -> None:
    """An image of a container keeps compiled files on another one. Jittor compiled all of itself there."""
    compilations(ROOT)
    (tmp_path / "sitecustomize.py").write_text(_LISTED_BACKWARDS)
    assert compiled_again(ROOT, tmp_path) == []


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
    for name in (*(name for name, _, _ in overlay.EDITS), "jittor-1.0.dist-info/RECORD"):
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
    time.sleep(0.1)  # clocks of file systems tick
    edited = packages / "jittor" / "compiler.py"
    edited.write_text("print()")
    os.utime(edited, (record.stat().st_mtime - 60,) * 2)  # as programs do that keep times
    assert jittor_copy(tmp_path) is None
    record.unlink()
    assert jittor_copy(tmp_path) is None
    assert not (tmp_path / "jseg").exists()


def test_an_installation_without_a_wheel_is_the_same_jittor(packages: Path, tmp_path: Path) -> None:
    """As pip makes it in a new environment on Debian 12 and Ubuntu 22.04, where jseg did not adapt Jittor."""
    names = sorted({name for name, _, _ in overlay.EDITS})
    record = next(packages.glob("*/RECORD"))
    record.write_text("\n".join(f"{name},{EMPTY}" for name in names))
    place = place_of_jittor(tmp_path)
    record.unlink()
    listed = packages / "jittor-1.0-py3.11.egg-info" / "installed-files.txt"
    listed.parent.mkdir()
    listed.write_text(
        "\n".join([*(f"../{name}" for name in names), "../jittor/__pycache__/x.pyc", "PKG-INFO"])
    )
    assert place and place_of_jittor(tmp_path) == place
    time.sleep(0.1)  # clocks of file systems tick
    (packages / names[0]).write_text("edited")
    assert place_of_jittor(tmp_path) is None


def test_a_copied_environment_is_the_same_jittor(packages: Path, tmp_path: Path, monkeypatch) -> None:
    """An image of a container or chown change the time of every file, in any order."""
    record, file = next(packages.glob("*/RECORD")), packages / "jittor" / "compiler.py"
    lines = f"jittor/__init__.py,{EMPTY}\njittor/compiler.py,{EMPTY}"
    record.write_text(lines)
    monkeypatch.setattr(shared_cache, "RELEASE", hashlib.sha256(lines.encode()).hexdigest())
    place = place_of_jittor(tmp_path)
    time.sleep(0.1)  # clocks of file systems tick
    file.chmod(0o600)
    assert shared_cache._touched(packages, record.stat().st_ctime)
    assert place and place_of_jittor(tmp_path) == place
    file.write_text("edited")
    assert place_of_jittor(tmp_path) is None
    file.write_text("")
    (packages / "jittor" / "__init__.py").unlink()
    assert place_of_jittor(tmp_path) is None


def test_the_release_is_the_installed_jittor() -> None:
    installed = shared_cache._installed_packages()
    lines = shared_cache._record(installed).read_text().splitlines()
    assert shared_cache._released(installed, [line.removeprefix("../") for line in lines])


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


def test_a_source_without_marks_is_compiled_at_once(packages: Path, tmp_path: Path, monkeypatch) -> None:
    """Only sources with marks use Jittor's own step through an assembly file."""
    monkeypatch.setenv("JSEG_PYTHON", "/bin/echo")
    compiler = tmp_path / "my g++"
    compiler.write_text('#!/bin/sh\necho compiled "$@"\n')
    compiler.chmod(0o755)
    script = jittor_copy(tmp_path) / "python"
    for text, first in (("int a;", "compiled"), ("int a; //@begin replace", "/x/asm_tuner.py")):
        source = tmp_path / "an_op.cc"
        source.write_text(text)
        command = [script, "/x/asm_tuner.py", f"--cc_path={compiler}", source, "-o", "a b.so"]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert words[0] == first and words[-3:] == ["-o", "a", "b.so"]


@pytest.mark.parametrize("content", ["", "valid", "damaged"])
def test_an_operator_uses_the_precompiled_header_if_it_can(
    packages: Path, tmp_path: Path, content: str
) -> None:
    """A source that needs the header's text, an empty file instead of the precompiled one, and a header on
    which the compiler fails."""
    compiler = find_compiler().path
    source, header = tmp_path / "jit" / "an_op.cc", tmp_path / "gen" / "operators.h"
    for path in (source, header):
        path.parent.mkdir()
    source.write_text("#ifndef VALUE\n#define VALUE 1\n#endif\nint main() { return VALUE; }\n")
    header.write_text("#error damaged\n" if content == "damaged" else "#define VALUE 2\n")
    precompiled = header.with_name("operators.h.gch")
    if content == "valid":
        subprocess.run([compiler, "-x", "c++-header", header, "-o", precompiled], check=True)
        header.write_text("#define VALUE 3\n")  # not read
    else:
        precompiled.touch()
    program = tmp_path / "program"
    words = [
        jittor_copy(tmp_path) / "python",
        "/x/asm_tuner.py",
        f"--cc_path={compiler}",
        source,
        "-o",
        program,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert subprocess.run([program]).returncode == (1 if content == "damaged" else 2)


def test_the_script_follows_the_version_of_jseg(packages: Path, tmp_path: Path) -> None:
    script = jittor_copy(tmp_path) / "python"
    wanted = script.read_text()
    script.write_text("#!/bin/sh\nold\n")
    assert jittor_copy(tmp_path) / "python" == script
    assert script.read_text() == wanted and os.access(script, os.X_OK)


def test_each_change_fits_the_installed_jittor_once(tmp_path: Path) -> None:
    installed = shared_cache._installed_packages()
    for name, before, after in overlay.EDITS:
        text = (installed / name).read_text()
        assert text.count(before) == 1 and (not after or after not in text)
    names = ("src/pyjt/numpy.h", "src/pyjt/numpy.cc")
    assert all((installed / "jittor" / name).is_file() for name in names)


def test_jittor_home_is_not_stored_for_later_processes(tmp_path: Path, monkeypatch) -> None:
    """Jittor wrote it into a file in the home folder, which redirected all later processes of the user."""
    name = "jittor_utils/__init__.py"
    text = (shared_cache._installed_packages() / name).read_text()
    for edited, before, after in overlay.EDITS:
        text = text.replace(before, after) if edited == name else text
    function = text[text.index("_jittor_home = None\n") : text.index("class Logwrapper")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "other"))
    names = {"os": os, "json": json, "Path": Path}
    exec(function, names)
    assert names["home"]() == str(tmp_path / "other")
    assert not (tmp_path / ".cache" / "jittor" / "config.json").exists()


def test_the_copy_holds_the_changes_and_the_installed_files_do_not(packages: Path, tmp_path: Path) -> None:
    name, before, after = overlay.EDITS[0]
    (packages / name).write_text(before)
    record = next(packages.glob("*/RECORD"))
    record.write_text(record.read_text())  # pip writes it last
    folder = jittor_copy(tmp_path)
    assert (packages / name).read_text() == before and (folder / name).read_text() == after
    assert "NPY_OPPBYTE" in (folder / "jittor" / "src" / "pyjt" / "numpy.h").read_text()


def test_compilers_of_one_version_have_folders_of_their_own(tmp_path: Path, monkeypatch) -> None:
    """They would recompile each other's files. A folder may have several names, like /bin and /usr/bin."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "g++").symlink_to(find_compiler().path)
    (tmp_path / "link").symlink_to("a")
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(jittor_copy(tmp_path)))
    folders = []
    for name in ("a", "b", "link"):
        monkeypatch.setenv("cc_path", str(tmp_path / name / "g++"))
        program = "import jittor_utils; print(jittor_utils.cc_path, jittor_utils.cache_path)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        compiler, folder = done.stdout.split()[-2:]
        assert compiler == str(tmp_path / name.replace("link", "a") / "g++")
        folders.append(folder)
    assert folders[0] == folders[2] != folders[1]
    assert all("/g++" in folder for folder in folders)


def test_compiled_python_files_are_no_change(packages: Path, tmp_path: Path, monkeypatch) -> None:
    """pip compiles the files of a wheel: each installation of one used to compile Jittor again."""
    place = place_of_jittor(tmp_path)
    shutil.copytree(overlay._FILES, tmp_path / "jittor")
    (tmp_path / "jittor" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "jittor" / "__pycache__" / "jseg_build.cpython-311.pyc").write_text("other")
    monkeypatch.setattr(overlay, "_FILES", tmp_path / "jittor")
    assert place and place_of_jittor(tmp_path) == place
    (tmp_path / "jittor" / "jseg_build.py").write_text("")
    assert place_of_jittor(tmp_path) != place


def test_another_change_makes_another_copy(packages: Path, tmp_path: Path, monkeypatch) -> None:
    """Running programs have the old one open."""
    before = place_of_jittor(tmp_path)
    monkeypatch.setattr(overlay, "EDITS", overlay.EDITS[1:])
    assert place_of_jittor(tmp_path) not in (before, None)
