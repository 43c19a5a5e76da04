"""A client of the local server of `view`, and small scans for it."""

import contextlib
import http.client
import json
import time

import nibabel
import numpy as np

from ipmedgan_jax.viewing.server import Server
from ipmedgan_jax.viewing.session import Session

SECONDS = 240
ROTATION = nibabel.eulerangles.euler2mat(0.2, -0.15, 0.3)
GRIDS = {
    "RAS": np.diag([1.5, 1.0, 2.0, 1]),
    "LPI": np.array([[-1.5, 0, 0, 20], [0, -1, 0, 15], [0, 0, -2, 9], [0, 0, 0, 1.0]]),
    "oblique": nibabel.affines.from_matvec(ROTATION @ np.diag([-1.2, 1.0, 2.5]), [7, -3, 12]),
}


class Client:
    """Sends requests as the page does; `headers` of a call replace or, if None, leave out those of the page."""

    def __init__(self, server):
        self.server, self.port = server, server.port
        self.token = server.url.split("/")[3]

    def ask(self, method, path, body=None, **headers):
        """The status, the content (JSON parsed) and the headers of an answer; `path` is below the token, or absolute."""
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}", "X-Ipmedgan": "1"}
        if method == "POST":
            own["Content-Length"] = str(len(body or b""))
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.putrequest(
                method, path if path.startswith("/") else f"/{self.token}/{path}", skip_host=True, skip_accept_encoding=True
            )
            for name, value in own.items():
                for line in value if isinstance(value, list) else [value] * (value is not None):
                    connection.putheader(name, line)
            with contextlib.suppress(ConnectionError):  # the answer may come before all is sent
                connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        is_json = answer.getheader("Content-Type") == "application/json" and "/save/" not in path
        return answer.status, json.loads(content) if is_json else content, answer.headers

    def get(self, path):
        status, content, _ = self.ask("GET", path)
        assert status == 200, (status, content)
        return content

    def post(self, path, body=None, **headers):
        status, content, _ = self.ask("POST", path, body, **headers)
        assert status in (200, 202), (status, content)
        return content

    def open(self, *paths):
        """Uploads files and opens them as the scan."""
        upload = self.post("api/upload")["upload"]
        for path in paths:
            self.post(f"api/upload/{upload}?name={path.name}", path.read_bytes())
        return self.post(f"api/upload/{upload}/open")

    def fill(self, mask, query="source=system:laplace"):
        """Fills, waits for the end, and returns the last state."""
        self.post(f"api/fill?{query}", mask)
        return self.wait()

    def wait(self):
        end = time.monotonic() + SECONDS
        while (fill := self.get("api/fill"))["state"] in ("loading", "filling"):
            assert time.monotonic() < end, fill
            time.sleep(0.02)
        return fill


@contextlib.contextmanager
def serving(session=None):
    """Gives a client of a new server."""
    session = session or Session()
    server = Server(session)
    server.start()
    session.start(preload=False)
    try:
        yield Client(server)
    finally:
        server.close()
        session.close()


def write_scan(folder, name="sub-1_FLAIR.nii.gz", grid="RAS", shape=(20, 18, 7), dtype="<i2", slope=None):
    """Writes a scan with structure, and beside it `mask.nii.gz` with a few voxels; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    array = 400 * np.exp(-2 * (x**2 + y**2)) * (1.2 + np.sin(4 * z + 3 * x)) + rng.normal(0, 8, shape)
    image = nibabel.Nifti1Image(array.astype(dtype), GRIDS[grid], nibabel.Nifti1Header(endianness=dtype[0]))
    if slope:
        image.header.set_slope_inter(slope, -3)
    image.to_filename(folder / name)
    mask = np.zeros(shape, np.uint8)
    mask[8:12, 7:12, 2:5] = 1
    nibabel.Nifti1Image(mask, GRIDS[grid]).to_filename(folder / "mask.nii.gz")
    return folder / name, folder / "mask.nii.gz"
