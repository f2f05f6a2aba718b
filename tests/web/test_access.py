"""Access control: host names, other pages, the token, and the headers of responses."""

from urllib.parse import urlsplit

import pytest

pytest.importorskip("flask", reason="the extra 'web' is not installed")

from jseg.web.access import HEADERS, LOOPBACK, Access, is_loopback, names_of
from jseg.web.app import Start, create_app
from jseg.web.engine import Engine
from jseg.web.limits import Limits
from jseg.web.server import bind
from jseg.web.worker import Worker

_ALONE, _SMALL = Access(), Limits(image_bytes=5000, query_bytes=500)


@pytest.fixture(scope="module")
def worker():
    made = Worker(waiting=2, seconds=5)
    yield made
    assert made.close()


@pytest.fixture
def client(worker):
    """client(access, limits) -> Flask's client of a server without models."""

    def make(access=_ALONE, limits=_SMALL):
        return create_app(Engine([], limits), worker, Start(), access, limits).test_client()

    return make


def test_every_response_is_protected(client):
    found = client()
    for path, status, kept in (
        ("/", 200, "no-cache"),
        ("/static/main.js", 200, "no-cache"),
        ("/none", 404, "no-store"),
    ):
        with found.get(path) as response:
            assert response.status_code == status and response.headers["Cache-Control"] == kept
            assert {name: response.headers[name] for name in HEADERS} == HEADERS
            assert "Access-Control-Allow-Origin" not in response.headers
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy


def test_the_page_holds_nothing_inline_and_nothing_from_elsewhere(client):
    with client().get("/") as response:
        page = response.get_data(as_text=True)
    assert (
        "<style" not in page
        and "style=" not in page
        and "<script>" not in page
        and " on" + "click=" not in page
    )
    assert "://" not in page


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_this_machine(client, host):
    assert client().get("/api/info", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "evil.example:80@127.0.0.1",
        "",
        "192.0.2.1",
    ],
)
def test_other_names_are_refused(client, host):
    """A page can make its own name resolve to this machine (DNS rebinding), but `Host` then contains it."""
    for path in ("/", "/api/info", "/static/main.js"):
        headers = {"Host": host, "X-Forwarded-Host": "localhost"}
        assert client().get(path, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost@evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_are_refused(client, headers):
    for method, path in (("GET", "/api/info"), ("POST", "/api/images"), ("POST", "/api/segment")):
        assert client().open(path, method=method, headers=headers).status_code == 403


def test_the_own_page_and_programs_are_answered(client):
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert client().get("/api/info", headers=own).status_code == 200
    assert client().get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link leads here


def test_the_token(client):
    guarded = client(Access(LOOPBACK, "secret"))
    for given in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "secret"},
        {"Authorization": "Bearer é"},
    ):
        response = guarded.get("/api/info", headers=given)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer"
    assert guarded.get("/api/info?token=secret").status_code == 401
    assert guarded.get("/api/info", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert guarded.get("/").status_code == 200  # the page itself holds nothing


def test_which_addresses_need_one():
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.0.2.1")
    assert names_of("fe80::1")[:4] == (*LOOPBACK, "[fe80::1]") and "192.0.2.1" in names_of("192.0.2.1")


def test_beyond_loopback_the_link_contains_a_token():
    for host, trusted in (("0.0.0.0", ["Lab.example"]), ("127.0.0.1", [])):
        bound = bind(host, 0, trusted)
        with bound.listener:
            link, access = urlsplit(bound.link), bound.access
        assert link.hostname in access.hosts and set(LOOPBACK) <= set(access.hosts)
        assert ("lab.example" in access.hosts) is bool(trusted)
        assert link.fragment == (f"token={access.token}" if trusted else "")
        assert len(access.token or "") == (24 if trusted else 0)


@pytest.mark.parametrize(
    "method, path, headers, body, status",
    [
        ("POST", "/api/images", {"Content-Type": "text/html"}, b"x", 415),
        ("POST", "/api/images", {"Content-Type": "multipart/form-data; boundary=b"}, b"--b--", 415),
        ("POST", "/api/images", {}, b"x", 415),
        ("POST", "/api/images", {"Content-Type": "image/png"}, b"", 400),
        ("POST", "/api/images", {"Content-Type": "image/png"}, bytes(5001), 413),
        ("POST", "/api/images", {"Content-Type": "image/png", "X-Jseg-Client": "../x"}, b"x", 400),
        ("POST", "/api/images", {"Content-Type": "image/png", "X-Jseg-Client": "x" * 65}, b"x", 400),
        ("POST", "/api/images", {"Content-Type": "application/json"}, b'{"sample": "../../setup"}', 404),
        ("POST", "/api/images", {"Content-Type": "application/json"}, b'{"sample": ["drawing_1"]}', 404),
        ("POST", "/api/images", {"Content-Type": "application/json"}, b"7", 404),
        ("POST", "/api/segment", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/api/segment", {"Content-Type": "application/json"}, b"{", 400),
        ("POST", "/api/segment", {"Content-Type": "application/json"}, b"\xff\xfe", 400),
        ("POST", "/api/segment", {"Content-Type": "application/json"}, b"[" * 400, 400),
        ("POST", "/api/segment", {"Content-Type": "application/json"}, b"[" * 501, 413),
        (
            "POST",
            "/api/segment",
            {"Content-Type": "application/json"},
            b'{"words": "' + b"a," * 150 + b'"}',
            400,
        ),
        (
            "POST",
            "/api/segment",
            {"Content-Type": "application/json"},
            b'{"threshold": NaN, "words": "a"}',
            400,
        ),
        ("POST", "/api/download", {"Content-Type": "application/json"}, b"{}", 400),
        ("GET", "/api/segment", {}, b"", 405),
        ("DELETE", "/api/images", {}, b"", 405),
        ("TRACE", "/api/info", {}, b"", 405),
        ("GET", "/static/../app.py", {}, b"", 404),
        ("GET", "/static/%2e%2e/app.py", {}, b"", 404),
        ("GET", "/static//etc/passwd", {}, b"", 404),
        ("GET", "/api/images/x", {}, b"", 404),
    ],
)
def test_strange_requests(client, method, path, headers, body, status):
    response = client().open(path, method=method, headers=headers, data=body)
    assert response.status_code == status
    assert set(response.get_json() or {"error": ""}) == {"error"}


def test_json_that_is_nested_too_deeply(client):
    """More levels than Python can parse, in a body within the limit."""
    deep = client(limits=Limits())
    response = deep.post("/api/segment", data=b"[" * 60000, content_type="application/json")
    assert response.status_code == 400
