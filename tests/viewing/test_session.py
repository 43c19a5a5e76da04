"""What the page does through the server: open, fill, cancel, save; saved files are those that `inpaint` writes."""

import base64
import contextlib
import gzip
import io
import json
import re
import threading
import time
import urllib.parse
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from view_client import GRIDS, serving, write_scan

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import classical_filler
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.load import load_filler
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.systems import classical
from ipmedgan_jax.viewing import fill_files, sources
from ipmedgan_jax.viewing.open_scan import OpenScan, sentence
from ipmedgan_jax.viewing.session import Session


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


FREE = {"image", "mask", "provenance"}
"""Entries of a sidecar that say where its inputs lay, when it was made and by which command."""


def inpainted(command, folder, image, mask, *flags):
    """The files that the command writes, by their names."""
    name = image.name.replace(".nii", "_desc-inpainted.nii")
    done = command("inpaint", f"--image={image}", f"--mask={mask}", f"--output={folder / name}", "--save_masks", *flags)
    assert not done.returncode, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved(client, names):
    """The files that the page saves, by the names that it saves them under."""
    found = {}
    for name in names:
        status, content, headers = client.ask("GET", f"api/save/{name}")
        assert status == 200
        found[urllib.parse.unquote(headers["Content-Disposition"].partition("UTF-8''")[2])] = content
    return found


def assert_same_files(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        if not name.endswith(".json"):
            assert ours[name] == theirs[name], name
            continue
        page, cli = json.loads(ours[name]), json.loads(theirs[name])
        assert list(page) == list(cli)
        assert {key: page[key] for key in page.keys() - FREE} == {key: cli[key] for key in cli.keys() - FREE}


@pytest.mark.parametrize(
    ("grid", "name", "dtype", "slope"),
    [
        ("RAS", "sub-1_FLAIR.nii.gz", "<i2", None),
        ("LPI", "head of a patient.nii", ">i2", 0.5),
        ("oblique", "kopf_äöü.nii.gz", "<f4", None),
    ],
)
def test_saved_files_are_those_of_inpaint(command, client, tmp_path, grid, name, dtype, slope):
    image, mask = write_scan(tmp_path / "in", name, grid, dtype=dtype, slope=slope)
    upload = client.post("api/upload")["upload"]
    client.post(f"api/upload/{upload}?name={urllib.parse.quote(name)}", image.read_bytes())
    scan = client.post(f"api/upload/{upload}/open")
    assert (scan["name"], scan["kind"], scan["shape"]) == (name, "nifti", [20, 18, 7])
    assert scan["orientation"] == "".join(nibabel.aff2axcodes(GRIDS[grid]))
    fill = client.fill(mask.read_bytes(), "source=system:laplace&dilate_mm=1.5&planes=axial,coronal")
    assert (fill["state"], fill["deviation"]) == ("done", False), fill
    theirs = inpainted(
        command, tmp_path / "out", image, mask, "--system=laplace", "--dilate_mm=1.5", "--planes=axial,coronal"
    )
    ours = saved(client, ["filled", "mask", "sidecar"])
    assert_same_files(ours, theirs)
    described = json.loads(ours[image.name.replace(".gz", "").replace(".nii", "_desc-inpainted.json")])
    assert (described["image"], described["mask"]) == (name, "painted on the page of ipmedgan view")
    assert fill["voxels"] == described["mask_voxels"] > np.count_nonzero(nibabel.load(mask).dataobj)


def test_the_page_gets_the_scan_s_own_bytes_and_the_fill(client, tmp_path):
    image, mask = write_scan(tmp_path, "x.nii", "LPI")
    client.open(image)
    shown = nibabel.Nifti1Image.from_bytes(gzip.decompress(client.get("api/scan.nii.gz")))
    assert shown.to_bytes() == nibabel.load(image).to_bytes()
    client.fill(mask.read_bytes())
    filled, where = (_image(client.get(f"api/{name}.nii.gz")) for name in ("filled", "mask"))
    changed = np.asarray(filled.dataobj) != np.asarray(shown.dataobj)
    assert changed.any()
    assert not (changed & (np.asarray(where.dataobj) == 0)).any()


def _image(content):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def test_a_scan_that_the_command_names_is_read_where_it_lies(command, tmp_path):
    image, mask = write_scan(tmp_path / "in")
    before = image.read_bytes()
    session = Session()
    session.open_path(image)
    with serving(session) as client:
        assert client.get("api/state")["scan"]["name"] == image.name
        assert client.get("api/scan.nii.gz") == before
        client.fill(mask.read_bytes())
        sidecar = json.loads(client.get("api/save/sidecar"))
        assert sidecar["image"].endswith("/in/sub-1_FLAIR.nii.gz")
    assert image.read_bytes() == before
    assert sorted(path.name for path in image.parent.iterdir()) == ["mask.nii.gz", "sub-1_FLAIR.nii.gz"]


@pytest.mark.parametrize("name", ["scan.nii.gz", "data/scan.nii.gz"])
def test_a_scan_that_is_named_by_a_relative_path_is_shown(tmp_path, monkeypatch, name):
    image, _ = write_scan((tmp_path / name).parent, "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Session()) as session:
        session.open_path(Path(name))
        assert session.scan_view().read_bytes() == image.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif("model:flair" not in {source.key for source in sources.offered().models}, reason="no such model here")
def test_a_model_fills_as_inpaint_does(client, tmp_path):
    """In this process, because the suite compiles with other flags than the command."""
    image, mask = write_scan(tmp_path / "in", shape=(40, 36, 4))
    state = client.get("api/state")
    assert state["default"] == "model:flair"
    assert state["models"][0]["modality"] == "mri"
    assert "# ipmedgan_plus" in state["models"][0]["card"]
    client.open(image)
    fill = client.fill(mask.read_bytes(), "source=model:flair&samples=2")
    assert (fill["state"], fill["deviation"], fill["done"]) == ("done", True, fill["total"]), fill
    assert fill["warnings"]
    assert not any("/" in warning for warning in fill["warnings"])
    job = Job(image, mask, tmp_path / "out" / "sub-1_FLAIR_desc-inpainted.nii.gz")
    inpaint_file(load_filler(None, "flair", None, "best"), replace(job, mask_output=job.beside), Filling(samples=2))
    theirs = {path.name: path.read_bytes() for path in job.output.parent.iterdir()}
    assert_same_files(saved(client, ["filled", "mask", "deviation", "sidecar"]), theirs)
    assert client.get("api/deviation.nii.gz") == theirs["sub-1_FLAIR_desc-inpainted_std.nii.gz"]


def test_an_earlier_fill_is_not_shown_as_this_one(client, tmp_path):
    image, mask = write_scan(tmp_path)
    client.open(image)
    first = client.fill(mask.read_bytes())["number"]
    second = client.fill(mask.read_bytes())["number"]
    assert second == client.get("api/state")["fill"]["number"] == first + 1
    for path in ("filled.nii.gz", "mask.nii.gz", "deviation.nii.gz", "save/filled", "save/sidecar"):
        status, answer, _ = client.ask("GET", f"api/{path}?fill={first}")
        assert (status, "another fill was made meanwhile; fill again" in str(answer)) == (409, True)
    assert client.get(f"api/filled.nii.gz?fill={second}") == client.get("api/filled.nii.gz")


@pytest.mark.parametrize("dtype", ["<u8", ">i8", ">u2"])
@pytest.mark.parametrize("placed", [True, False])
def test_the_page_gets_a_type_and_a_position_that_it_can_read(client, tmp_path, dtype, placed):
    image, mask = write_scan(tmp_path, grid="LPI")
    array, header = np.abs(nibabel.load(image).get_fdata()).astype(dtype), nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_shape(array.shape)
    header.set_data_dtype(dtype)
    header["scl_slope"], header["vox_offset"], header["magic"] = 0.5, 352, b"n+1"
    if placed:
        header.set_sform(GRIDS["LPI"], 1)
    image.write_bytes(gzip.compress(header.structarr.tobytes() + bytes(4) + array.tobytes("F")))
    stored = nibabel.load(image)
    mask.write_bytes(gzip.compress(nibabel.Nifti1Image(np.asarray(nibabel.load(mask).dataobj), stored.affine).to_bytes()))
    scan = client.open(image)
    client.fill(mask.read_bytes())
    for name in ("scan", "filled"):
        shown = _image(client.get(f"api/{name}.nii.gz"))
        assert shown.header["datatype"] in (2, 4, 8, 16, 64, 256, 512, 768)
        assert shown.header["sform_code"] > 0
        assert np.allclose(shown.affine, stored.affine)
        assert scan["orientation"] == "".join(nibabel.aff2axcodes(shown.affine))
        if name == "scan":
            assert np.array_equal(shown.get_fdata(), stored.get_fdata())
            assert (client.get("api/scan.nii.gz") == image.read_bytes()) == (placed and dtype == ">u2")


@pytest.mark.parametrize("fault", ["members", "zeros", "plain"])
def test_the_page_gets_one_gzip_member(client, tmp_path, fault):
    image, _ = write_scan(tmp_path)
    content, whole = gzip.decompress(image.read_bytes()), image.read_bytes()
    packed = {
        "members": gzip.compress(content[:900]) + gzip.compress(content[900:]),
        "zeros": whole + bytes(9),
        "plain": whole,
    }
    image.write_bytes(packed[fault])
    client.open(image)
    shown, member = client.get("api/scan.nii.gz"), zlib.decompressobj(31)
    assert member.decompress(shown) == content
    assert (member.eof, member.unused_data, shown == whole) == (True, b"", fault == "plain")


@pytest.mark.parametrize("written", [str, without_homes])
def test_messages_name_no_temporary_file_if_these_lie_in_the_home_folder(tmp_path, monkeypatch, written):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "tmp" / "session" / "fill-2"
    scan = SimpleNamespace(image=tmp_path / "study" / "x.nii", name="x.nii")
    order = fill_files.Order(scan, None, folder, folder / "painted" / "mask.nii", 0.0, ("axial",), 0)
    text = written(f"{order.mask}: odd; {scan.image}: odd; {folder}/y.nii: odd")
    assert fill_files.without_folder(text, order) == "the painted mask: odd; x.nii: odd; y.nii: odd"
    assert fill_files.without_folder(text, order, names_only=False).split("; ")[1] == "~/study/x.nii: odd"


# ------------------------------------------------------------------ DICOM


@pytest.fixture
def series(tmp_path):
    pytest.importorskip("pydicom")
    from dicom_series import OBLIQUE, write_slices

    stored = np.random.default_rng(0).integers(900, 1100, (20, 16, 5))
    return write_slices(tmp_path / "series", stored, axes=OBLIQUE, PatientName="Doe^Jane")


def test_a_dicom_series_is_filled_and_saved_as_a_zip_file_and_a_segmentation(client, series, tmp_path):
    import pydicom

    scan = client.open(*sorted(series.iterdir()))
    assert (scan["name"], scan["kind"], scan["modality"], scan["shape"]) == ("series 4", "dicom", "ct", [20, 16, 5])
    shown = _image(client.get("api/scan.nii.gz"))
    file = scans.read_file(series)
    assert np.array_equal(shown.dataobj, file.values())
    mask = np.zeros(shown.shape, np.uint8)
    mask[6:10, 5:9, 1:4] = 1
    body = nibabel.Nifti1Image(mask, shown.affine).to_bytes()
    assert client.fill(body)["state"] == "done"
    (tmp_path / "mask.nii").write_bytes(body)
    job = Job(series, tmp_path / "mask.nii", tmp_path / "out", tmp_path / "out_mask.dcm", file.datasets[0].SeriesInstanceUID)
    inpaint_file(classical_filler.ClassicalFiller("laplace"), job, Filling())
    files = saved(client, ["filled", "mask", "sidecar"])
    assert list(files) == [f"series-4_desc-inpainted{end}" for end in (".zip", "_mask.dcm", ".json")]
    zipfile.ZipFile(io.BytesIO(files["series-4_desc-inpainted.zip"])).extractall(tmp_path / "zip")
    ours, theirs = (scans.read_file(folder) for folder in (tmp_path / "zip", tmp_path / "out"))
    assert np.array_equal(ours.stored, theirs.stored)
    for one, other in zip(ours.datasets, theirs.datasets, strict=True):
        differing = {element.keyword for element in one if element != other[element.tag]}
        assert all("UID" in name or "Time" in name or "Contributing" in name for name in differing), differing
    (tmp_path / "ours.dcm").write_bytes(files["series-4_desc-inpainted_mask.dcm"])
    ours_mask, theirs_mask = (pydicom.dcmread(tmp_path / name) for name in ("ours.dcm", "out_mask.dcm"))
    assert ours_mask.keys() == theirs_mask.keys()  # their sizes differ, because new UIDs have 60 to 64 characters
    assert ours_mask.PixelData == theirs_mask.PixelData
    assert np.array_equal(_image(client.get("api/mask.nii.gz")).dataobj, mask)
    opened = client.post("api/mask?name=lesion.dcm", files["series-4_desc-inpainted_mask.dcm"])
    assert gzip.decompress(base64.b64decode(opened["mask"])) == mask.tobytes(order="F")
    assert np.array_equal(_image(client.get("api/filled.nii.gz")).dataobj, ours.values())
    text = json.dumps([client.get("api/state"), json.loads(files["series-4_desc-inpainted.json"])])
    assert "Doe" not in text
    assert "someone" not in text


def test_a_series_number_that_is_a_path_is_refused(client, tmp_path):
    """It would name the output."""
    pytest.importorskip("pydicom")
    from dicom_series import write_slices

    stored = np.random.default_rng(0).integers(900, 1100, (8, 8, 3))
    series = write_slices(tmp_path / "series", stored, SeriesNumber=12345678)
    upload = client.post("api/upload")["upload"]
    for path in series.iterdir():
        client.post(f"api/upload/{upload}?name=IM.dcm", path.read_bytes().replace(b"12345678", b"../../ab"))
    status, answer, _ = client.ask("POST", f"api/upload/{upload}/open")
    assert (status, "SeriesNumber" in answer["error"]) == (400, True), answer


def test_of_several_series_one_is_chosen(client, series, tmp_path):
    from dicom_series import write_slices

    stored = np.random.default_rng(1).integers(900, 1100, (12, 12, 3))
    other = write_slices(tmp_path / "other", stored, SeriesNumber=7, SeriesDescription="bone")
    upload = client.post("api/upload")["upload"]
    for path in [*series.iterdir(), *other.iterdir()]:
        client.post(f"api/upload/{upload}?name=IM.dcm", path.read_bytes())
    status, content, _ = client.ask("POST", f"api/upload/{upload}/open")
    assert status == 409
    assert content["choose"] == [
        {"number": "1", "description": "series 4: head", "images": 5},
        {"number": "2", "description": "series 7: bone", "images": 3},
    ]
    assert client.ask("POST", f"api/upload/{upload}/open?series=9")[0] == 409
    assert client.post(f"api/upload/{upload}/open?series=2")["name"] == "series 7"


# ------------------------------------------------------------------ refusals that leave all as it is


@pytest.mark.parametrize(
    ("names", "content", "message"),
    [
        (["x.nii.gz"], b"no nifti", "x.nii.gz: not a readable NIfTI file"),
        (["x.txt"], b"words", "expected a NIfTI file"),
        (["x.dcm"], b"\0\1\2", "x.dcm: not a readable DICOM file"),
        (["a.nii", "b.nii"], b"1", "expected one NIfTI file"),
    ],
)
def test_an_upload_that_is_no_scan_leaves_the_earlier_one(client, tmp_path, names, content, message):
    image, mask = write_scan(tmp_path)
    client.open(image)
    client.fill(mask.read_bytes())
    before = client.get("api/state")
    upload = client.post("api/upload")["upload"]
    for name in names:
        client.post(f"api/upload/{upload}?name={name}", content)
    status, answer, _ = client.ask("POST", f"api/upload/{upload}/open")
    assert (status, client.get("api/state")) == (400, before)
    assert message in answer["error"]
    assert "/" not in answer["error"]
    assert client.get("api/save/filled")


def masks(path):
    """Masks that do not fit the scan, by what is wrong with them."""
    image = nibabel.load(path)
    array = np.asarray(image.dataobj)

    def made(array, affine=image.affine, **header):
        changed = nibabel.Nifti1Image(array, affine)
        for name, value in header.items():
            changed.header[name] = value
        return changed.to_bytes()

    nan = array.astype(np.float32)
    nan[0, 0, 0] = np.nan
    return {
        "shape": made(array[:-1]),
        "NaN": made(nan),
        "not whole": made(array * np.float32(0.5)),
        "several values": made(array + 2 * (np.arange(array.size).reshape(array.shape) == 3).astype(np.uint8)),
        "nothing is painted": made(array * 0),
        "another grid": made(array, image.affine + np.diag([0, 0, 0.5, 0])),
        "readable": b"\x1f\x8bnot gzip",
        "header": made(array)[:200],
        "offset": made(array)[:108] + np.float32(2**30).tobytes() + made(array)[112:],
        "every voxel": made(array * 0 + 1),
    }


def test_a_mask_that_does_not_fit_is_refused(client, tmp_path):
    image, mask = write_scan(tmp_path)
    client.open(image)
    client.fill(mask.read_bytes())
    before = client.get("api/fill")
    bodies = masks(mask)
    last = bodies.pop("every voxel")  # only the fill itself can tell, because of --dilate_mm
    for fault, body in bodies.items():
        status, answer, _ = client.ask("POST", "api/fill?source=system:laplace", body)
        assert (status, client.get("api/fill")) == (400, before), fault
        assert "mask" in answer["error"] or "painted" in answer["error"]
        assert "/" not in answer["error"]
    assert client.get("api/save/filled")
    fill = client.fill(last)
    assert (fill["state"], fill["error"]) == (
        "failed",
        "the painted mask: every voxel is masked; there is nothing to fill from",
    )
    assert client.fill(mask.read_bytes())["state"] == "done"


@pytest.mark.parametrize(
    "query",
    [
        "source=model:/etc",
        "source=system:nothing",
        "source=flair",
        "planes=axial,axial",
        "planes=diagonal",
        "samples=1",
        "samples=-2",
        "samples=2",
        "samples=1e3",
        "dilate_mm=-1",
        "dilate_mm=nan",
        "dilate_mm=1e9",
        "overwrite=1",
        "planes=axial&planes=coronal",
        "planes=%ff",
        "planes",
    ],
)
def test_a_bad_option_is_refused(client, tmp_path, query):
    image, mask = write_scan(tmp_path)
    client.open(image)
    query = query if query.startswith("source") else f"source=system:telea&{query}"
    status, answer, _ = client.ask("POST", f"api/fill?{query}", mask.read_bytes())
    assert (status, client.get("api/fill")["state"]) == (400, "idle"), answer


def test_uploads_that_fail_to_open_do_not_block_the_next(client, tmp_path, monkeypatch):
    image, _ = write_scan(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(scans, "read_scan", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
        for _ in range(5):
            upload = client.post("api/upload")["upload"]
            client.post(f"api/upload/{upload}?name=x.nii.gz", image.read_bytes())
            assert client.ask("POST", f"api/upload/{upload}/open")[0] == 507
    assert not list(client.server.session.folder.glob("upload-*"))
    assert client.open(image)


def test_a_scan_with_nan_warns_when_it_is_opened(client, tmp_path):
    array = np.random.default_rng(0).normal(size=(8, 8, 4)).astype(np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "x.nii")
    (warning,) = client.open(tmp_path / "x.nii")["warnings"]
    assert "3 of its voxels are NaN or infinite" in warning


def test_a_suffix_in_capitals_is_a_suffix(client, tmp_path):
    image, mask = write_scan(tmp_path)
    image = image.rename(tmp_path / "SCAN.NII.GZ")
    assert client.open(image)["name"] == "SCAN.NII.GZ"
    assert client.fill(mask.read_bytes())["state"] == "done"
    assert "SCAN_desc-inpainted.nii.gz" in client.ask("GET", "api/save/filled")[2]["Content-Disposition"]


def test_warnings_are_sentences():
    for warning in (scans.UNPLACED, "its qform is no rotation", "does the mask lie on the head?"):
        assert re.fullmatch(r"(The scan has|Its|Does) .*[^.][.?]", sentence(warning))


def test_masks_are_checked_one_at_a_time(client, tmp_path, monkeypatch):
    image, mask = write_scan(tmp_path)
    client.open(image)
    running, most, check, statuses = [], [], OpenScan.check_mask, []

    def slow(scan, path):
        running.append(path)
        most.append(len(running))
        time.sleep(0.1)
        check(scan, path)
        running.remove(path)

    monkeypatch.setattr(OpenScan, "check_mask", slow)
    ask = [lambda: statuses.append(client.ask("POST", "api/fill?source=system:laplace", mask.read_bytes())[0])] * 6
    threads = [threading.Thread(target=target) for target in ask]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert set(statuses) <= {202, 409}
    assert client.wait()["state"] == "done"


# ------------------------------------------------------------------ two tabs, and cancel


@pytest.fixture
def slow_fill(monkeypatch):
    """A fill whose first slice waits until the test lets it go on."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(image, mask):
        begun.set()
        assert go_on.wait(60)
        return classical.FULL_RANGE_FILLS["surround_mean"](image, mask)

    monkeypatch.setitem(classical.FULL_RANGE_FILLS, "telea", wait)
    yield begun, go_on
    go_on.set()


def test_one_fill_at_a_time_and_no_other_scan_meanwhile(client, tmp_path, slow_fill):
    begun, go_on = slow_fill
    image, mask = write_scan(tmp_path)
    number = client.open(image)["number"]
    upload = client.post("api/upload")["upload"]
    client.post(f"api/upload/{upload}?name=y.nii.gz", image.read_bytes())
    client.post("api/fill?source=system:telea", mask.read_bytes())
    assert begun.wait(60)
    assert client.get("api/fill")["state"] == "filling"
    assert client.ask("POST", "api/fill?source=system:laplace", mask.read_bytes())[0] == 409
    assert client.ask("POST", f"api/upload/{upload}/open")[0] == 409
    assert client.get("api/state")["scan"]["number"] == number
    go_on.set()
    assert client.wait()["state"] == "done"
    assert client.post(f"api/upload/{upload}/open")["number"] != number
    assert client.get("api/fill")["state"] == "idle"
    assert client.ask("GET", "api/save/filled")[0] == 404


def test_a_fill_is_cancelled_at_its_next_slice(client, tmp_path, slow_fill):
    begun, go_on = slow_fill
    image, mask = write_scan(tmp_path)
    client.open(image)
    client.post("api/fill?source=system:telea", mask.read_bytes())
    assert begun.wait(60)
    client.post("api/cancel")
    go_on.set()
    fill = client.wait()
    assert (fill["state"], fill["done"]) == ("cancelled", 0)
    assert client.ask("GET", "api/save/filled")[0] == 404
    assert client.fill(mask.read_bytes())["state"] == "done"


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_fill_that_comes_to_nothing_leaves_the_one_before(client, tmp_path, monkeypatch, slow_fill, end):
    begun, go_on = slow_fill
    image, mask = write_scan(tmp_path)
    client.open(image)
    first = client.fill(mask.read_bytes())
    content = client.get("api/save/filled")
    if end == "failed":
        monkeypatch.setitem(classical.FULL_RANGE_FILLS, "telea", lambda image, mask: begun.set() or {}["a bug"])
    second = client.post("api/fill?source=system:telea", mask.read_bytes())["number"]
    assert begun.wait(60)
    if end == "cancelled":
        assert client.get(f"api/save/filled?fill={first['number']}") == content
        assert client.get(f"api/fill/{second}/painted") == client.get(f"api/fill/{first['number']}/painted")
        client.post(f"api/cancel?fill={second}")
        go_on.set()
    assert client.wait()["state"] == end
    for number in ("", f"?fill={first['number']}"):
        assert client.get(f"api/save/filled{number}") == content
        assert client.get(f"api/filled.nii.gz{number}")
    assert client.ask("GET", f"api/save/filled?fill={second}")[0] == 409
    state = client.get("api/state")
    assert (state["finished"], state["fill"]["number"], state["fill"]["state"]) == (first, second, end)
    third = client.fill(mask.read_bytes())
    assert client.get("api/state")["finished"] == third
    assert client.ask("GET", f"api/save/filled?fill={first['number']}")[0] == 409
    assert len(list(client.server.session.folder.glob("fill-*"))) == 1


def test_a_mask_of_a_scan_that_another_tab_replaced_is_refused(client, tmp_path):
    image, mask = write_scan(tmp_path)
    number = client.open(image)["number"]
    client.open(image)
    status, answer, _ = client.ask("POST", f"api/fill?source=system:laplace&scan={number}", mask.read_bytes())
    assert (status, answer["error"]) == (409, "another scan was opened meanwhile; reload the page")


def test_tabs_at_once_all_get_whole_answers(client, tmp_path):
    image, mask = write_scan(tmp_path)
    client.open(image)
    client.fill(mask.read_bytes())
    found = []

    def use():
        for _ in range(5):
            upload = client.post("api/upload")["upload"]
            found.append(client.post(f"api/upload/{upload}?name=x", b"12345"))
            found.append(client.get("api/scan.nii.gz") == image.read_bytes())
            client.post(f"api/upload/{upload}/drop")  # else it makes room for another tab's, perhaps before its file has come

    tabs = [threading.Thread(target=use) for _ in range(3)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert len(found) == 30
    assert all(answer in (True, {"files": 1, "bytes": 5}) for answer in found)


def test_an_unexpected_error_is_one_line_on_the_page_and_a_traceback_in_the_terminal(client, tmp_path, monkeypatch, caplog):
    image, mask = write_scan(tmp_path)
    client.open(image)
    monkeypatch.setitem(classical.FULL_RANGE_FILLS, "telea", lambda image, mask: {}["secret"])
    fill = client.fill(mask.read_bytes(), "source=system:telea")
    assert (fill["state"], fill["error"]) == ("failed", "an unexpected error; the terminal shows it")
    assert "KeyError: 'secret'" in caplog.text
    monkeypatch.setattr(client.server.session, "scan_view", lambda: {}["secret"])
    status, answer, _ = client.ask("GET", "api/scan.nii.gz")
    assert (status, answer) == (500, {"error": "an unexpected error; the terminal shows it"})


# ------------------------------------------------------------------ sources


def test_the_page_offers_every_classical_fill():
    assert sources.CLASSICAL.keys() == classical.FILLS.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"system": "laplac"}, "--system=laplac: expected one of laplace"),
        ({"model": "nothing"}, "--model=nothing: not found"),
        ({"workdir": "nothing"}, "--workdir=nothing: not found"),
        ({"model": "flair", "system": "laplace"}, "at most one of"),
    ],
)
def test_what_does_not_exist_is_not_offered(given, message):
    with pytest.raises(UserError, match=message):
        sources.offered(**given)


def test_a_folder_without_a_readable_model_is_an_error(tmp_path):
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(UserError, match=r"no readable model\.json"):
        sources.offered(model=str(tmp_path))


def test_a_user_s_model_and_run_are_offered_first(tmp_path):
    (tmp_path / "flair").mkdir()
    (tmp_path / "flair" / "model.json").write_text('{"system": "mine", "step": 3}')
    own = sources.offered(model=str(tmp_path / "flair"))
    assert (own.default, own.models[0].title) == ("model:flair (own)", "mine, step 3")
    run = sources.offered(workdir=str(tmp_path))
    assert (run.default, run.models[0].title) == (f"model:{tmp_path.name}", f"run {tmp_path.name}")
    assert sources.offered(system="telea").default == "system:telea"
