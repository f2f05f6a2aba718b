"""Unpacking: nothing outside the folder, and damaged archives are refused."""

import io
import re
import tarfile
import zipfile

import miniature
import pytest
from preparing import SOURCES, problems_of, work

from jseg.datasets.prepare import archives, prepare
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


def sparse(name, blocks, size):
    """A member whose gaps are not stored (GNU's sparse format 1.0): its header and its content."""
    entry = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
    entry.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    table = "".join(f"{offset}\n{len(block)}\n" for offset, block in blocks.items())
    table = f"{len(blocks)}\n{table}".encode()
    return entry, table.ljust(-(-len(table) // 512) * 512, b"\0") + b"".join(blocks.values())


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tmp_path, form):
    name = "/".join(["a" * 120] * 3) + ".txt"
    with tarfile.open(tmp_path / "any.tar", "w", format=form) as file:
        entry = tarfile.TarInfo(f"top/{name}")
        entry.size = 4
        file.addfile(entry, io.BytesIO(b"long"))
    assert unpack(ANY, tmp_path / "any.tar", tmp_path / "home") == 1
    assert (tmp_path / "home/in" / name).read_bytes() == b"long"


def test_a_name_that_no_file_system_takes(tmp_path):
    tar_of(tmp_path / "any.tar", (tarfile.TarInfo("top/" + "x" * 300), b"x"))
    with pytest.raises(OSError, match="name too long"):
        unpack(ANY, tmp_path / "any.tar", tmp_path / "home")


def test_sparse_members_are_filled_with_zeros(tmp_path):
    tar_of(tmp_path / "any.tar", sparse("top/holes", {0: b"head", 70_000: b"tail"}, 100_000))
    assert unpack(ANY, tmp_path / "any.tar", tmp_path / "home") == 1
    content = (tmp_path / "home/in/holes").read_bytes()
    assert content == b"head" + bytes(70_000 - 4) + b"tail" + bytes(30_000 - 4)
    assert unpack(ANY, tmp_path / "any.tar", tmp_path / "home") == 0


@pytest.mark.parametrize("kind", ["zip", "tgz", "sparse"])
def test_archives_that_would_fill_the_disk(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 1 << 20)
    path = tmp_path / f"any.{'zip' if kind == 'zip' else 'tgz' if kind == 'tgz' else 'tar'}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for number in range(4):
                file.writestr(f"top/{number}", bytes(1 << 20))
    elif kind == "tgz":
        with tarfile.open(path, "w:gz") as file:
            for number in range(4):
                entry = tarfile.TarInfo(f"top/{number}")
                entry.size = 1 << 20
                file.addfile(entry, io.BytesIO(bytes(1 << 20)))
    else:
        tar_of(path, sparse("top/holes", {0: b"x"}, 1 << 40))
    with pytest.raises(ValueError, match=r"any\.\w+: its files would take more than"):
        unpack(Archive(path.name, ANY.members), path, tmp_path / "home")
    assert sum(file.stat().st_size for file in tmp_path.rglob("in/*")) <= 2 << 20


def test_an_encrypted_member_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "any.zip", "w") as file:
        file.writestr("top/secret", b"x")
    content = bytearray((tmp_path / "any.zip").read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    (tmp_path / "any.zip").write_bytes(content)
    with pytest.raises(ValueError, match="is encrypted"):
        unpack(Archive("any.zip", ANY.members), tmp_path / "any.zip", tmp_path / "home")
