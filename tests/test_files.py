"""Files that are replaced whole, and the hash that identifies a file."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from jseg import files
from jseg.cli import shipped
from jseg.datasets import FolderDataset, VOCDataset, configured_root
from jseg.files import TEMPORARY_SUFFIX, expanded, file_sha256, find_file, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_the_file_is_absent_until_it_is_complete(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file.bin"
    with replacing(str(path), durable) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists() and temporary.parent == tmp_path
        assert temporary.name.startswith(".") and temporary.name.endswith(TEMPORARY_SUFFIX)
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole" and names(tmp_path) == ["file.bin"]


def test_an_error_keeps_the_older_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error, match="^mine$"), replacing(path) as temporary:
            temporary.write_text("new")
            raise error("mine")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=str(path)) as failure, replacing(path) as temporary:
        temporary.write_text("new")
    assert failure.value.errno == errno.ENOSPC and TEMPORARY_SUFFIX not in str(failure.value)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_missing_folder_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileNotFoundError, match=str(path)), replacing(path) as temporary:
        temporary.write_text("new")


def test_hidden_names_differ_unless_one_is_given(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    (tmp_path / ".mine").write_text("left by a killed run")
    with replacing(path, temporary_name=".mine") as temporary:
        assert temporary == tmp_path / ".mine"
        temporary.write_text("3")
    assert path.read_text() == "3" and names(tmp_path) == ["file"]


def test_the_hash_is_computed_anew_only_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    computed = []

    def sha256() -> "hashlib._Hash":
        computed.append(1)
        return hashlib.new("sha256")

    monkeypatch.setattr(files.hashlib, "sha256", sha256)
    (tmp_path / "link").symlink_to(path)
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, "abc"
    assert [file_sha256(path), file_sha256(str(path)), file_sha256(tmp_path / "link")] == [known] * 3
    assert len(computed) == 1
    path.write_bytes(b"other")
    assert file_sha256(path) == hashlib.new("sha256", b"other").hexdigest() and len(computed) == 2
    status = path.stat()
    path.write_bytes(b"equal")  # as long as before
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    assert file_sha256(path) == hashlib.new("sha256", b"equal").hexdigest() and len(computed) == 3
    with pytest.raises(FileNotFoundError, match="nowhere"):
        file_sha256(tmp_path / "nowhere")


def test_the_home_folder_is_known_in_every_path(tmp_path, monkeypatch):
    """`--set data_root=~/x` was looked for in a folder named `~`, though checkpoints in `~/x` were found."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x" and expanded("a/~") == Path("a/~")
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    for folder in ("images", "masks"):
        (tmp_path / "own" / folder).mkdir(parents=True)
        Image.new("L", (4, 3)).save(tmp_path / f"own/{folder}/a.png")
    (tmp_path / "own/words.txt").write_text("w\n")
    dataset = FolderDataset("~/own", mask_dir="~/own/masks", classes="~/own/words.txt")
    assert dataset.files() == [tmp_path / "own/images/a.png"]
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\n")
    for kind, folder in (("images", "JPEGImages"), ("masks", "SegmentationClass")):
        (tmp_path / "own" / kind).rename(tmp_path / "voc" / folder)
    assert len(VOCDataset("~/voc", "val", classes=("w",))) == 1
    assert configured_root("~/voc") == str(tmp_path / "voc")
    monkeypatch.setenv("JSEG_DATA_ROOT", "~/voc")
    assert configured_root(None) == str(tmp_path / "voc")
    assert shipped("~/config.py") == str(tmp_path / "config.py")
    assert find_file("~/voc") == str(tmp_path / "voc")
