"""Downloads from a faulty server: what is resumed, what is refused, and which files are left."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import ssl
import threading
import time
from email.utils import formatdate

import pytest
from trick_server import (
    DATA,
    HASTY,
    broken_off,
    chunked,
    claiming,
    dripping,
    stalling,
    status,
    whole,
)

from jseg.download import Checksum, Mirror, Settings, Source, fetch, progress

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
SHA256 = hashlib.sha256(DATA).hexdigest()


def asked(server):
    """Returns the first requested byte of each request."""
    return [int(re.sub(r"\D", "", headers.get("Range", "0"))) for _, headers in server.requests]


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server, source, tmp_path, capsys):
    server.answers["/file.zip"] = [whole(DATA)]
    for _ in range(2):
        assert fetch([source()], tmp_path, settings=HASTY) == [tmp_path / "file.zip"]
    assert (tmp_path / "file.zip").read_bytes() == DATA and left(tmp_path) == ["file.zip"]
    assert len(server.requests) == 1
    said = capsys.readouterr().out.splitlines()
    assert "SHA-256 correct" in said[0] and "exists" in said[1]


# Name: answers, first requested bytes. All of these end with the correct file.
TEMPORARY = {
    "breaks off twice": (
        lambda: [broken_off(DATA, 30_000), broken_off(DATA, 30_000), whole(DATA)],
        [0, 30_000, 60_000],
    ),
    "breaks off before the head": (lambda: [lambda handler: handler.cut(), whole(DATA)], [0, 0]),
    "stalls": (lambda: [stalling(DATA, 40_000, 0.6), whole(DATA)], [0, 40_000]),
    "drips": (lambda: [dripping(DATA, 0.02, 40), whole(DATA)], None),
    "503 once": (lambda: [status(503), whole(DATA)], [0, 0]),
    "503 with a page": (lambda: [status(503, PAGE, Content_Type="text/html"), whole(DATA)], [0, 0]),
    "429 with seconds": (lambda: [status(429, Retry_After=0), whole(DATA)], [0, 0]),
    "429 with a date": (
        lambda: [status(429, Retry_After=formatdate(time.time() + 1, usegmt=True)), whole(DATA)],
        [0, 0],
    ),
    "429 with nonsense": (lambda: [status(429, Retry_After="soon"), whole(DATA)], [0, 0]),
    "knows no ranges": (
        lambda: [broken_off(DATA, 30_000), whole(DATA, ranges=False)],
        [0, 30_000],
    ),
    "gives another range": (
        lambda: [
            broken_off(DATA, 30_000),
            claiming(DATA[5:], 206, Content_Range=f"bytes 5-99999/{len(DATA)}", Content_Length=len(DATA) - 5),
            whole(DATA),
        ],
        [0, 30_000, 0],
    ),
    "gives a range without saying which": (
        lambda: [broken_off(DATA, 30_000), claiming(DATA[30_000:], 206, Content_Length=70_000), whole(DATA)],
        [0, 30_000, 0],
    ),
    "has changed meanwhile": (
        lambda: [broken_off(b"o" * len(DATA), 30_000, '"v0"'), whole(DATA, '"v1"')],
        [0, 30_000],
    ),
    "has changed and does not say": (
        lambda: [broken_off(b"o" * len(DATA), 30_000, None), whole(DATA, None)],
        [0, 30_000, 0],
    ),
    "refuses the range": (
        lambda: [broken_off(DATA, 30_000), status(416, Content_Range="bytes */7"), whole(DATA)],
        [0, 30_000, 0],
    ),
    "does not say its size": (lambda: [chunked(DATA)], [0]),
    "says a size that is no number of bytes": (
        lambda: [claiming(DATA, Content_Length="9" * 5000)],
        [0],
    ),
    "breaks off without having said its size": (lambda: [chunked(DATA, end=False), whole(DATA)], None),
    "promises more than comes": (
        lambda: [claiming(DATA[:50_000], Content_Length=len(DATA)), whole(DATA, None)],
        [0, 50_000],
    ),
}


@pytest.mark.parametrize("trick", TEMPORARY)
def test_temporary_faults_are_retried(trick, server, source, tmp_path):
    answers, wanted = TEMPORARY[trick]
    server.answers["/file.zip"] = answers()
    fetch([source()], tmp_path, settings=HASTY)
    assert (tmp_path / "file.zip").read_bytes() == DATA and left(tmp_path) == ["file.zip"]
    assert wanted is None or asked(server) == wanted


# Name: answers, parts of the error, number of requests.
REFUSED = {
    "404": (lambda: [status(404)], ("404", "no longer exists", "look for a copy", "--mirror"), 1),
    "410": (lambda: [status(410)], ("410", "no longer exists"), 1),
    "403": (lambda: [status(403)], ("403", "denied", "look for a copy"), 1),
    "451": (lambda: [status(451)], ("451",), 1),
    "503 for ever": (lambda: [status(503)], ("503", "4 attempts in a row", "look for a copy"), 4),
    "breaks off for ever": (
        lambda: [broken_off(DATA, 10_000)],
        ("broke at 40,000 of 100,000", "resume at 0.040 MB"),
        4,
    ),
    "429 for an hour": (lambda: [status(429, Retry_After=3600)], ("429", "3600 s"), 1),
    "a web page": (lambda: [status(200, PAGE, Content_Type="text/html")], ("web page", "browser"), 1),
    "a web page as a file": (
        lambda: [claiming(PAGE.ljust(len(DATA)), Content_Length=len(DATA), Content_Type="application/zip")],
        ("web page",),
        1,
    ),
    "another size": (lambda: [whole(DATA + b"x")], ("100,001 bytes", "100,000"), 1),
    "another size in the range": (
        lambda: [
            broken_off(DATA, 30_000),
            claiming(b"x", 206, Content_Range="bytes 30000-99999/200000", Content_Length=70_000),
        ],
        ("200,000 bytes", "100,000"),
        2,
    ),
    "endless": (lambda: [chunked(DATA * 2)], ("more than the published", "100,000"), 1),
    "another checksum": (
        lambda: [whole(DATA[::-1])],
        ("SHA-256", hashlib.sha256(DATA[::-1]).hexdigest(), SHA256, "downloaded twice"),
        2,
    ),
    "a redirect to http": (
        lambda: [status(302, Location="http://127.0.0.1:9/file.zip")],
        ("redirects to http://127.0.0.1:9/file.zip", "not https"),
        1,
    ),
    "a redirect to a file": (
        lambda: [status(301, Location="file:///etc/passwd")],
        ("invalid redirect", "not allowed"),
        1,
    ),
    "a redirect to nowhere": (lambda: [status(302)], ("invalid redirect", "302"), 1),
    "a redirect to an invalid address": (
        lambda: [status(302, Location="https://[x/")],
        ("invalid address", "look for a copy"),
        1,
    ),
    "an answer that is not HTTP": (
        lambda: [lambda handler: handler.wfile.write(b"\x1b[2J\r\n")],
        ("not HTTP", "4 attempts in a row"),
        4,
    ),
    "compressed": (lambda: [whole(DATA, Content_Encoding="gzip")], ("gzip",), 1),
    "nothing": (lambda: [status(204)], ("204",), 1),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_other_faults_are_refused(trick, server, source, tmp_path):
    answers, parts, requests = REFUSED[trick]
    server.answers["/file.zip"] = answers()
    with pytest.raises(ValueError) as refusal:
        fetch([source()], tmp_path, settings=HASTY)
    assert str(refusal.value).isprintable()
    for part in ("file.zip", *parts):
        assert part in str(refusal.value)
    assert len(server.requests) == requests
    assert not (tmp_path / "file.zip").exists()
    assert all(path.stat().st_size for path in tmp_path.iterdir())


def test_redirects_to_https_are_followed_and_loops_end(server, secure_server, source, tmp_path):
    server.answers["/file.zip"] = [status(301, Location=f"{secure_server.address}/a")]
    secure_server.answers["/a"] = [status(307, Location="/file.zip")]
    secure_server.answers["/file.zip"] = [broken_off(DATA, 30_000), whole(DATA)]
    fetch([source()], tmp_path, settings=HASTY)
    assert (tmp_path / "file.zip").read_bytes() == DATA
    assert asked(secure_server) == [0, 0, 30_000, 30_000]

    server.answers["/file.zip"] = [status(302, Location=f"{secure_server.address}/circle")]
    secure_server.answers["/circle"] = [status(302, Location="/circle")]
    with pytest.raises(ValueError, match=r"file\.zip.*redirects in a loop"):
        fetch([source()], tmp_path / "other", settings=HASTY)


def test_a_certificate_that_is_not_trusted(secure_server, source, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(
        ssl, "_create_default_https_context", ssl._create_unverified_context
    )  # as Jittor does
    mirror = Mirror(secure_server.address)
    with pytest.raises(ValueError, match=r"certificate .* is not trusted.*SSL_CERT_FILE"):
        fetch([source()], tmp_path, mirror, settings=HASTY)
    assert not secure_server.requests


def test_an_unreachable_server(source, server, tmp_path):
    unreachable = Mirror("http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"Connection refused.*4 attempts in a row at http://127\.0\.0\.1:9/"
    ):
        fetch([source()], tmp_path, unreachable, settings=HASTY)


def test_the_next_command_resumes(server, source, tmp_path):
    server.answers["/file.zip"] = [broken_off(DATA, 60_000), status(404), whole(DATA)]
    with pytest.raises(ValueError, match="404"):
        fetch([source()], tmp_path, settings=HASTY)
    assert left(tmp_path) == [".file.zip.part", ".file.zip.part.json"]
    fetch([source()], tmp_path, settings=HASTY)
    assert asked(server) == [0, 60_000, 60_000] and left(tmp_path) == ["file.zip"]


def test_a_complete_part_is_not_asked_for_again(server, source, tmp_path):
    """The process was killed while it computed the checksum."""
    (tmp_path / ".file.zip.part").write_bytes(DATA)
    fetch([source()], tmp_path, settings=HASTY)
    assert not server.requests and left(tmp_path) == ["file.zip"]


def test_a_part_that_is_too_long_is_begun_again(server, source, tmp_path):
    server.answers["/file.zip"] = [whole(DATA)]
    (tmp_path / ".file.zip.part").write_bytes(DATA + b"more")
    fetch([source()], tmp_path, settings=HASTY)
    assert asked(server) == [0] and (tmp_path / "file.zip").read_bytes() == DATA


def test_files_without_exact_size_or_checksum(server, source, tmp_path):
    about = source(size=95_000, exact=False, checksum=False)
    server.answers["/file.zip"] = [broken_off(DATA, 40_000), whole(DATA)]
    fetch([about], tmp_path / "right", settings=HASTY)
    assert asked(server) == [0, 40_000] and (tmp_path / "right/file.zip").read_bytes() == DATA

    server.answers["/file.zip"] = [whole(DATA)]
    with pytest.raises(ValueError, match=r"100,000 bytes .* about 50,000"):
        fetch([source(size=50_000, exact=False, checksum=False)], tmp_path / "wrong", settings=HASTY)

    server.requests.clear()  # without a checksum, parts of two servers are not combined
    (tmp_path / "half").mkdir()
    (tmp_path / "half/.file.zip.part").write_bytes(b"other" * 1000)
    fetch([about], tmp_path / "half", settings=HASTY)
    assert asked(server) == [0]


def test_one_file_that_fails_does_not_stop_the_others(server, source, tmp_path, capsys):
    names = ("a.zip", "b.zip", "c.zip")
    server.answers = {f"/{name}": [whole(DATA)] for name in names}
    server.answers["/b.zip"] = [status(404)]
    with pytest.raises(ValueError, match="1 of 3 files"):
        fetch([source(name) for name in names], tmp_path, settings=HASTY)
    assert left(tmp_path) == ["a.zip", "c.zip"]
    assert "error: b.zip" in capsys.readouterr().err


def test_several_files_at_a_time(server, source, tmp_path):
    """Each of three answers waits until all three have been asked for."""
    together = threading.Barrier(3, timeout=10)

    def waiting(handler):
        together.wait()
        whole(DATA)(handler)

    names = ("a.zip", "b.zip", "c.zip")
    server.answers = {f"/{name}": [waiting] for name in names}
    fetch([source(name) for name in names], tmp_path, settings=Settings(timeout=10, connections=3))
    assert left(tmp_path) == list(names)


def test_an_existing_file_is_never_changed(server, source, tmp_path):
    (tmp_path / "file.zip").write_bytes(DATA[::-1])
    with pytest.raises(ValueError, match=r"exists, but its SHA-256 .* remove or rename it"):
        fetch([source()], tmp_path, settings=HASTY)
    (tmp_path / "file.zip").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"exists, but is not the published file: .*5 bytes"):
        fetch([source()], tmp_path, settings=HASTY)
    assert (tmp_path / "file.zip").read_bytes() == b"short" and not server.requests


def test_free_space_is_checked_first(server, source, tmp_path, monkeypatch):
    (tmp_path / ".file.zip.part").write_bytes(DATA[:40_000])
    free = [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("usage", (), {"free": free[0]}))
    free[0] = 60_000 + 5_000_000 - 1
    with pytest.raises(OSError, match=r"5\.060 MB are needed \(0\.060 MB to download.*--root"):
        fetch([source()], tmp_path, unpacked=5_000_000, settings=HASTY)
    assert not server.requests
    server.answers["/file.zip"] = [whole(DATA, None)]
    free[0] += 1
    fetch([source()], tmp_path, unpacked=5_000_000, settings=HASTY)
    assert asked(server) == [40_000]


def test_a_full_disk(server, source, tmp_path, monkeypatch):
    server.answers["/file.zip"] = [whole(DATA)]
    monkeypatch.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(ValueError, match=r"cannot be written to .*No space left.*--root"):
        fetch([source()], tmp_path, settings=HASTY)
    assert ".file.zip.part" in left(tmp_path) and "file.zip" not in left(tmp_path)


def test_two_processes_do_not_write_the_same_file(server, source, tmp_path):
    with (tmp_path / ".file.zip.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is downloading"):
            fetch([source()], tmp_path, settings=HASTY)
    assert not server.requests


def test_ctrl_c_keeps_received_data(server, source, tmp_path):
    def interrupting(handler):
        broken = stalling(DATA, 50_000, 3)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        broken(handler)

    server.answers["/file.zip"] = [interrupting, whole(DATA)]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch([source()], tmp_path, settings=Settings(timeout=0.5))
    assert time.monotonic() - begun < 2.5
    fetch([source()], tmp_path, settings=HASTY)
    assert asked(server) == [0, 50_000] and left(tmp_path) == ["file.zip"]


def test_a_mirror_takes_the_place_of_the_official_address(server, tmp_path):
    official = Source(
        "file.zip", "http://127.0.0.1:9/x/y.zip", len(DATA), True, Checksum("sha256", SHA256), "", ""
    )
    server.answers["/copies/file.zip"] = [whole(DATA)]
    fetch([official], tmp_path, Mirror(f"{server.address}/copies/"), settings=HASTY)
    assert (tmp_path / "file.zip").read_bytes() == DATA


def test_a_folder_as_mirror_is_checked_and_left_as_it_is(server, source, tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies/file.zip").write_bytes(DATA)
    mirror = Mirror(str(tmp_path / "copies"))
    assert fetch([source()], tmp_path / "data", mirror, settings=HASTY) == [tmp_path / "copies/file.zip"]
    assert not (tmp_path / "data").exists() and not server.requests
    with pytest.raises(ValueError, match="SHA-256"):
        fetch([source(data=DATA[::-1])], tmp_path / "data", mirror, settings=HASTY)
    with pytest.raises(FileNotFoundError, match=r"other\.zip is missing"):
        fetch([source("other.zip")], tmp_path / "data", mirror, settings=HASTY)


@pytest.mark.parametrize(
    "place, sentence",
    [
        ("ftp://host/x", "http or https"),
        ("no/such", "does not exist"),
        ("https://", "names no host"),
        ("http:/host/x", "names no host"),
        ("http://host:port/x", "valid address"),
        ("http://[host/x", "valid address"),
        ("http://host/a b", "%XX"),
        ("http://host/\xfc", "%XX"),
        ("https://name:secret@host/x", "^(?!.*secret).*user name"),
    ],
)
def test_a_mirror_of_another_kind(place, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        Mirror(place)


def test_proxies_of_the_environment_are_used(server, source, tmp_path, monkeypatch):
    """Requests to a proxy contain the whole address."""
    monkeypatch.setenv("http_proxy", server.address)
    server.answers["http://data.example/file.zip"] = [whole(DATA)]
    fetch([source()], tmp_path, Mirror("http://data.example"), settings=HASTY)
    assert (tmp_path / "file.zip").read_bytes() == DATA
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.answers["/file.zip"] = [whole(DATA)]
    fetch([source()], tmp_path / "direct", settings=HASTY)
    assert server.requests[-1][0] == "/file.zip"


def test_progress_without_a_terminal_is_a_line_from_time_to_time(
    server, source, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    server.answers["/file.zip"] = [dripping(DATA, 0.02, 5), whole(DATA)]
    fetch([source()], tmp_path, settings=HASTY)
    line = r"file\.zip: 0\.000 MB of 0\.100 MB \(0 %\), \d+\.\d\d MB/s, \d+:\d\d(:\d\d)? left"
    assert re.search(line, capsys.readouterr().err)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_each_published_kind_of_checksum(algorithm, server, tmp_path):
    digits = hashlib.new(algorithm, DATA).hexdigest()
    source = Source(
        "file.zip", f"{server.address}/f", len(DATA), True, Checksum(algorithm, digits), "", "look"
    )
    server.answers["/f"] = [whole(DATA)]
    fetch([source], tmp_path, settings=HASTY)
    wrong = source.__class__(**{**source.__dict__, "checksum": Checksum(algorithm, digits[::-1])})
    with pytest.raises(ValueError, match=digits):
        fetch([wrong], tmp_path, settings=HASTY)
