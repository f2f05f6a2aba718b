"""`jseg web`: invalid command lines, its models, and Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from jseg.cli import REPOSITORY, web_demo
from jseg.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [["--config", "x"], ["--compare-config", "x"], ["--port", "65536"], ["--port", "x"], ["photo.jpg"]],
)
def test_incomplete_command_lines(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        web_demo.parse_args(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(web_demo.importlib.util, "find_spec", lambda name: None)
    assert main(["web"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "jseg[web]" in said and "flask and waitress" in said


def test_a_port_in_use_is_named(capsys):
    pytest.importorskip("flask", reason="the extra 'web' is not installed")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["web", "--port", port]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and port in said and "--port" in said


@pytest.mark.parametrize(
    "arguments, titles, sample",
    [
        ([], ["CLIP-RC, small, for drawings", "CLIP alone, training-free"], True),
        (["--checkpoint", "a/run.safetensors"], ["run.safetensors", "CLIP alone, training-free"], False),
        (["--clip", "a/ViT-B-16.pt"], ["ViT-B-16.pt, training-free"], False),
        (["--checkpoint", "a", "--compare", "c/b.pth", "--compare-config", "d"], ["a", "b.pth"], False),
        (["--checkpoint", "a", "--compare-clip", "c/b.pt"], ["a", "b.pt, training-free"], False),
    ],
)
def test_models_and_start(arguments, titles, sample):
    pytest.importorskip("flask", reason="the extra 'web' is not installed")
    args = web_demo.parse_args(arguments)
    offered = web_demo.offers(args)
    assert [offer.title for offer in offered] == titles and [offer.key for offer in offered] == ["a", "b"][
        : len(titles)
    ]
    start = web_demo.start(args)
    assert (start.sample, bool(start.note), bool(start.words)) == (sample, sample, sample)


@pytest.mark.slow
def test_ctrl_c_ends_the_server(tmp_path):
    """Started in an empty folder, opened by the printed link."""
    pytest.importorskip("flask", reason="the extra 'web' is not installed")
    command = [sys.executable, "-m", "jseg", "web", "--port", "0", "--device", "cpu"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("open http://127.0.0.1:"), process.stderr.read()
            with urllib.request.urlopen(line.split()[1]) as page:
                assert b"<title>jseg" in page.read()
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "stopped\n") and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
