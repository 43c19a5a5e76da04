"""One request: read with limits, checked, answered, and its connection closed."""

import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from absl import logging

from ipmedgan_jax.viewing import requests
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.session import FILL_PARAMETERS

if TYPE_CHECKING:
    from ipmedgan_jax.viewing.server import _HTTPServer

HEADER_SECONDS = 10.0
"""Time for a request's line and headers."""

IDLE_SECONDS = 20.0
"""Time for the next bytes of a body, and for a piece of an answer to be taken."""

SLOWEST = 2**14
"""Bytes a second that a body has at least, on the whole."""

_PIECE = 2**20
_MOST_DRAINED, _DRAIN_SECONDS = 2**22, 1.0

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: itself. NiiVue holds its font and images as `data:`, and starts workers from `blob:`."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

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
}

Answer = tuple[HTTPStatus, Any]


class _Timed(io.RawIOBase):
    """The bytes of a connection, with a time at which all must have come; TimeoutError after it."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self.end = time.monotonic() + HEADER_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(left, IDLE_SECONDS))
        return self._connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """Serves one request of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ipmedgan"
    sys_version = ""
    server: "_HTTPServer"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._timed = _Timed(self.connection)
        self.rfile = io.BufferedReader(self._timed)
        self._unread = 0

    def handle(self) -> None:
        """Serves one request; a client that is too slow or gone is left."""
        self.close_connection = True
        with suppress(OSError):
            self.handle_one_request()
        with suppress(OSError, ValueError):
            self._drain()

    def _drain(self) -> None:
        """Lets the client read the answer: unread bytes would reset the connection."""
        self.connection.shutdown(socket.SHUT_WR)
        self._timed.end = time.monotonic() + _DRAIN_SECONDS
        drained = 0
        while drained < _MOST_DRAINED and (piece := self.rfile.read1(_PIECE)):
            drained += len(piece)

    def handle_expect_100(self) -> bool:
        """Asks for the body only after the checks, in `_body`."""
        return True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_TRACE = do_CONNECT = do_GET

    def _answer(self) -> None:
        """Checks the request and answers it; one line for a refusal, and never a traceback."""
        self.close_connection = True
        try:
            requests.check_host(self.headers, self.server.server_address[1])
            path, query = requests.split_target(self.path, self.server.token)
            if path:
                requests.check_site(self.headers)
            route, arguments, allowed = self._route(path)
            if self.command == "POST":
                requests.check_origin(self.headers, self.server.server_address[1])
            else:
                requests.refuse_body(self.headers)
            status, content = route(*arguments, requests.parameters(query, allowed))
            self._send(status, content)
        except Refusal as refusal:
            self._send(refusal.status, {"error": str(refusal), **refusal.content})
        except TimeoutError:
            self._send(HTTPStatus.REQUEST_TIMEOUT, {"error": "the request took too long"})
        except MemoryError:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, {"error": "the machine has too little memory for this"})
        except ConnectionError:
            raise
        except Exception:
            logging.exception("a request failed")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "an unexpected error; the terminal shows it"})

    def _route(self, path: str) -> tuple[Callable[..., Answer], list[str], tuple[str, ...]]:
        """Returns what serves a path, its arguments from the path, and the parameters that it takes."""
        methods = []
        for method, pattern, route, allowed in _ROUTES:
            if match := re.fullmatch(pattern, path):
                if method == self.command:
                    return getattr(self, route), list(match.groups()), allowed
                methods.append(method)
        if methods:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {' or '.join(methods)}")
        raise Refusal(HTTPStatus.NOT_FOUND, "no such address")

    # ------------------------------------------------------------------ what is served

    def _page(self, given: dict[str, str]) -> Answer:
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
        return HTTPStatus.OK, self.server.session.scan_view()

    def _fill_view(self, name: str, given: dict[str, str]) -> Answer:
        return HTTPStatus.OK, self.server.session.fill_view(name)

    def _save(self, name: str, given: dict[str, str]) -> Answer:
        return HTTPStatus.CREATED, self.server.session.save(name)

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

    def _fill(self, given: dict[str, str]) -> Answer:
        length = requests.content_length(self.headers)
        return HTTPStatus.ACCEPTED, self.server.session.fill(given, length, self._body(length))

    def _cancel(self, given: dict[str, str]) -> Answer:
        self._no_body()
        return HTTPStatus.OK, self.server.session.cancel()

    # ------------------------------------------------------------------ bodies

    def _no_body(self) -> None:
        if requests.content_length(self.headers):
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected no body")

    def _body(self, length: int) -> Iterator[bytes]:
        """Yields the body in pieces; Refusal if it ends early, TimeoutError if it comes too slowly."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        self._timed.end = time.monotonic() + IDLE_SECONDS + length / SLOWEST
        while length:
            piece = self.rfile.read1(min(length, _PIECE))
            if not piece:
                raise Refusal(HTTPStatus.BAD_REQUEST, "the body ended early")
            length -= len(piece)
            yield piece

    def _send(self, status: HTTPStatus, content: Any) -> None:
        """Sends JSON, or a file; with the status 201 a file is to be saved."""
        if not isinstance(content, Path):
            body = json.dumps(content).encode()
            self._send_headers(status, "application/json", len(body))
            self.wfile.write(body)
            return
        with content.open("rb") as file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            saved = content.name if status == HTTPStatus.CREATED else ""
            self._send_headers(HTTPStatus.OK, _TYPES.get(content.suffix, "application/octet-stream"), length, saved)
            self.connection.settimeout(IDLE_SECONDS)
            while piece := file.read(_PIECE):
                self.wfile.write(piece)

    def _send_headers(self, status: HTTPStatus, kind: str, length: int, saved: str = "") -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        if saved:
            plain = re.sub(r"[^A-Za-z0-9._ -]", "_", saved)
            encoded = quote(saved, safe="", errors="replace")
            self.send_header("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what the parser of requests refuses, as all else is refused."""
        self.close_connection = True
        status = HTTPStatus(code)
        if not hasattr(self, "command"):
            self.command = ""
        self._send(status, {"error": status.phrase.lower()})

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: the address of each request holds the token."""


_ROUTES: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("GET", r"", "_page", ()),
    ("GET", r"assets/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?)", "_asset", ()),
    ("GET", r"api/state", "_state", ()),
    ("GET", r"api/scan\.nii\.gz", "_scan", ("scan",)),
    ("GET", r"api/fill", "_fill_state", ()),
    ("GET", r"api/(filled|mask|deviation)\.nii\.gz", "_fill_view", ("fill",)),
    ("GET", r"api/save/(filled|mask|deviation|sidecar)", "_save", ()),
    ("POST", r"api/upload", "_begin_upload", ()),
    ("POST", r"api/upload/([A-Za-z0-9_-]{12})", "_add_file", ("name",)),
    ("POST", r"api/upload/([A-Za-z0-9_-]{12})/open", "_open_upload", ("series",)),
    ("POST", r"api/fill", "_fill", FILL_PARAMETERS),
    ("POST", r"api/cancel", "_cancel", ()),
]
"""Method, path below the token, what serves it, and the parameters that it takes."""
