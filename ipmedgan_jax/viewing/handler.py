"""One request: read with limits, checked, answered, and its connection closed."""

import errno
import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from absl import logging

from ipmedgan_jax.viewing import requests
from ipmedgan_jax.viewing.connection import IDLE_SECONDS, PIECE, SLOWEST, BoundedStream
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.routes import ROUTES
from ipmedgan_jax.viewing.session import Session

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: its own files. NiiVue holds its font and its images as `data:`."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}
"""Headers of every answer."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".gz": "application/gzip",
    ".zip": "application/zip",
    ".dcm": "application/dicom",
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Answer = tuple[HTTPStatus, Any]


class Served(Protocol):
    """What a handler needs of its server."""

    port: int
    token: str
    assets: dict[str, Path]
    session: Session
    asked: threading.Event

    def admit(self, connection: socket.socket) -> None:
        """Is called when a connection has shown the token."""


class Handler(BaseHTTPRequestHandler):
    """Serves one request of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ipmedgan"
    sys_version = ""
    server: Served  # type: ignore[assignment]

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._stream = BoundedStream(self.connection)
        self.rfile = io.BufferedReader(self._stream)
        self._answered = False

    def handle(self) -> None:
        """Serves one request; a client that is too slow or gone is left."""
        self.close_connection = True
        with suppress(OSError, HTTPException):
            self.handle_one_request()
        with suppress(OSError, HTTPException, ValueError):
            self._stream.drain()

    def handle_expect_100(self) -> bool:
        """Asks for the body only after the checks, in `_body`."""
        return True

    def serve(self) -> None:
        """Checks a request of any method and answers it: one line for a refusal, and never a traceback."""
        self.close_connection = True
        try:
            self._send(*self._serve())
        except Refusal as refusal:
            self._send(refusal.status, {"error": str(refusal), **refusal.content})
        except TimeoutError:
            self._send(HTTPStatus.REQUEST_TIMEOUT, {"error": "the request took too long"})
        except FileNotFoundError:
            self._send(HTTPStatus.GONE, {"error": "this file was replaced meanwhile; reload the page"})
        except (ConnectionError, HTTPException):
            raise
        except MemoryError:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, {"error": "the machine has too little memory for this"})
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                self._send(HTTPStatus.INSUFFICIENT_STORAGE, {"error": "the disk with the temporary files is full"})
                return
            logging.exception("a request failed")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "an unexpected error; the terminal shows it"})

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_TRACE = do_CONNECT = serve

    def _serve(self) -> Answer:
        """Makes all checks, and then what is asked for."""
        requests.check_host(self.headers, self.server.port)
        path, query = requests.split_target(self.path, self.server.token)
        self.server.admit(self.connection)
        if path:
            requests.check_site(self.headers)
        route, arguments, allowed = self._route(path)
        if self.command == "POST":
            requests.check_origin(self.headers, self.server.port)
        else:
            requests.refuse_body(self.headers)
        return route(*arguments, requests.parameters(query, allowed))

    def _route(self, path: str) -> tuple[Callable[..., Answer], list[str], tuple[str, ...]]:
        """Returns what serves a path, its arguments from the path, and the parameters that it takes."""
        methods = []
        for method, pattern, route, allowed in ROUTES:
            if match := re.fullmatch(pattern, path):
                if method == self.command:
                    return getattr(self, route), list(match.groups()), allowed
                methods.append(method)
        if methods:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {' or '.join(methods)}")
        raise Refusal(HTTPStatus.NOT_FOUND, "no such address")

    # ------------------------------------------------------------------ what is served

    def _page(self, given: dict[str, str]) -> Answer:
        self.server.asked.set()
        return self._asset("index.html", given)

    def _asset(self, name: str, given: dict[str, str]) -> Answer:
        if name not in self.server.assets:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such file")
        return HTTPStatus.OK, self.server.assets[name]

    def _state(self, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.state()

    def _fill_state(self, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.fill_state()

    def _scan(self, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.scan_view(given.get("number"))

    def _keep(self, number: str, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, self.server.session.keep(number)

    def _go_back(self, number: str, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, self.server.session.go_back(number)

    def _painted(self, number: str, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.painted(number)

    def _open_mask(self, given: dict[str, str]) -> Answer:
        length = requests.content_length(self.headers)
        return HTTPStatus.OK, self.server.session.open_mask(given, length, self._body(length))

    def _fill_view(self, name: str, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.fill_view(name, given.get("fill"))

    def _save(self, name: str, given: dict[str, str]) -> Answer:
        self._saved = True
        return HTTPStatus.OK, self.server.session.save(name, given.get("fill"))

    def _begin_upload(self, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, {"upload": self.server.session.begin_upload()}

    def _add_file(self, upload: str, given: dict[str, str]) -> Answer:
        length = requests.content_length(self.headers)
        if "name" not in given:
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected the parameter name")
        return HTTPStatus.OK, self.server.session.add_file(upload, given["name"], length, self._body(length))

    def _open_upload(self, upload: str, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, self.server.session.open_upload(upload, given.get("series", ""))

    def _drop_upload(self, upload: str, given: dict[str, str]) -> Answer:
        self._no_body()
        self.server.session.drop_upload(upload)
        return HTTPStatus.OK, {}

    def _fill(self, given: dict[str, str]) -> Answer:
        length = requests.content_length(self.headers)
        return HTTPStatus.ACCEPTED, self.server.session.fill(given, length, self._body(length))

    def _cancel(self, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, self.server.session.cancel(given.get("fill"))

    # ------------------------------------------------------------------ bodies

    def _no_body(self) -> None:
        if requests.content_length(self.headers):
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected no body")

    def _body(self, length: int) -> Iterator[bytes]:
        """Yields the body in pieces; Refusal if it ends early, TimeoutError if it comes too slowly."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        self._stream.allow(IDLE_SECONDS + length / SLOWEST, length)
        while length:
            piece = self.rfile.read1(min(length, PIECE))
            if not piece:
                raise Refusal(HTTPStatus.BAD_REQUEST, "the body ended early")
            length -= len(piece)
            yield piece

    _saved = False

    def _send(self, status: HTTPStatus, content: Any) -> None:
        """Sends JSON or a file."""
        if self._answered:
            raise ConnectionAbortedError("a part of another answer was sent")
        self.connection.settimeout(IDLE_SECONDS)
        if isinstance(content, Path):
            self._send_file(content)
            return
        body = json.dumps(content).encode()
        self._send_headers(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:  # if it is gone, another answer can be sent
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            kind = _TYPES.get(path.suffix, "application/octet-stream")
            saved = {"Content-Disposition": _as_attachment(path.name)} if self._saved else {}
            self._send_headers(HTTPStatus.OK, {"Content-Type": kind, "Content-Length": str(length)} | saved)
            while piece := file.read(PIECE):
                self.wfile.write(piece)

    def _send_headers(self, status: HTTPStatus, more: dict[str, str]) -> None:
        self._answered = True
        self.send_response(status)
        for name, value in (HEADERS | more).items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what the parser of requests refuses, as all else is refused."""
        self.close_connection, self.request_version = True, self.protocol_version
        status = HTTPStatus(code)
        self.command = self.command or ""
        self._send(status, {"error": status.phrase.lower()})

    command = ""

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: the address of each request holds the token."""


def _as_attachment(name: str) -> str:
    """Returns the header that makes a browser save a file under a name, in both forms (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
