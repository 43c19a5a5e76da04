"""The local server of `view`: binds to 127.0.0.1, checks each request, and hands it to the session.

Every answer ends its connection, so that no request can hide behind another. The number of connections and the time of each
are bounded.
"""

import secrets
import socket
import socketserver
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.pages import document
from ipmedgan_jax.viewing.handler import Handler
from ipmedgan_jax.viewing.session import Session

ASSETS = Path(__file__).parent / "assets"

MOST_CONNECTIONS = 32
"""Connections that are served at once; of more, those without a token are closed, oldest first."""

HOST = "127.0.0.1"


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

    @property
    def asked(self) -> threading.Event:
        """Is set when somebody has asked for the page."""
        return self._http.asked

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
        self._open: dict[Any, bool] = {}  # oldest first, with whether a token was checked
        self.asked = threading.Event()
        super().__init__(address, Handler)
        self.port = self.server_address[1]

    def admit(self, connection: socket.socket) -> None:
        """Marks a connection as one whose token was checked, so that it is not closed for others."""
        with self._lock:
            if connection in self._open:
                self._open[connection] = True

    def _close_oldest_stranger(self) -> None:
        """Closes the connection that has waited longest without a token, so that idle ones do not keep the page out."""
        with self._lock:
            oldest = next((connection for connection, admitted in self._open.items() if not admitted), None)
            if oldest is not None:
                self._open[oldest] = True  # it is not closed twice
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection in a thread; of too many, the oldest without a token is closed, or else this one."""
        if not self._free.acquire(blocking=False):
            self._close_oldest_stranger()
            if not self._free.acquire(timeout=1):
                self.shutdown_request(request)
                return
        with self._lock:
            self._open[request] = False
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)
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
