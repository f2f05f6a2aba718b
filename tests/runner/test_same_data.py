"""What ranks say about their data files. fault_on_hosts.py tests it on hosts whose files differ."""

from types import SimpleNamespace

import pytest

from jseg.runner import same_data


@pytest.fixture
def compared(monkeypatch):
    """What is compared, by the first of two ranks."""
    found = {}
    monkeypatch.setattr(same_data, "world_size", lambda: 2)
    monkeypatch.setattr(same_data, "local_rank", lambda: 0)
    monkeypatch.setattr(same_data, "broadcast_object", lambda value, what: value)
    monkeypatch.setattr(same_data, "check_same", lambda things, advice, what: found.update(things))
    return found


def test_sizes_and_contents_of_every_file_are_compared_once(compared, tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "b.jpg")]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * (number + 1))
    parts = [SimpleNamespace(sources=lambda: paths), SimpleNamespace(sources=lambda: paths[:1])]
    same_data.check_same_data(parts)
    sizes, contents = compared.values()
    assert sizes == [f"{path}: {size} bytes" for path, size in zip(paths, (1, 2, 3))]
    assert contents[0] == f"{paths[0]}: SHA-256 2d711642b726b044" and len(contents) == 3


def test_of_many_bytes_evenly_spread_files_are_read():
    assert same_data.spread([10] * 6, 60) == [0, 1, 2, 3, 4, 5]
    assert same_data.spread([10] * 6, 30) == [0, 2, 4]
    assert same_data.spread([10] * 6, 25) == [0, 3]
    assert same_data.spread([], 25) == []


def test_a_single_process_reads_nothing():
    same_data.check_same_data([SimpleNamespace(sources=lambda: pytest.fail("asked for files"))])
