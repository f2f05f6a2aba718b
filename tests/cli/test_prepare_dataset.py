"""tools/prepare_dataset.py as a user runs it: killed, interrupted, resumed; exit status and messages."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import miniature
import numpy as np
import pytest

from jseg.cli import prepare_dataset
from jseg.datasets import read_mask

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "prepare_dataset.py"
MASKS = "VOCdevkit/VOC2012/SegmentationClassAug"


def command(*arguments):
    return [sys.executable, str(TOOL), *map(str, arguments)]


@pytest.fixture
def main(capsys):
    """The command in this process: arguments -> exit status, what it printed to stdout and to stderr."""

    def call(*arguments):
        status = prepare_dataset.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return call


def refused(result, status, *parts):
    """The command ended with this status and with errors that contain all parts."""
    code, _, errors = result
    assert code == status and errors.startswith("error: "), errors
    for part in parts:
        assert part in errors, errors


def counted(text, **pictures):
    """Every split is printed with its number of images, between two separators."""
    parts = [re.findall(r"\w+", part) for part in re.split("[,;\n]", text)]
    return all(any({name, str(number)} <= set(part) for part in parts) for name, number in pictures.items())


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Miniature VOC with 60 more images in SBD, large enough that
    the conversion can be caught in the middle."""
    root = tmp_path_factory.mktemp("many")
    miniature.unpack(miniature.voc2012(), root)
    sbd = root / "benchmark_RELEASE/dataset"
    picture = miniature.jpeg(np.zeros((300, 400, 3), np.uint8))
    for number in range(60):
        (root / f"VOCdevkit/VOC2012/JPEGImages/2011_{number:06d}.jpg").write_bytes(picture)
        (sbd / f"cls/2011_{number:06d}.mat").write_bytes(
            miniature.matlab(GTcls={"Segmentation": large_mask(number)})
        )
    with (sbd / "train.txt").open("a") as file:
        file.write("".join(f"2011_{number:06d}\n" for number in range(60)))
    return root


def large_mask(number):
    """Noise, which compresses slowly."""
    return np.random.default_rng(number).integers(0, 21, (300, 400)).astype(np.uint8)


def listen_to_ctrl_c():
    """A suite that was started in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begun(root, *arguments):
    """The command in a process group of its own, after it has finished some masks but not all."""
    process = subprocess.Popen(
        command("voc2012", "--data-root", root, "--any-count", *arguments),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=listen_to_ctrl_c,
    )
    end = time.monotonic() + 300
    while sum(1 for _ in (root / MASKS).glob("*.png")) < 15:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.002)
    return process


def family(pid):
    """Process ids of the children, without those of Python's own resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("how, jobs", [(signal.SIGKILL, 2), (signal.SIGINT, 2), (signal.SIGINT, 1)])
def test_interrupted_and_resumed(many, main, how, jobs):
    """After kill -9 and after Ctrl-C, all existing masks are complete, no
    process remains, and the next run creates the others."""
    masks = many / MASKS
    for path in masks.glob("*"):
        path.unlink()
    for name in ("aug.txt", "trainaug.txt"):
        (many / "VOCdevkit/VOC2012/ImageSets/Segmentation" / name).unlink(missing_ok=True)
    process = begun(many, "--jobs", jobs)
    workers = family(process.pid)
    assert len(workers) == (jobs if jobs > 1 else 0)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does it
    else:
        process.kill()
    errors = process.communicate(timeout=300)[1]
    if how is signal.SIGINT:
        assert process.returncode == 130 and "interrupted" in errors.splitlines()[-1].lower()
        assert "Traceback" not in errors and not list(masks.glob(".*"))
    end = time.monotonic() + 120
    while not all(map(gone, workers)):
        assert time.monotonic() < end, "a worker outlived the command"
        time.sleep(0.01)
    done = sorted(masks.glob("*.png"))
    assert 15 <= len(done) < 73
    ages = {path: path.stat().st_mtime_ns for path in done}
    for path in done:
        assert read_mask(path).any()  # decodes to its end
    assert not (many / "VOCdevkit/VOC2012/ImageSets/Segmentation/aug.txt").exists()

    status, out, _ = main("voc2012", "--data-root", many, "--any-count", "--jobs", 1)
    assert status == 0
    assert re.search(rf"SegmentationClassAug\D*\b{73 - len(done)}\b\D*\b{len(done)}\b", out)
    assert counted(out, train=5, val=4, aug=68, trainaug=73)
    assert all(path.stat().st_mtime_ns == age for path, age in ages.items())
    assert not list(masks.glob(".*"))
    for number in range(60):
        np.testing.assert_array_equal(read_mask(masks / f"2011_{number:06d}.png"), large_mask(number))


KILLED = """
import os, runpy, shutil, signal, sys
copy = shutil.copyfileobj
count = 0
def die_at_the_seventh(source, target, length):
    global count
    count += 1
    if count == 7:
        target.write(source.read(10))
        target.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    copy(source, target, length)
shutil.copyfileobj = die_at_the_seventh
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize(
    "name, source, files", [("coco_stuff", miniature.coco_stuff, 10), ("voc2012", miniature.voc2012, 29)]
)
def test_killed_while_unpacking(tmp_path, main, name, source, files):
    """The seventh file is half written at a power failure. It does not exist, and the six before it are
    kept."""
    miniature.pack(source(), tmp_path)
    arguments = [str(TOOL), name, "--data-root", str(tmp_path), "--any-count", "--jobs", "1"]
    assert subprocess.run([sys.executable, "-c", KILLED, *arguments]).returncode == -signal.SIGKILL
    assert (
        len([path for path in tmp_path.rglob("*.*") if path.parent != tmp_path and path.suffix != ".part"])
        == 6
    )
    assert len(list(tmp_path.rglob(".*.part"))) == 1
    status, out, _ = main(*arguments[1:])
    unpacked = [
        int(re.search(r"(?<!\S)\d+(?!\S)", line).group())
        for line in out.splitlines()
        if re.search(r"\.(zip|tar|tgz)\b", line)
    ]
    assert status == 0 and unpacked[0] == (0 if name == "coco_stuff" else files - 6)
    assert not list(tmp_path.rglob(".*.part")) and main(*arguments[1:], "--check")[0] == 0


def test_exit_status_and_messages(main, tmp_path):
    refused(main("voc2012", "--data-root", tmp_path / "no"), 2, str(tmp_path / "no"), "--data-root")
    refused(main("voc2012", "--data-root", tmp_path), 2, "JPEGImages", "VOCtrainval_11-May-2012")
    refused(main("context", "--data-root", tmp_path, "--check"), 2, "VOC2010", "Context")
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    wrong = main("coco_stuff", "--data-root", tmp_path, "--jobs", 1)
    refused(wrong, 1, "coco_stuff164k", "train2017", "118287")
    assert all(counted(printed, train2017=6) for printed in wrong[1:]) and len(wrong[2].splitlines()) == 4
    ready = ("coco_stuff", "--data-root", tmp_path, "--any-count", "--check", "--jobs", 1)
    assert main(*ready)[0] == 0
    mask = next((tmp_path / "coco_stuff164k/annotations/val2017").glob("*_labelTrainIds.png"))
    mask.write_bytes(b"")
    refused(main(*ready), 1, str(mask))


@pytest.mark.parametrize("arguments", [("coco_stuff", "--jobs", "0"), ("cityscapes",), ()])
def test_impossible_arguments(main, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(*arguments)


def test_bad_annotation_ends_with_status_1(main, tmp_path):
    miniature.unpack(miniature.context_mat(), tmp_path)
    path = tmp_path / "VOCdevkit/VOC2010/trainval" / f"{miniature.CONTEXT_VAL[0]}.mat"
    path.write_bytes(b"")
    refused(main("context", "--data-root", tmp_path, "--any-count", "--jobs", 1), 1, str(path))


def test_two_processes_make_what_one_makes(tmp_path):
    """The real command, with the root from the environment; its check too."""
    for jobs in (1, 2):
        miniature.unpack(miniature.context_json(), tmp_path / str(jobs))
        environment = {**os.environ, "JSEG_DATA_ROOT": str(tmp_path / str(jobs))}
        options = dict(capture_output=True, text=True, env=environment)
        made = subprocess.run(command("context", "--any-count", "--jobs", jobs), **options)
        assert made.returncode == 0, made.stderr
        assert f"{tmp_path / str(jobs)}/VOCdevkit/VOC2010" in made.stdout.splitlines()[-1]
    checked = subprocess.run(command("context", "--any-count", "--check", "--jobs", 2), **options)
    assert checked.returncode == 0 and counted(checked.stdout.splitlines()[-1], train=5, val=4)
    masks = [
        {path.name: path.read_bytes() for path in (tmp_path / jobs).rglob("SegmentationClassContext/*")}
        for jobs in "12"
    ]
    assert masks[0] == masks[1] and len(masks[0]) == 9
