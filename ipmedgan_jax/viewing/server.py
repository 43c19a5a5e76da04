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

from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.viewing.handler import Handler
from ipmedgan_jax.viewing.session import Session

ASSETS = Path(__file__).parent / "assets"

MOST_CONNECTIONS = 32
"""Connections that are served at once; more wait in the queue of the system, or are refused."""

HOST = "127.0.0.1"


class Server:
    """A server of one session. `start` serves in threads until `close`."""

    def __init__(self, session: Session, port: int = 0):
        """Binds to a port of 127.0.0.1, any free one for 0; UserError if it cannot be bound."""
        self.session = session
        try:
            self._http = _HTTPServer((HOST, port), session)
        except (OSError, OverflowError) as error:
            raise UserError(f"--port={port}: cannot be used ({reason(error)}); choose another, or 0 for any") from error
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="server", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server is bound to."""
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{HOST}:{self.port}/{self._http.token}/"

    def start(self) -> None:
        """Starts to serve, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops serving; open connections end with their time."""
        if self._thread.is_alive():
            self._http.shutdown()
        self._http.server_close()


class _HTTPServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server whose connections are threads of a bounded number."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], session: Session):
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.assets = {str(path.relative_to(ASSETS)): path for path in ASSETS.rglob("*") if path.is_file()}
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Serves a connection in a thread, or closes it at once if there are too many."""
        if not self._free.acquire(timeout=1):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is no matter of the terminal."""

    def server_close(self) -> None:
        with suppress(OSError):
            super().server_close()
