"""`jseg download` from a server on the loopback: to complete data sets, and to a converted CLIP."""

import hashlib
import re
import sys
from pathlib import Path

import miniature
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "download"))

from trick_server import broken_off, serving, status, whole

from jseg.checkpoints import clip_state, convert, read_tensors
from jseg.cli import download, prepare_dataset
from jseg.datasets.prepare import BENCHMARKS, Work, survey
from jseg.download import Checksum, Source


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as running:
        yield running


@pytest.fixture
def published(server, monkeypatch, tmp_path):
    """published(name, archives): the benchmark is what the server has, with its counts."""

    def publish(name, archives):
        folder = tmp_path / "published"
        miniature.pack(archives, folder)
        sources = []
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            checksum = Checksum("sha256", hashlib.sha256(data).hexdigest())
            sources.append(
                Source(
                    path.name, f"{server.address}/{path.name}", len(data), True, checksum, "", "look for it"
                )
            )
            server.answers[f"/{path.name}"] = [whole(data)]
        monkeypatch.setattr(download, "dataset_sources", lambda wanted, annotations: tuple(sources))
        counted = tmp_path / "counted"
        miniature.unpack(archives, counted)
        work = Work(counted, counted, any_count=True)
        BENCHMARKS[name].prepare(work)
        monkeypatch.setattr(BENCHMARKS[name], "PUBLISHED", (survey(name, work).counts,))
        return folder

    return publish


def run(capsys, *arguments):
    """Exit status, what was printed to stdout and to stderr."""
    result = download.main([str(argument) for argument in arguments])
    return (result, *capsys.readouterr())


@pytest.mark.parametrize(
    "name, archives",
    [
        ("voc2012", miniature.voc2012),
        ("context", miniature.context_json),
        ("coco_stuff", miniature.coco_stuff),
    ],
)
def test_from_nothing_to_a_data_set(name, archives, server, published, tmp_path, capsys):
    published(name, archives())
    command = (name.replace("_", "-"), "--root", tmp_path / "data", "--jobs", 1)
    code, out, err = run(capsys, *command)
    assert code == 0, err
    assert out.count("SHA-256 correct") == len(archives()) and out.count(": complete; ") == 2
    assert "no longer needed" in out
    assert survey(name, Work(tmp_path / "data", tmp_path / "data")).problems == []
    server.requests.clear()
    for path in (tmp_path / "data").iterdir():  # the archives: what was made of them is enough
        if path.is_file():
            path.unlink()
    code, out, _ = run(capsys, *command)
    assert code == 0 and out.startswith("nothing to download") and not server.requests


def test_a_folder_as_mirror_and_a_broken_line(server, published, tmp_path, capsys):
    folder = published("voc2012", miniature.voc2012())
    data = tmp_path / "data"
    code, out, err = run(
        capsys, "voc2012", "--root", data, "--jobs", 1, "--mirror", folder, "--connections", 1
    )
    assert code == 0 and "no longer needed" not in out, err
    assert not list(data.glob("*.tar")) and not server.requests

    archive = (folder / "benchmark.tgz").read_bytes()
    server.answers["/benchmark.tgz"] = [status(404)]
    archive_of_voc = (folder / "VOCtrainval_11-May-2012.tar").read_bytes()
    server.answers["/VOCtrainval_11-May-2012.tar"] = [
        broken_off(archive_of_voc, 9000),
        whole(archive_of_voc),
    ]
    code, out, err = run(capsys, "voc2012", "--root", tmp_path / "other", "--jobs", 1)
    assert code == 2 and "no longer exists" in err and "1 of 2 files" in err.splitlines()[-1]
    server.answers["/benchmark.tgz"] = [whole(archive)]
    code, out, _ = run(capsys, "voc2012", "--root", tmp_path / "other", "--jobs", 1)
    assert code == 0 and "VOCtrainval_11-May-2012.tar: exists" in out


def test_other_counts_than_the_published_ones(server, published, tmp_path, capsys, monkeypatch):
    published("voc2012", miniature.voc2012())
    monkeypatch.undo()  # the real counts
    folder = tmp_path / "published"
    sources = [
        Source(path.name, "", path.stat().st_size, True, None, "", "") for path in sorted(folder.iterdir())
    ]
    monkeypatch.setattr(download, "dataset_sources", lambda *_: sources)
    code, out, err = run(capsys, "voc2012", "--root", tmp_path / "data", "--jobs", 1, "--mirror", folder)
    assert code == 1 and "instead of 1464" in err and "no checksum is published" in out


def test_a_clip_is_downloaded_and_converted(server, openai_archive, tmp_path, capsys, monkeypatch):
    data = openai_archive.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    monkeypatch.setitem(convert.OPENAI_SHA256, "vit-b-16.pt", sha256)
    real = download.clip_source("ViT-B-16")
    assert sha256 in real.url
    source = Source(
        real.name, f"{server.address}/B", len(data), False, Checksum("sha256", sha256), "", "look"
    )
    monkeypatch.setattr(download, "clip_source", lambda name: source)
    server.answers["/B"] = [whole(data)]
    command = ("clip", "ViT-B-16", "--root", tmp_path / "weights")
    code, out, err = run(capsys, *command)
    assert code == 0 and "as published by OpenAI" in out, err
    converted = tmp_path / "weights/ViT-B-16.safetensors"
    assert clip_state(read_tensors(converted))[0].keys() == clip_state(read_tensors(openai_archive))[0].keys()
    code, out, _ = run(capsys, *command)
    assert code == 0 and out.startswith("nothing to download") and len(server.requests) == 1
    converted.write_bytes(
        converted.read_bytes().replace(sha256.encode(), b"0" * 64)
    )  # another CLIP of this name
    code, _, err = run(capsys, *command)
    assert code == 2 and "rename it" in err


@pytest.mark.parametrize(
    "arguments, part", [(("clip", "RN50"), "ResNet"), (("clip", "ViT-B-17"), "did you mean")]
)
def test_clips_that_cannot_be_had(arguments, part, capsys):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and err.startswith("error: ") and part in err


@pytest.mark.parametrize(
    "arguments", [(), ("cityscapes",), ("voc2012", "--connections", "0"), ("coco-stuff", "--jobs", "0")]
)
def test_impossible_arguments(arguments):
    with pytest.raises(SystemExit, match="2"):
        download.main(list(arguments))


@pytest.mark.parametrize("name", ["coco-stuff", "coco_stuff"])
def test_both_spellings_of_a_benchmark(name):
    assert download.parse_arguments([name]).what == "coco_stuff"
    assert prepare_dataset.make_parser().parse_args([name]).dataset == "coco_stuff"


def test_the_list_names_every_address_and_its_source(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0 and len(re.findall(r"^  https?://", out, re.MULTILINE)) == 12
    assert out.count("repository") >= 12 and "no checksum" in out
