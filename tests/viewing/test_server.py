"""Hostile requests: each is refused with its status, nothing changes, and the server goes on answering."""

import contextlib
import gzip
import json
import socket
import threading
import time

import nibabel
import pytest
from view_client import serving, write_scan

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.viewing import browser, connection, server
from ipmedgan_jax.viewing.handler import HEADERS
from ipmedgan_jax.viewing.server import Server
from ipmedgan_jax.viewing.session import Session
from ipmedgan_jax.viewing.uploads import Limits

LIMIT = 200_000


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A server with a scan and its fill, whose state no request may change."""
    folder = tmp_path_factory.mktemp("scan")
    image, mask = write_scan(folder)
    with serving(Session(limits=Limits(bytes=LIMIT, files=3, uploads=2))) as client:
        client.open(image)
        assert client.fill(mask.read_bytes())["state"] == "done"
        client.mask = mask.read_bytes()
        yield client


@pytest.fixture
def unchanged(client):
    """Fails if the state, a saved file or the files of the session differ after the test."""

    def look():
        files = sorted(str(path) for path in client.server.session.folder.rglob("*") if "upload-" not in str(path))
        return client.get("api/state"), client.get("api/save/filled"), files

    before = look()
    yield client
    assert look() == before


def raw(client, data, *, shut=False):
    """All bytes that the server answers to some bytes."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as open_socket:
        with contextlib.suppress(ConnectionError):
            open_socket.sendall(data)
        if shut:
            open_socket.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := open_socket.recv(65536):
                answer += piece
    return answer


def status_of(answer):
    return int(answer.split()[1])


# ------------------------------------------------------------------ who asks, and from where

GET, POST = ("GET", "api/state"), ("POST", "api/upload")
OTHER = "http://evil.example"

REFUSED = {
    "no token": (403, "GET", "/api/state", {}),
    "the root": (403, "GET", "/", {}),
    "a wrong token": (403, "GET", f"/{'A' * 43}/api/state", {}),
    "a token in the query": (403, "GET", "/?token={token}", {}),
    "a token that is cut": (403, "GET", "/{cut}/api/state", {}),
    "a token with more": (403, "GET", "/{token}A/api/state", {}),
    "a token in other letters": (403, "GET", "/{swapped}/api/state", {}),
    "a token that is no ASCII": (403, "GET", "/\u00e9\u00e9/api/state", {}),
    "a token without a slash": (404, "GET", "/{token}", {}),
    "a whole address": (403, "GET", "http://127.0.0.1/{token}/api/state", {}),
    "another Host": (403, *GET, {"Host": "evil.example"}),
    "another Host with the port": (403, *GET, {"Host": "evil.example:{port}"}),
    "another port": (403, *GET, {"Host": "127.0.0.1:1"}),
    "a Host that begins alike": (403, *GET, {"Host": "127.0.0.1:{port}.evil.example"}),
    "no Host": (403, *GET, {"Host": None}),
    "two Hosts": (403, *GET, {"Host": ["127.0.0.1:{port}", "evil.example"]}),
    "a page of another site": (403, *GET, {"Sec-Fetch-Site": "cross-site"}),
    "another port's page": (403, *GET, {"Sec-Fetch-Site": "same-site"}),
    "another Origin": (403, *POST, {"Origin": OTHER}),
    "the Origin null": (403, *POST, {"Origin": "null"}),
    "an Origin by https": (403, *POST, {"Origin": "https://127.0.0.1:{port}"}),
    "an Origin of another port": (403, *POST, {"Origin": "http://127.0.0.1:1"}),
    "an Origin with a path": (403, *POST, {"Origin": "http://127.0.0.1:{port}/"}),
    "no Origin": (403, *POST, {"Origin": None}),
    "two Origins": (403, *POST, {"Origin": ["http://127.0.0.1:{port}", OTHER]}),
    "no X-Ipmedgan": (403, *POST, {"X-Ipmedgan": None}),
    "another X-Ipmedgan": (403, *POST, {"X-Ipmedgan": "2"}),
    "a cancel from elsewhere": (403, "POST", "api/cancel", {"Origin": OTHER}),
    "a fill from elsewhere": (403, "POST", "api/fill?source=system:laplace", {"Origin": OTHER}),
    "a mask from elsewhere": (403, "POST", "api/mask", {"Origin": OTHER}),
    "a going back from elsewhere": (403, "POST", "api/scan/1/back", {"Origin": OTHER}),
    # what is asked for
    "an unknown address": (404, "GET", "api/nothing", {}),
    "an address with more": (404, "GET", "api/state/more", {}),
    "a parent folder": (404, "GET", "assets/../server.py", {}),
    "many parents": (404, "GET", "assets/../../../../../../etc/passwd", {}),
    "an encoded parent": (404, "GET", "assets/%2e%2e/server.py", {}),
    "an encoded slash": (404, "GET", "assets/..%2fserver.py", {}),
    "a backslash": (404, "GET", "assets/..\\server.py", {}),
    "an absolute path": (404, "GET", "assets//etc/passwd", {}),
    "a null byte": (404, "GET", "assets/index.html%00.js", {}),
    "a hidden file": (404, "GET", "assets/.lock", {}),
    "another file to save": (404, "GET", "api/save/lock", {}),
    "a parent to save": (404, "GET", "api/save/../../.lock", {}),
    "no deviation": (404, "GET", "api/deviation.nii.gz", {}),
    "an unknown parameter": (400, "GET", "api/state?path=/etc/passwd", {}),
    "GET where POST belongs": (405, "GET", "api/upload", {}),
    "POST where GET belongs": (405, "POST", "api/state", {}),
    "PUT": (405, "PUT", "api/fill", {}),
    "DELETE": (405, "DELETE", "api/state", {}),
    "OPTIONS": (405, "OPTIONS", "api/upload", {"Access-Control-Request-Method": "POST"}),
    "HEAD": (405, "HEAD", "api/state", {}),
    "TRACE": (405, "TRACE", "api/state", {}),
    "CONNECT": (405, "CONNECT", "api/state", {}),
    "an unknown method": (501, "BREW", "api/state", {}),
    # lengths
    "no length": (411, *POST, {"Content-Length": None}),
    "a negative length": (400, *POST, {"Content-Length": "-1"}),
    "a length that is no number": (400, *POST, {"Content-Length": "many"}),
    "a length with a sign": (400, *POST, {"Content-Length": "+0"}),
    "a length in other digits": (400, *POST, {"Content-Length": "\u00b2"}),
    "a length of 17 digits": (400, *POST, {"Content-Length": "9" * 17}),
    "two lengths": (400, *POST, {"Content-Length": ["0", "5"]}),
    "two equal lengths": (400, *POST, {"Content-Length": ["0", "0"]}),
    "chunks": (411, *POST, {"Transfer-Encoding": "chunked"}),
    "chunks and a length": (411, *POST, {"Transfer-Encoding": "chunked", "Content-Length": "0"}),
    "an encoded body": (411, *POST, {"Content-Encoding": "gzip"}),
    "a body of GET": (400, *GET, {"Content-Length": "5"}),
    "a body where none belongs": (400, "POST", "api/cancel", {"Content-Length": "5"}),
    "a mask of a petabyte": (413, "POST", "api/fill?source=system:laplace", {"Content-Length": str(10**15)}),
    "an opened mask of a petabyte": (413, "POST", "api/mask", {"Content-Length": str(10**15)}),
    "an opened mask that is a path": (400, "POST", "api/mask?name=../x.nii", {}),
    "an empty mask": (400, "POST", "api/mask", {}),
    "labels that are none": (400, "POST", "api/mask?labels=1;2", {}),
    "an opening that is not the last": (409, "POST", "api/scan/7/back", {}),
    "the number of a scan that is none": (404, "POST", "api/scan/x/keep", {}),
    "the painted mask of no fill": (409, "GET", "api/fill/0/painted", {}),
    # uploads
    "no such upload": (404, "POST", "api/upload/AAAAAAAAAAAA?name=x", {}),
    "an upload by a path": (404, "POST", "api/upload/../../etc?name=x", {}),
    "an upload to open that is not": (404, "POST", "api/upload/AAAAAAAAAAAA/open", {}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_hostile_request_is_refused(unchanged, fault):
    expected, method, path, headers = REFUSED[fault]
    token, port = unchanged.token, unchanged.port
    if path.startswith(("/", "http")):
        path = path.format(token=token, cut=token[:-1], swapped=token.swapcase())
    filled = {
        name: [line.format(port=port) for line in value] if isinstance(value, list) else value and value.format(port=port)
        for name, value in headers.items()
    }
    start = path if path.startswith(("/", "http")) else f"/{token}/{path}"
    own = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "X-Ipmedgan": "1"}
    own |= {"Content-Length": "0"} if method == "POST" else {}
    lines = [f"{method} {start} HTTP/1.1"]
    for name, value in (own | filled).items():
        lines += [f"{name}: {line}" for line in (value if isinstance(value, list) else [value] * (value is not None))]
    answer = raw(unchanged, "\r\n".join([*lines, "", ""]).encode("latin-1"), shut=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == expected, answer
    assert_headers(head.decode())
    if method != "HEAD":
        assert list(json.loads(body)) == ["error"]
        assert "Traceback" not in body.decode()
        assert unchanged.token not in body.decode()


def assert_headers(head):
    lines = head.split("\r\n")
    for name, value in HEADERS.items():
        assert f"{name}: {value}" in lines
    assert not any(line.lower().startswith("access-control-") for line in lines)


def test_every_answer_forbids_frames_sniffing_and_other_origins(client):
    for path in ("api/state", "api/scan.nii.gz", "api/save/sidecar"):
        assert_headers("\r\n".join(f"{name}: {value}" for name, value in client.ask("GET", path)[2].items()))
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def test_localhost_is_this_server_too(client):
    host = f"localhost:{client.port}"
    assert client.ask("POST", "api/upload", Host=host, Origin=f"http://{host}")[0] == 200


# ------------------------------------------------------------------ broken and excessive requests


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: %s\r\n" % (i, b"y" * 9000) for i in range(90)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"a b c d\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n", 400),
    ],
    ids=[
        "a long line",
        "10,000 headers",
        "810 KB of headers",
        "a long header",
        "HTTP 9.9",
        "no version",
        "no path",
        "words",
        "TLS",
    ],
)
def test_what_is_no_request_is_refused(unchanged, data, expected):
    answer = raw(unchanged, data, shut=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == expected
    assert_headers(head.decode())
    assert list(json.loads(body)) == ["error"]


def test_a_request_of_http_0_9_gets_no_page(unchanged):
    assert b"<html" not in raw(unchanged, f"GET /{unchanged.token}/\r\n\r\n".encode(), shut=True)


def test_a_second_request_behind_the_first_is_not_served(unchanged):
    """So none can be smuggled: an answer ends its connection."""
    host = f"Host: 127.0.0.1:{unchanged.port}\r\n"
    one = f"GET /{unchanged.token}/api/fill HTTP/1.1\r\n{host}Connection: keep-alive\r\n\r\n".encode()
    assert raw(unchanged, one * 3).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "../escaped",
        "/tmp/escaped",
        "a/b",
        "a%5Cb",
        "x%00.nii",
        "x%0d%0aSet-Cookie:1",
        "x%1b%5b2J",
        "%ff",
        "n" * 201,
        "%ed%a0%80",
    ],
)
def test_a_name_that_is_no_name_of_a_file_is_refused(unchanged, name):
    upload = unchanged.post("api/upload")["upload"]
    status, _, _ = unchanged.ask("POST", f"api/upload/{upload}?name={name}", b"12345")
    assert status == 400
    assert unchanged.post(f"api/upload/{upload}?name=x", b"1") == {"files": 1, "bytes": 1}
    folder = unchanged.server.session.folder
    assert not [*folder.rglob("escaped"), *folder.parent.glob("escaped")]


def test_an_upload_is_bounded_in_bytes_and_files(unchanged):
    upload, other = (unchanged.post("api/upload")["upload"] for _ in range(2))
    before = time.monotonic()
    status, answer, _ = unchanged.ask("POST", f"api/upload/{upload}?name=x", None, Content_Length=str(LIMIT + 1))
    assert (status, "200,000 bytes" in answer["error"]) == (413, True)
    assert time.monotonic() - before < 10  # it did not wait for the body
    unchanged.post(f"api/upload/{upload}?name=x", b"x" * (LIMIT - 100))
    assert unchanged.ask("POST", f"api/upload/{upload}?name=x", b"x" * 101)[0] == 413
    assert unchanged.ask("POST", f"api/upload/{other}?name=x", b"x" * 101)[0] == 413
    for count in (2, 3):
        assert unchanged.post(f"api/upload/{upload}?name=x", b"x")["files"] == count
    status, answer, _ = unchanged.ask("POST", f"api/upload/{upload}?name=x", b"x")
    assert (status, answer["error"]) == (413, "more than 3 files")
    unchanged.post("api/upload")
    assert unchanged.ask("POST", f"api/upload/{upload}?name=x", b"x")[0] == 404  # the oldest made room


def test_an_abandoned_upload_makes_room(unchanged, monkeypatch):
    abandoned, upload = (unchanged.post("api/upload")["upload"] for _ in range(2))
    unchanged.post(f"api/upload/{abandoned}?name=x", b"x" * (LIMIT - 100))
    status, answer, _ = unchanged.ask("POST", f"api/upload/{upload}?name=x", b"x" * 101)
    assert (status, answer["error"].startswith("other uploads that were not opened hold 199,900 of")) == (413, True)
    monkeypatch.setattr("ipmedgan_jax.viewing.uploads._IDLE_SECONDS", 0)
    assert unchanged.post(f"api/upload/{upload}?name=x", b"x" * 101)["files"] == 1
    assert unchanged.ask("POST", f"api/upload/{abandoned}?name=x", b"x")[0] == 404


def test_the_page_drops_an_upload(unchanged):
    before = {path.name for path in unchanged.server.session.folder.glob("upload-*")}
    upload, other = (unchanged.post("api/upload")["upload"] for _ in range(2))
    unchanged.post(f"api/upload/{upload}?name=x", b"x" * LIMIT)
    assert unchanged.post(f"api/upload/{upload}/drop") == {}
    assert unchanged.ask("POST", f"api/upload/{upload}/drop")[0] == 404
    assert unchanged.post(f"api/upload/{other}?name=x", b"x" * LIMIT)["files"] == 1
    unchanged.post(f"api/upload/{other}/drop")
    assert {path.name for path in unchanged.server.session.folder.glob("upload-*")} <= before


def test_a_body_that_ends_early_leaves_nothing(unchanged):
    upload = unchanged.post("api/upload")["upload"]
    host = f"127.0.0.1:{unchanged.port}"
    head = f"POST /{unchanged.token}/api/upload/{upload}?name=x HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    answer = raw(unchanged, f"{head}X-Ipmedgan: 1\r\nContent-Length: 1000\r\n\r\nabc".encode(), shut=True)
    assert status_of(answer) == 400
    assert unchanged.ask("POST", f"api/upload/{upload}/open")[1] == {"error": "this upload has no file"}
    assert unchanged.post(f"api/upload/{upload}?name=x", b"12") == {"files": 1, "bytes": 2}


def test_a_body_is_asked_for_only_after_the_checks(unchanged):
    upload = unchanged.post("api/upload")["upload"]
    host = f"127.0.0.1:{unchanged.port}"
    head = f"POST /{unchanged.token}/api/upload/{upload}?name=x HTTP/1.1\r\nHost: {host}\r\nX-Ipmedgan: 1\r\n"
    head += "Expect: 100-continue\r\nContent-Length: 3\r\n"
    assert status_of(raw(unchanged, f"{head}Origin: null\r\n\r\n".encode(), shut=True)) == 403
    answer = raw(unchanged, f"{head}Origin: http://{host}\r\n\r\nabc".encode(), shut=True)
    assert [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP")] == [
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 200 OK",
    ]


def test_a_file_that_unpacks_to_far_more_is_refused(unchanged, monkeypatch):
    """As a scan and an opened mask by the bound on memory, as a painted mask by its shape, before it is unpacked."""
    monkeypatch.setenv("IPMEDGAN_MEMORY_GIB", "0.05")
    header = nibabel.Nifti1Header()
    header.set_data_dtype("u1")
    header.set_data_shape((2000, 2000, 5))
    header["vox_offset"] = 352
    bomb = gzip.compress(header.structarr.tobytes() + bytes(4 + 2000 * 2000 * 5))
    assert len(bomb) < 20_000
    upload = unchanged.post("api/upload")["upload"]
    unchanged.post(f"api/upload/{upload}?name=x.nii.gz", bomb)
    status, answer, _ = unchanged.ask("POST", f"api/upload/{upload}/open")
    assert status == 400
    assert "GiB of memory" in answer["error"]
    status, answer, _ = unchanged.ask("POST", "api/fill?source=system:laplace", bomb)
    assert (status, answer["error"]) == (400, "the mask has shape (2000, 2000, 5), the scan (20, 18, 7)")
    status, answer, _ = unchanged.ask("POST", "api/mask?name=x.nii.gz", bomb)
    assert (status, "GiB of memory" in answer["error"]) == (400, True)


# ------------------------------------------------------------------ slow clients and many


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr("ipmedgan_jax.viewing.handler.IDLE_SECONDS", 0.4)
    with serving() as client:
        yield client


def test_a_client_that_sends_a_byte_at_a_time_is_left(impatient):
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as slow, contextlib.suppress(OSError):
        while time.monotonic() - begun < 30:
            slow.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - begun < 20
    assert impatient.get("api/state")


def test_a_body_that_does_not_come_is_left(impatient):
    upload = impatient.post("api/upload")["upload"]
    status, answer, _ = impatient.ask("POST", f"api/upload/{upload}?name=x", b"1", Content_Length="1000")
    assert (status, answer["error"]) == (408, "the request took too long")
    assert impatient.post(f"api/upload/{upload}?name=x", b"12") == {"files": 1, "bytes": 2}


def test_more_connections_than_are_served_wait_or_are_closed(impatient):
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", impatient.port), timeout=60))
        time.sleep(1)
        assert threading.active_count() <= before + 3
    assert impatient.get("api/state")


def test_idle_connections_do_not_keep_the_page_out(monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with serving() as client, contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=60))
        begun = time.monotonic()
        assert client.get("api/state")
        assert time.monotonic() - begun < connection.HEADER_SECONDS / 2


# ------------------------------------------------------------------ the address


def test_the_token_is_long_and_new_each_time():
    tokens = []
    for _ in range(2):
        with serving() as client:
            tokens.append(client.token)
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 43


def test_the_browser_gets_the_address_in_a_private_file(tmp_path, monkeypatch):
    opened, asked, url = [], threading.Event(), "http://127.0.0.1:1/secret/"

    def open_file(address):
        path = tmp_path / "open.html"
        opened.append((address, path.stat().st_mode & 0o777, path.read_text()))
        asked.set()

    monkeypatch.setattr(browser.webbrowser, "open", open_file)
    assert browser.open_page(url, tmp_path, asked)
    ((address, mode, text),) = opened
    assert (address, mode) == ((tmp_path / "open.html").as_uri(), 0o600)
    assert f"url={url}" in text
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(browser, "SECONDS", 0.01)
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: False)
    assert not browser.open_page(url, tmp_path, threading.Event())


def test_the_server_tells_when_the_page_is_asked_for():
    with serving() as client:
        client.get("api/state")
        assert client.ask("GET", "/wrong/")[0] == 403
        assert not client.server.asked.is_set()
        client.get("")
        assert client.server.asked.is_set()


def test_a_port_that_is_taken_is_an_error_in_one_line(client):
    with pytest.raises(UserError, match=rf"^--port={client.port}: cannot be used \(Address already in use\); choose another"):
        Server(client.server.session, client.port)


def test_only_this_machine_can_connect(client):
    assert client.server._http.server_address[0] == "127.0.0.1"
