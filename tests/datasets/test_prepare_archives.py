"""Unpacking: nothing outside the folder, and damaged archives are refused."""

import io
import re
import tarfile
import zipfile

import miniature
import pytest
from preparing import SOURCES, problems_of, work

from jseg.datasets.prepare import prepare
from jseg.datasets.prepare.archives import Archive, unpack

ANY = Archive("any.tar", {"top/": "in/"})


def tar_of(path, *entries):
    with tarfile.open(path, "w") as file:
        for entry, data in entries:
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return path


def linked(name, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        tarfile.TarInfo("top/../../out.txt"),
        tarfile.TarInfo("top//out/../../../x"),
        linked("top/link", tarfile.SYMTYPE),
        linked("top/link", tarfile.LNKTYPE),
        linked("top/pipe", tarfile.FIFOTYPE),
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path, entry):
    (tmp_path / "home").mkdir()
    tar_of(tmp_path / "any.tar", (tarfile.TarInfo("top/good.txt"), b"x"), (entry, b""))
    with pytest.raises(ValueError, match=rf"any\.tar.*{re.escape(entry.name)}"):
        unpack(ANY, tmp_path / "any.tar", tmp_path / "home")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["any.tar", "good.txt", "home", "in"]


@pytest.mark.parametrize(
    "name, mode", [("top/../../../x", 0o100644), ("top/..\\..\\x", 0o100644), ("top/link", 0o120777)]
)
def test_nothing_is_written_outside_the_folder_from_zip(tmp_path, name, mode):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "any.zip", "w") as file:
        file.writestr(entry, b"/etc/passwd")
    with pytest.raises(ValueError, match=r"any\.zip.*\btop/"):
        unpack(Archive("any.zip", ANY.members), tmp_path / "any.zip", tmp_path / "home")
    assert [path.name for path in tmp_path.rglob("*")] == ["any.zip"]


def test_absolute_names_and_what_is_not_wanted_are_left_alone(tmp_path):
    tar_of(
        tmp_path / "any.tar",
        (tarfile.TarInfo("/top/x"), b"x"),
        (tarfile.TarInfo("../top/x"), b"x"),
        (tarfile.TarInfo("other/x"), b"x"),
        (tarfile.TarInfo("./top/deep/x"), b"x"),
    )
    assert unpack(ANY, tmp_path / "any.tar", tmp_path / "home") == 1
    assert (tmp_path / "home/in/deep/x").read_bytes() == b"x"


@pytest.mark.parametrize("archive", ["VOCtrainval_11-May-2012.tar", "benchmark.tgz", "train2017.zip"])
@pytest.mark.parametrize("damage", ["cut", "middle", "text", "empty"])
def test_damaged_archive(tmp_path, archive, damage):
    name = "coco_stuff" if archive.endswith(".zip") else "voc2012"
    miniature.pack(SOURCES[name](), tmp_path)
    path = tmp_path / archive
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:half],
            "middle": whole[:half] + bytes(2000) + whole[half + 2000 :],
            "text": b"<html>not found</html>" * 100,
            "empty": b"",
        }[damage]
    )
    # A tar has no checksum of the contents: --check finds it.
    if damage == "middle" and archive.endswith(".tar"):
        prepare(name, work(tmp_path))
        assert problems_of(name, tmp_path)
        return
    with pytest.raises(ValueError, match=re.escape(archive)):
        prepare(name, work(tmp_path))
    path.write_bytes(whole)
    assert prepare(name, work(tmp_path)).problems == [] and problems_of(name, tmp_path) == []
