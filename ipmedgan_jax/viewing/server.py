"""The local server of `view`: binds to 127.0.0.1, checks each request, and hands it to the session.

Every answer ends its connection, so that no request can hide behind another. The number of connections and the time of each
are bounded.
"""

import hmac
import secrets
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.pages import document
from ipmedgan_jax.viewing.handler import Handler
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.session import Session

ASSETS = Path(__file__).parent / "assets"

MOST_CONNECTIONS = 32
"""Connections that are served at once; others wait, or are closed after a second."""

HOST = "127.0.0.1"

ONCE_SECONDS = 60.0
"""How long the address for the browser can be used."""


class Server:
    """A server of one session. `start` serves in threads until `close`."""

    def __init__(self, session: Session, port: int = 0):
        """Binds to a port of 127.0.0.1, any free one for 0; UserError if it cannot be bound."""
        self.session = session
        try:
            self._http = HTTPServer((HOST, port), session)
        except (OSError, OverflowError) as error:
            raise UserError(f"--port={port}: cannot be used ({reason(error)}); choose another, or 0 for any") from error
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="server", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server is bound to."""
        return self._http.port

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{HOST}:{self.port}/{self._http.token}/"

    def url_for_browser(self) -> str:
        """Returns an address that leads to the page once, within a minute.

        A browser is started with its address on the command line, which other accounts of the machine can read.
        """
        return f"http://{HOST}:{self.port}/once/{self._http.issue()}"

    def start(self) -> None:
        """Starts to serve, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops serving, and ends open connections."""
        if self._thread.is_alive():
            self._http.shutdown()
        self._http.server_close()


class HTTPServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server whose connections are threads of a bounded number."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], session: Session):
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.assets = {path.relative_to(ASSETS).as_posix(): path for path in ASSETS.rglob("*") if path.is_file()}
        self.assets["base.css"] = document.ASSETS / "base.css"  # the colours of all pages
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self._once, self._once_end = "", 0.0
        super().__init__(address, Handler)
        self.port = self.server_address[1]

    def issue(self) -> str:
        """Returns a word that `redeem` takes once; an earlier one becomes invalid."""
        with self._lock:
            self._once, self._once_end = secrets.token_urlsafe(32), time.monotonic() + ONCE_SECONDS
            return self._once

    def redeem(self, word: str) -> str:
        """Returns the path of the page for the word of `issue`; Refusal for another, a used or an old one."""
        with self._lock:
            fits = bool(self._once) and hmac.compare_digest(word, self._once) and time.monotonic() < self._once_end
            self._once = "" if fits else self._once
        if not fits:
            raise Refusal(HTTPStatus.GONE, "this address leads to the page once; open the one that the terminal shows")
        return f"/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection in a thread, or closes it if there are too many."""
        if not self._free.acquire(timeout=1):
            self.shutdown_request(request)
            return
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no matter of the terminal."""

    def server_close(self) -> None:
        """Closes the socket, and the connections, whose threads end then."""
        super().server_close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
