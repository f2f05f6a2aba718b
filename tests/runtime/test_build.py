"""How the copy of Jittor builds itself: units of several sources, and a header that operators start from."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jseg.runtime import overlay, shared_cache
from jseg.runtime.environment import find_compiler


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(overlay.__file__).parent / "jittor"))
    import jseg_build

    yield jseg_build
    sys.modules.pop("jseg_build")


def sources(folder: Path, texts: dict[str, str]) -> list[str]:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(texts)


def test_units_compute_as_the_files_did_and_keep_the_order(build, tmp_path: Path) -> None:
    """Two files may each have a static of one name; what is initialised first is linked first."""
    files = sources(
        tmp_path,
        {
            "src/x_register.cc": "int start = 1;\n",
            "src/a.cc": "extern int start;\nstatic int step = 2;\nint a = (start = start * step);\n",
            "src/b.cc": "extern int start;\nstatic int step = 5;\nint b = (start = start + step);\n",
            "src/expr.cc": "int expr() { return 100; }\n",
            "src/executor.cc": "extern int start, a, b;\nint expr();\n"
            "int main() { return start * 10 + a + b + expr() - 179; }\n",
        },
    )
    found = build.together(files, str(tmp_path), str(tmp_path))
    assert [Path(name).name for name in found] == ["x_register.cc", "unit_a.cc", "expr.cc", "executor.cc"]
    program = tmp_path / "program"
    compiler = str(find_compiler().path)
    subprocess.run([compiler, *(str(tmp_path / name) for name in found), "-o", program], check=True)
    assert subprocess.run([program]).returncode == 0  # 7 * 10 + 2 + 7 + 100 - 179


def test_a_unit_is_bounded_and_stays_as_it_is(build, tmp_path: Path) -> None:
    files = sources(tmp_path, {f"src/{number:02}.cc": "\n" for number in range(30)})
    units = [Path(name) for name in build.together(files, str(tmp_path), str(tmp_path))]
    assert [unit.read_text().count("#include") for unit in units] == [12, 12, 6]
    before = [unit.stat().st_mtime_ns for unit in units]
    build.together(files, str(tmp_path), str(tmp_path))
    assert [unit.stat().st_mtime_ns for unit in units] == before


def test_the_longest_comes_first(build, tmp_path: Path) -> None:
    files = sources(tmp_path, {"src/a.cc": "int a;\n", "src/b.cc": "int b;\n", "expr.cc": "\n" * 13})
    unit, alone = build.together(files, str(tmp_path), str(tmp_path))
    calls = [f'"g++" "{tmp_path / name}" -I"/nowhere" -c -o "x.o"' for name in (unit, alone, "none.cu")[:2]]
    assert [build.size(call) for call in calls] == [14, 13]


def test_a_compiler_that_fails_on_units_gets_single_files(build, tmp_path: Path) -> None:
    files = sources(tmp_path, {"a.cc": "enum { One };\n", "b.cc": "enum { One };\n"})
    asked = []

    def compile_files(names: list[str]) -> str:
        asked.append([Path(name).name for name in names])
        for name in names:
            subprocess.run([find_compiler().path, "-c", tmp_path / name, "-o", tmp_path / "x.o"], check=True)
        return "compiled"

    for _ in range(2):
        assert build.in_units(compile_files, files, "g++", str(tmp_path), str(tmp_path)) == "compiled"
    assert asked == [["unit_a.cc"], ["a.cc", "b.cc"], ["a.cc", "b.cc"]]
    (tmp_path / "units_failed").unlink()
    assert build.in_units(compile_files, files, "clang", str(tmp_path), str(tmp_path)) == "compiled"
    assert asked[-1] == ["a.cc", "b.cc"] and not (tmp_path / "units_failed").exists()


def test_an_error_in_the_files_themselves_is_not_remembered(build, tmp_path: Path) -> None:
    files = sources(tmp_path, {"a.cc": "\n", "b.cc": "\n"})

    def fail(names: list[str]) -> None:
        raise RuntimeError(str(len(names)))

    with pytest.raises(RuntimeError, match="^2$"):
        build.in_units(fail, files, "g++", str(tmp_path), str(tmp_path))
    assert not (tmp_path / "units_failed").exists()


def test_a_started_call_is_waited_for_and_recorded(build, tmp_path: Path) -> None:
    source, record = tmp_path / "data.cc", tmp_path / "data.md5"
    source.touch()
    build.start("exit 3", source, record, "digest")
    with pytest.raises(RuntimeError, match="exit 3"):
        build.finish()
    assert source.exists() and not record.exists()
    build.start("sleep 0.1", source, record, "digest")
    build.finish()
    build.finish()
    assert not source.exists() and record.read_text() == "digest"


def test_the_header_is_made_once_and_a_failure_is_remembered(build, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(build, "_OPERATOR_HEADER", "#define JIT 1\n#include <cmath>\n")
    compiler = str(find_compiler().path)
    build.operator_header(compiler, '-O2 -fPIC -shared -L"/no where" -l:"x y".so -lstdc++', str(tmp_path))
    made = tmp_path / "operators.h.gch"
    before = made.stat()
    build.operator_header(compiler, "-O2 -fPIC -shared", str(tmp_path))
    assert made.stat().st_mtime_ns == before.st_mtime_ns and before.st_size > 100_000
    made.unlink()
    build.operator_header(compiler, "-no-such-option", str(tmp_path))
    build.operator_header(compiler, "-O2", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"operators.h", "operators_failed"}


def test_what_is_left_out_are_files_of_jittor() -> None:
    installed = shared_cache._installed_packages()
    assert all((installed / name).is_file() for name in overlay.UNUSED)
    tests = {f"jittor/src/test/{path.name}" for path in (installed / "jittor/src/test").glob("*.cc")}
    assert tests <= set(overlay.UNUSED)
