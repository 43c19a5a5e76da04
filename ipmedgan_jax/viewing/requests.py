"""Checks of requests before anything is done for them: who asks, from where, for what, and how much is sent.

Another program, another account of the machine and a page of another site can all reach a port of 127.0.0.1. So each request
needs the token, which only the address holds. Its Host must be this server, because a foreign name may resolve to 127.0.0.1
(DNS rebinding). What changes something needs an Origin of this server and a header that a form of another site cannot send.
"""

import hmac
import re
import unicodedata
from collections.abc import Sequence
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

LONGEST_NAME = 200
"""Bytes of the name of an uploaded file; names of outputs are longer, and file systems take 255."""

_LARGEST_LENGTH = 2**50
_MOST_PARAMETERS = 10


class Refusal(Exception):
    """A request that is refused: its status, and what the answer holds beside the line `error`."""

    def __init__(self, status: HTTPStatus, message: str, **content: Any):
        super().__init__(" ".join(message.split()))
        self.status = status
        self.content = content


def check_host(headers: Message, port: int) -> None:
    """Refuses a request whose Host is not this server, or that has several."""
    hosts = headers.get_all("Host") or []
    if len(hosts) != 1 or hosts[0].strip().lower() not in _hosts(port):
        raise Refusal(HTTPStatus.FORBIDDEN, f"expected the Host 127.0.0.1:{port} or localhost:{port}")


def check_origin(headers: Message, port: int) -> None:
    """Refuses a request that may change something unless a page of this server sent it."""
    origins = headers.get_all("Origin") or []
    if len(origins) != 1 or origins[0] not in [f"http://{host}" for host in _hosts(port)]:
        raise Refusal(HTTPStatus.FORBIDDEN, "expected the Origin of this page")
    if headers.get_all("X-Ipmedgan") != ["1"]:
        raise Refusal(HTTPStatus.FORBIDDEN, "expected the header X-Ipmedgan: 1")


def check_site(headers: Message) -> None:
    """Refuses what a browser says that a page of another site asked for; programs that are no browser say nothing."""
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(HTTPStatus.FORBIDDEN, "asked for by a page of another site")


def _hosts(port: int) -> tuple[str, str]:
    return f"127.0.0.1:{port}", f"localhost:{port}"


def split_target(target: str, token: str) -> tuple[str, str]:
    """Returns the path below the token, as it came, and the query. Refuses another token, and a target that is no path."""
    path, _, query = target.partition("?")
    given, separator, rest = path.removeprefix("/").partition("/")
    if not path.startswith("/") or not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
        raise Refusal(HTTPStatus.FORBIDDEN, "expected the address that the terminal shows, with its token")
    if not separator:
        raise Refusal(HTTPStatus.NOT_FOUND, "the address ends in a slash")
    return rest, query


def parameters(query: str, allowed: Sequence[str]) -> dict[str, str]:
    """Returns the parameters of a query; refuses unknown, repeated and broken ones."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError as error:  # UnicodeDecodeError is one
        raise Refusal(HTTPStatus.BAD_REQUEST, "the parameters of the address are broken") from error
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or set(names) - set(allowed):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"expected the parameters {', '.join(allowed) or '(none)'}, each once")
    return dict(pairs)


def content_length(headers: Message) -> int:
    """Returns the length of a request's body; refuses one without a plain length, and one sent in chunks."""
    if headers.get_all("Transfer-Encoding") or headers.get_all("Content-Encoding"):
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a body with a Content-Length, not in chunks and not encoded")
    lengths = headers.get_all("Content-Length") or []
    if not lengths:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,16}", lengths[0]) or int(lengths[0]) > _LARGEST_LENGTH:
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected one Content-Length, a whole number")
    return int(lengths[0])


def refuse_body(headers: Message) -> None:
    """Refuses a request that sends a body where none belongs."""
    if headers.get_all("Transfer-Encoding") or (headers.get_all("Content-Length") and content_length(headers)):
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected no body")


def check_name(name: str) -> str:
    """Returns the name of an uploaded file; refuses a path, and what is no name of a file."""
    broken = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    if (
        broken
        or not name
        or set(name) & set("/\\")
        or name in (".", "..")
        or len(name.encode(errors="replace")) > LONGEST_NAME
    ):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, f"expected the name of a file, without folders, of at most {LONGEST_NAME} bytes"
        )
    return name
