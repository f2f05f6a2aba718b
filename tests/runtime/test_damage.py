"""Damaged libraries in Jittor's cache."""

import shutil

import pytest

from jseg.runtime import damage
from jseg.runtime.versions import JITTOR_VERSION


@pytest.fixture
def cache(tmp_path):
    """A cache with a core library and two operators, all intact."""
    import _ctypes  # a shared library that every Python has

    folder = tmp_path / f"jt{JITTOR_VERSION}/g++/py/host/cpu/947f/default"
    (folder / "jit").mkdir(parents=True)
    for name in ("jittor_core.cpython-311.so", "jit/a_op.so", "jit/b_op.so"):
        shutil.copy(_ctypes.__file__, folder / name)
    return tmp_path


def test_whole_libraries_stay(cache):
    assert len(damage.core_libraries(cache)) == 1 and len(damage.all_libraries(cache)) == 3
    assert damage.remove_damaged(damage.all_libraries(cache)) == []


@pytest.mark.parametrize("kept", [0, 10, 63, 1000, -1])
def test_what_is_cut_short_is_removed(cache, kept):
    library = damage.all_libraries(cache)[0]
    content = library.read_bytes()
    library.write_bytes(content[:kept])
    assert damage.remove_damaged(damage.all_libraries(cache)) == [library]
    assert not library.exists() and len(damage.all_libraries(cache)) == 2


def test_zeros_of_the_right_length_are_damage(cache):
    library = damage.core_libraries(cache)[0]
    library.write_bytes(bytes(library.stat().st_size))
    assert damage.is_damaged(library)


def test_an_error_of_jittor_in_a_sentence(cache, monkeypatch):
    opened = "Check failed: handle  Cannot open library /x/a_op.so"
    assert damage.compile_problem("something else", cache) is None
    assert "doctor" in damage.compile_problem(opened, cache)
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(damage.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "full" in damage.compile_problem("Check failed ret(256) == 0(0) Run cmd failed: g++", cache)
    library = damage.all_libraries(cache)[1]
    library.write_bytes(b"")
    assert str(library) in damage.compile_problem(opened, cache) and not library.exists()


@pytest.mark.parametrize("content, dropped", [("{}", False), ('{"a": 1}', False), ("", True), ("[1", True)])
def test_settings_that_jittor_cannot_read(tmp_path, content, dropped):
    file = tmp_path / ".cache/jittor/config.json"
    assert damage.drop_unreadable_settings(tmp_path) is None
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert damage.drop_unreadable_settings(tmp_path) == (file if dropped else None)
    assert file.exists() != dropped
