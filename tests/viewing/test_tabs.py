"""Several tabs, and a page that cannot show what it opened: no tab gets what is another's, and nothing is lost."""

import threading

import pytest
from view_client import serving, write_scan

from ipmedgan_jax.systems import classical


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


def test_a_tab_cancels_its_own_fill_alone(client, tmp_path, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setitem(classical.FULL_RANGE_FILLS, "telea", lambda image, mask: go_on.wait(60) and image)
    image, mask = write_scan(tmp_path)
    client.open(image)
    number = client.post("api/fill?source=system:telea", mask.read_bytes())["number"]
    status, answer, _ = client.ask("POST", f"api/cancel?fill={number - 1}")
    assert (status, answer["error"]) == (409, "another tab's fill is running; cancel it there")
    assert client.get("api/fill")["state"] in ("loading", "filling")
    client.post(f"api/cancel?fill={number}")
    go_on.set()
    assert client.wait()["state"] == "cancelled"


def test_a_tab_does_not_get_the_scan_that_another_opened(client, tmp_path):
    image, _ = write_scan(tmp_path)
    number = client.open(image)["number"]
    assert client.get(f"api/scan.nii.gz?number={number}") == image.read_bytes()
    client.open(image)
    status, answer, _ = client.ask("GET", f"api/scan.nii.gz?number={number}")
    assert (status, answer["error"]) == (409, "another scan was opened meanwhile; reload the page")


def test_an_opening_is_undone_with_scan_and_fill(client, tmp_path):
    image, mask = write_scan(tmp_path)
    other, _ = write_scan(tmp_path / "other", "other.nii.gz", shape=(8, 8, 4))
    scan = client.open(image)
    fill = client.fill(mask.read_bytes())
    before = client.get("api/save/filled")
    number = client.open(other)["number"]
    assert client.get("api/state")["fill"]["state"] == "idle"
    assert client.post(f"api/scan/{number}/back")["scan"] == scan
    assert client.get("api/state")["fill"] == fill
    assert client.get(f"api/save/filled?fill={fill['number']}") == before
    assert client.get("api/scan.nii.gz") == image.read_bytes()
    assert client.ask("POST", f"api/scan/{number}/back")[0] == 409
    assert client.ask("POST", f"api/scan/{scan['number']}/back")[0] == 409
    assert len(list(client.server.session.folder.glob("scan-*"))) == 1


@pytest.mark.parametrize("step", ["keep", "fill"])
def test_a_scan_that_was_replaced_is_removed_once_the_next_is_used(client, tmp_path, step):
    image, mask = write_scan(tmp_path)
    client.open(image)
    client.fill(mask.read_bytes())
    number = client.open(image)["number"]
    folder = client.server.session.folder
    assert len(list(folder.glob("scan-*"))) == 2
    if step == "keep":
        client.post(f"api/scan/{number}/keep")
        assert not list(folder.glob("fill-*"))
    else:
        client.fill(mask.read_bytes())
    assert [path.name for path in folder.glob("scan-*")] == [f"scan-{number}"]
    assert client.ask("POST", f"api/scan/{number}/back")[0] == 409
