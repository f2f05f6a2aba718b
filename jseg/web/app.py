"""The HTTP interface: the page, its files, and the JSON API described in docs/web.md."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException

from jseg import __version__
from jseg.web.access import Access, check, protect
from jseg.web.engine import Engine
from jseg.web.limits import Limits
from jseg.web.photos import FORMATS
from jseg.web.question import parse_download, parse_question
from jseg.web.refusal import Refusal
from jseg.web.samples import sample_body, samples
from jseg.web.worker import UPLOAD, Worker

_STATIC = Path(__file__).parent / "static"
_CLIENT = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Start:
    """The initial state of the page.

    Attributes:
        words: initial words.
        threshold: initial threshold.
        note: a sentence about the model, "" for none.
        sample: whether to show the first sample.
    """

    words: tuple[str, ...] = ()
    threshold: float = 0.0
    note: str = ""
    sample: bool = False


def create_app(engine: Engine, worker: Worker, start: Start, access: Access, limits: Limits) -> Flask:
    """Creates the application. All methods of `engine` are called through `worker`."""
    app = Flask("jseg.web", static_folder=str(_STATIC), static_url_path="/static")
    app.config.update(MAX_CONTENT_LENGTH=limits.image_bytes, SEND_FILE_MAX_AGE_DEFAULT=0)
    app.url_map.merge_slashes = False  # no redirects
    app.json.sort_keys = False
    app.before_request(lambda: check(request, access))
    app.after_request(protect)
    _add_errors(app)

    @app.get("/")
    def page() -> Response:
        return send_from_directory(_STATIC, "index.html")

    @app.get("/api/info")
    def info() -> Response:
        return jsonify(_info(engine, start, limits))

    @app.post("/api/images")
    def add_image() -> tuple[Response, int]:
        client = _client()
        body = _sample() if request.mimetype == "application/json" else _image()
        return jsonify(worker.run(lambda _: engine.add_photo(body, client), client, UPLOAD)), 201

    @app.post("/api/segment")
    def segment() -> Response:
        question = parse_question(_json(limits), limits)
        lane = f"segment {question.model}"
        return jsonify(worker.run(lambda ticket: engine.answer(question, ticket), _client(), lane))

    @app.post("/api/download")
    def download() -> Response:
        asked = parse_download(_json(limits), limits)
        kind, content = worker.run(lambda ticket: engine.file(asked, ticket), _client(), "download")
        ending = "json" if asked.form == "json" else "png"
        headers = {"Content-Disposition": f'attachment; filename="{asked.form}.{ending}"'}
        return Response(content, mimetype=kind, headers=headers)

    def _sample() -> bytes:
        body = _json(limits)
        name = body.get("sample") if isinstance(body, dict) else None
        return sample_body(name if isinstance(name, str) else "")

    return app


def _info(engine: Engine, start: Start, limits: Limits) -> dict[str, Any]:
    models = [
        {"key": offer.key, "title": offer.title, "facts": engine.facts.get(offer.key)}
        for offer in engine.offers.values()
    ]
    return {
        "version": __version__,
        "models": models,
        "start": {
            "words": list(start.words),
            "threshold": start.threshold,
            "note": start.note,
            "sample": start.sample,
        },
        "samples": samples(),
        "limits": {
            "image_bytes": limits.image_bytes,
            "pixels": limits.pixels,
            "formats": list(FORMATS),
            "words": limits.words,
            "letters": limits.letters,
        },
    }


def _client() -> str | None:
    """Returns the name that the client chose, so that newer requests replace its older ones."""
    name = request.headers.get("X-Jseg-Client")
    if name is not None and not _CLIENT.fullmatch(name):
        raise Refusal(400, "X-Jseg-Client must be 1 to 64 letters, digits, - or _")
    return name


def _image() -> bytes:
    if not request.mimetype.startswith("image/") and request.mimetype != "application/octet-stream":
        raise Refusal(
            415, "send the content of the file as the body, with Content-Type image/jpeg, png or webp"
        )
    body = request.get_data(cache=False)
    if not body:
        raise Refusal(400, "the image is empty")
    return body


def _json(limits: Limits) -> Any:
    if request.mimetype != "application/json":
        raise Refusal(415, "send JSON, with Content-Type application/json")
    request.max_content_length = limits.query_bytes
    try:
        return request.get_json()
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None


def _add_errors(app: Flask) -> None:
    """Makes every error a JSON response with one sentence."""

    @app.errorhandler(Refusal)
    def refused(refusal: Refusal) -> Response:
        response = jsonify({"error": refusal.sentence})
        response.status_code = refusal.status
        if refusal.retry_after is not None:
            response.headers["Retry-After"] = str(refusal.retry_after)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    @app.errorhandler(ValueError)
    @app.errorhandler(OSError)
    def wrong(error: Exception) -> tuple[Response, int]:
        return jsonify({"error": str(error)}), 400

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"error": error.description or error.name}), error.code or 500
