"""The report of a cohort of fills: what it shows, what it never shows, restarts, shards and failures."""

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import fill_pictures, fill_report, plausibility, report_entries, report_names, report_text
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.fill_report_page import about
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import Job, Unpaired
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from tests.inpainting.test_scan import generator, ramp, square, write

LAPLACE = ClassicalFiller("laplace")
LAYERS = {"before.webp", "filled.webp", "difference.webp", "outline.webp", "entry.json"}


def write_scan(folder, name, seed=0, hole=((6, 12), (6, 12), (1, 3))):
    """Writes a smooth scan and its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y, z = np.indices((20, 22, 4))
    array = (200 + 5 * x + 3 * y + z + np.random.default_rng(seed).normal(0, 5, x.shape)).astype(np.float32)
    mask = np.zeros(array.shape, np.uint8)
    mask[tuple(slice(*edges) for edges in hole)] = 1
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}_FLAIR.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / f"{name}_mask.nii.gz")


@pytest.fixture
def fill(tmp_path):
    """A function that fills the scans below `tmp_path/in`, three by default; returns the data of the page."""
    for seed in range(3):
        write_scan(tmp_path / "in", f"sub-{seed}", seed)

    def run(filler=LAPLACE, filling=None, shard=Shard(), image="in", **options):  # noqa: B008
        cohort = Cohort(image=str(tmp_path / image), mask=str(tmp_path / "in"), output=tmp_path / "out", **options)
        fill_cohort(cohort, filling or Filling(), shard, lambda: filler)
        return data_of(tmp_path / "out" / "report.html")

    return run


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL).group(1))


def names(data):
    return sorted(scan["name"] for scan in data["scans"])


def test_a_folder_gets_a_page_with_every_scan_and_its_pictures(fill, tmp_path):
    data = fill(filling=Filling(mask=MaskChoice(dilate_mm=1.0)))
    assert names(data) == [f"sub-{i}_FLAIR" for i in range(3)]
    for scan in data["scans"]:
        saved = json.loads((tmp_path / "out" / f"{scan['name'].replace('_', '_desc-inpainted_')}.json").read_text())
        assert scan["plausibility"] == saved["plausibility"]
        assert (scan["voxels"], scan["ml"], scan["warnings"]) == (saved["mask_voxels"], saved["mask_ml"], saved["warnings"])
        assert (scan["fill"]["filled by"], scan["fill"]["dilated"]) == ("laplace", "1 mm")
        assert {path.name for path in (tmp_path / "out" / "report" / scan["key"]).iterdir()} == LAYERS
    assert str(tmp_path) not in (tmp_path / "out" / "report.html").read_text()


def test_a_fill_whose_surroundings_are_not_known_comes_first_with_the_reason(fill, tmp_path):
    write_scan(tmp_path / "in", "sub-2", 2, hole=((0, 20), (0, 22), (1, 2)))
    first = fill()["scans"][0]
    assert first["name"] == "sub-2_FLAIR"
    assert (first["plausibility"]["figure"], first["plausibility"]["parts"]) == (None, {})
    assert first["plausibility"]["unmeasured"] == "1 slice without a known voxel around the mask"


def test_the_worst_fill_comes_first(fill, monkeypatch):
    class Bad:
        def __init__(self, fill):
            self.fill = fill

        def __getattr__(self, name):
            return getattr(self.fill, name)

        def filled(self, done):
            return self.fill.filled(done) + 90 * self.fill.mask

    def opened(self, scan, mask, planes):
        fill = original(self, scan, mask, planes)
        return Bad(fill) if "sub-1" in scan.file.path.name else fill

    original = ClassicalFiller.open
    monkeypatch.setattr(ClassicalFiller, "open", opened)
    data = fill()
    assert data["scans"][0]["name"] == "sub-1_FLAIR"
    figures = [scan["plausibility"]["figure"] for scan in data["scans"]]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > 3 * figures[1]


@pytest.mark.parametrize(("report", "expected"), [(None, False), (False, False), (True, True)])
def test_a_single_scan_gets_a_page_if_it_is_asked_for(tmp_path, report, expected):
    write_scan(tmp_path, "x")
    paths = {name: str(tmp_path / f"x_{name}.nii.gz") for name in ("FLAIR", "mask")}
    cohort = Cohort(image=paths["FLAIR"], mask=paths["mask"], output=tmp_path / "new" / "filled.nii.gz", report=report)
    fill_cohort(cohort, Filling(), Shard(), lambda: LAPLACE)
    assert (tmp_path / "new" / "filled_report.html").exists() == expected
    if expected:
        data = data_of(tmp_path / "new" / "filled_report.html")
        assert names(data) == ["x_FLAIR"]
        assert (tmp_path / "new" / data["folder"] / data["scans"][0]["key"] / "before.webp").exists()


def test_a_folder_gets_no_page_if_none_is_wanted(fill, tmp_path):
    with pytest.raises(FileNotFoundError):
        fill(report=False)
    assert not (tmp_path / "out" / "report").exists()


# ------------------------------------------------------------------ failures and scans without a fill


def test_failed_and_unfilled_scans_are_in_the_page(fill, tmp_path):
    write_scan(tmp_path / "in", "sub-3", hole=((0, 0),))
    write_scan(tmp_path / "in", "sub-4", hole=((0, 20),))
    write_scan(tmp_path / "in", "sub-5")
    (tmp_path / "in" / "sub-5_mask.nii.gz").unlink()
    with pytest.raises(UserError, match="2 images not filled"):
        fill(filling=Filling(empty_mask="copy"))
    scans = data_of(tmp_path / "out" / "report.html")["scans"]
    assert [scan["state"] for scan in scans] == ["failed", "failed", "filled", "filled", "filled", "empty"]
    reasons = {scan["name"]: scan["reason"] for scan in scans if "reason" in scan}
    assert "every voxel is masked" in reasons["sub-4_FLAIR"]
    assert "is empty, every voxel is 0" in reasons["sub-3_FLAIR"]
    assert reasons["sub-5_FLAIR"].startswith("sub-5_FLAIR.nii.gz: none of the masks fits")
    write_scan(tmp_path / "in", "sub-4")  # mended
    write_scan(tmp_path / "in", "sub-5")
    assert [scan["state"] for scan in fill(filling=Filling(empty_mask="copy"))["scans"]] == ["filled"] * 5 + ["empty"]


@pytest.mark.parametrize("fault", [OSError("no space left"), ValueError("a bug")])
def test_a_report_that_cannot_be_written_is_one_warning(fill, tmp_path, monkeypatch, caplog, fault):
    def fail(*_):
        raise fault

    monkeypatch.setattr(fill_pictures, "draw", fail)
    with pytest.raises(FileNotFoundError):
        fill()
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3
    assert caplog.text.count("the report is not complete") == 1


def test_a_page_of_someone_else_is_left_alone(fill, tmp_path, caplog):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    with pytest.raises(AttributeError):
        fill()
    assert (tmp_path / "out" / "report.html").read_text() == "mine"
    assert "was not made by inpaint" in caplog.text


# ------------------------------------------------------------------ restarts and shards


def times(tmp_path):
    return {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "report").glob("*/entry.json")}


def test_a_restart_keeps_entries_and_adds_what_is_new(fill, tmp_path):
    first = fill(image="in/sub-[01]_FLAIR.nii.gz")
    before = times(tmp_path)
    second = fill()
    assert names(second) == [f"sub-{i}_FLAIR" for i in range(3)]
    assert before.items() <= times(tmp_path).items()
    assert second["report"] == first["report"]  # so that the browser finds its reviews
    assert names(fill(image="in/sub-1_FLAIR.nii.gz,")) == names(second)  # other outputs are still there


def test_a_rerun_of_a_finished_batch_writes_nothing(fill, tmp_path, monkeypatch, caplog):
    first = fill()
    folders = [tmp_path / "out", tmp_path / "out" / "report"]
    kept = {path: path.stat().st_mtime_ns for path in [*folders, *folders[0].rglob("*")]}

    def refuse(*_):
        raise PermissionError("read-only")

    for name in ("write_text", "create_json"):
        monkeypatch.setattr(fill_report.files, name, refuse)
    assert fill() == first
    assert {path: path.stat().st_mtime_ns for path in [*folders, *folders[0].rglob("*")]} == kept
    assert "report" not in caplog.text
    (tmp_path / "out" / "report.html").write_text("older")
    with pytest.raises(AttributeError):
        fill()
    assert "cannot be brought up to date" in caplog.text


def test_lost_entries_are_made_again_from_the_files(fill, tmp_path):
    expected = fill()
    shutil.rmtree(tmp_path / "out" / "report" / expected["scans"][0]["key"])
    (tmp_path / "out" / "report" / expected["scans"][1]["key"] / "entry.json").write_text('{"state":')
    found = fill()
    assert found["scans"] == expected["scans"]
    shutil.rmtree(tmp_path / "out" / "report")
    (tmp_path / "out" / "report.html").unlink()
    again = fill()
    assert again["scans"] == expected["scans"]
    assert again["report"] != expected["report"]


def test_stale_entries_vanish(fill, tmp_path):
    first = fill()
    (tmp_path / "in" / "sub-2_FLAIR.nii.gz").unlink()
    for path in (tmp_path / "out").glob("sub-2*"):
        path.unlink()
    write_scan(tmp_path / "in", "sub-1", seed=9)
    with pytest.raises(UserError, match="made otherwise"):
        fill()
    second = fill(overwrite=True)
    assert names(second) == ["sub-0_FLAIR", "sub-1_FLAIR"]
    digests = [{scan["name"]: scan["sidecar_sha256"] for scan in data["scans"]} for data in (first, second)]
    assert digests[0]["sub-1_FLAIR"] != digests[1]["sub-1_FLAIR"]
    assert len(times(tmp_path)) == 2


def test_an_output_that_was_filled_anew_without_a_report_gets_a_new_entry(fill, tmp_path):
    first = fill()
    fill(filling=Filling(mask=MaskChoice(dilate_mm=1.0)), overwrite=True, report=False)
    second = fill(filling=Filling(mask=MaskChoice(dilate_mm=1.0)))
    voxels = [{scan["name"]: scan["voxels"] for scan in data["scans"]} for data in (first, second)]
    assert all(voxels[1][name] > voxels[0][name] for name in voxels[0])


def test_shards_add_to_one_page(fill, tmp_path):
    (tmp_path / "in" / "sub-1_mask.nii.gz").unlink()
    for index in (1, 0):
        if index:
            fill(shard=Shard(index, 2))
        else:
            with pytest.raises(UserError, match="1 image not filled"):
                fill(shard=Shard(index, 2))
    data = data_of(tmp_path / "out" / "report.html")
    assert names(data) == [f"sub-{i}_FLAIR" for i in range(3)]


def test_a_failure_of_another_participant_s_call_stays(fill, tmp_path):
    write_scan(tmp_path / "in", "sub-1", hole=((0, 20),))  # every voxel
    with pytest.raises(UserError, match="masked"):
        fill(image="in/sub-1_FLAIR.nii.gz,")
    assert names(fill(image="in/sub-0_FLAIR.nii.gz,")) == ["sub-0_FLAIR", "sub-1_FLAIR"]
    write_scan(tmp_path / "in", "sub-1")
    assert {scan["state"] for scan in fill()["scans"]} == {"filled"}


def test_a_page_that_another_process_overtakes_is_written_again(fill, tmp_path, monkeypatch):
    data = fill()
    report = fill_report.FillReport(fill_report.paths_in(tmp_path / "out"), LAPLACE, Filling())
    (tmp_path / "out" / "report.html").write_text("an older page")
    entry = report_entries.read(tmp_path / "out" / "report" / data["scans"][0]["key"])
    write = fill_report.document.write

    def overtaken(path, text):
        write(path, text)
        monkeypatch.setattr(fill_report.document, "write", write)
        report_entries.save(tmp_path / "out" / "report" / "other-1", entry | {"name": "other"}, {})

    monkeypatch.setattr(fill_report.document, "write", overtaken)
    report.write()
    assert "other" in names(data_of(tmp_path / "out" / "report.html"))


def test_an_interrupted_cohort_leaves_a_page_of_what_is_done(fill, tmp_path, monkeypatch):
    original = ClassicalFiller.open

    def interrupted(self, scan, mask, planes):
        if "sub-2" in scan.file.path.name:
            raise KeyboardInterrupt
        return original(self, scan, mask, planes)

    monkeypatch.setattr(ClassicalFiller, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill()
    assert names(data_of(tmp_path / "out" / "report.html")) == ["sub-0_FLAIR", "sub-1_FLAIR"]


def test_the_page_is_not_written_for_every_scan(fill, monkeypatch):
    written = []
    write = fill_report.document.write
    monkeypatch.setattr(fill_report.document, "write", lambda *given: (written.append(1), write(*given)))
    fill()
    assert len(written) == 2  # after the first scan, and at the end


# ------------------------------------------------------------------ what the page says, and does not


def test_hostile_names_and_texts_stay_text(fill, tmp_path):
    name = "a<img src=x onerror=alert(1)>'\"&"
    write_scan(tmp_path / "in", name)
    (tmp_path / "in" / f"{name}_mask.nii.gz").rename(tmp_path / "in" / f"{name}_FLAIR_mask.nii.gz")
    text = (fill(), (tmp_path / "out" / "report.html").read_text())[1]
    assert "<img src=x" not in text
    assert any("<img src=x" in name for name in names(data_of(tmp_path / "out" / "report.html")))


def test_the_ordinary_figure_is_one_number_everywhere(fill, tmp_path):
    assert fill()["limits"] == {"ordinary": plausibility.ORDINARY, "far": plausibility.FAR_OFF}
    saved = json.loads((tmp_path / "out" / "sub-0_desc-inpainted_FLAIR.json").read_text())
    assert saved["plausibility"]["ordinary_up_to"] == plausibility.ORDINARY
    root = Path(__file__).parents[2]
    docs, script = (root / name for name in ("docs/filling.md", "ipmedgan_jax/viewing/assets/result.js"))
    words = f"Up to {plausibility.ORDINARY} the fill looks like its surroundings"
    for text in ((tmp_path / "out" / "report.html").read_text(), docs.read_text()):
        assert words in re.sub(r"\s+", " ", text)
        assert not re.search(r"up to( about)? 1 |1 is what is expected", text)
    assert "up to ${ordinary} the fill looks like its surroundings" in script.read_text()


def test_a_model_is_named_with_its_card(tmp_path):
    (tmp_path / "MODEL_CARD.md").write_text("# A card <b>\n")
    told = about(LearnedFiller(replace(generator(), source=str(tmp_path))))
    assert (told["filler"], told["card"]) == ("made up at step 7", "# A card <b>\n")
    assert told["report"] != about(LAPLACE)["report"]
    assert about(LAPLACE)["card"] == ""
    assert "Fills holes" in about(LearnedFiller(generator()))["card"]  # of a run


def test_messages_name_files_without_their_folders():
    job = Job(Path("/data/ann smith/a.nii.gz"), Path("/data/ann smith/m.nii.gz"), Path("out/a.nii.gz"))
    assert report_text.of_job("/data/ann smith/a.nii.gz: bad /home/ann/x", job) == "a.nii.gz: bad x"
    lines = [
        "/data/SMITH^ANN/1: is odd",
        "/x/SMITH.dcm: is of the patient SMITH, the series of JONES",
        'holds 3 DICOM series: 1 "SMITH ax" (CT), 1.2.840.113.4.5',
        "SMITH_J/other/IM1: cannot be read",
        "/data/SMITH^ANN/1/SMITH, ANN 3.dcm: is truncated",
    ]
    series = Job(Path("/data/SMITH^ANN/1"), Path("/x/SMITH.dcm"), Path("out/SMITH"), series="1.2.3.4.5.6")
    shown = "\n".join(report_text.of_job(lines, series))
    assert not re.search(r"SMITH|JONES|1\.2\.840", shown)
    assert shown.startswith("the series: is odd\nthe mask: is of another patient than the series\n")
    assert shown.endswith("(file not shown): cannot be read\na file of the series: is truncated")


FOLDERS = ["SMITH_JOHN", "SMITH, JOHN (1950)", "SMITH JOHN's", "SMITH:JOHN=1", "SMITH-1"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_of_a_patient_is_in_the_report(tmp_path, folder, capsys, caplog):
    """Not in titles of equally named scans, not in errors of scans without a mask, of damaged ones and of empty masks."""
    folders = [tmp_path / "in" / folder / visit for visit in ("a", "b", "c", "d", "e")]
    for i, path in enumerate(folders):
        write_scan(path, "x", seed=i, hole=((0, 0),) if i == 3 else ((6, 12),) * 2 + ((1, 3),))
    (folders[1] / "x_mask.nii.gz").unlink()
    shutil.copy(folders[2] / "x_mask.nii.gz", folders[2] / "x_mask.nii")
    (folders[4] / "x_FLAIR.nii.gz").write_bytes(b"no scan")
    cohort = Cohort(image=f"{tmp_path}/in/*/*/x_FLAIR.nii.gz", mask="{folder}/x_mask.nii*", output=tmp_path / "out")
    with pytest.raises(UserError, match="4 images not filled"):
        fill_cohort(cohort, Filling(), Shard(), lambda: LAPLACE)
    files = [tmp_path / "out" / "report.html", *(tmp_path / "out" / "report").rglob("entry.json")]
    assert not re.search("SMITH|JOHN|1950", "".join(path.read_text() for path in files))
    scans = data_of(files[0])["scans"]
    assert len({scan["name"] for scan in scans}) == 5
    printed = capsys.readouterr().out + caplog.text
    for scan in scans:
        assert scan["name"] == f"x_FLAIR {scan['number']}"
        assert f"({scan['name']} in the report)" in printed
    reasons = {scan["reason"] for scan in scans if "reason" in scan}
    assert (
        "x_FLAIR.nii.gz: there is no mask x_mask.nii*; correct --mask={folder}/x_mask.nii*, or leave the image out" in reasons
    )
    (sidecar,) = (tmp_path / "out").rglob("x_desc-inpainted_FLAIR.json")
    assert json.loads(sidecar.read_text())["report_number"] == scans[-1]["number"]


@pytest.mark.parametrize(
    ("image", "place", "expected"),
    [
        ("sub-1_FLAIR.nii.gz", "sub-1/anat/x.nii.gz", "sub-1_FLAIR"),
        ("sub-1_ses-2_FLAIR.nii.gz", "sub-1/ses-2/anat/x.nii.gz", "sub-1_ses-2_FLAIR"),
        ("flair.nii.gz", "sub-1/ses-2/anat/x.nii.gz", "sub-1/ses-2/flair"),
        ("flair.nii.gz", "x.nii.gz", "flair"),
        ("flair.nii.gz", "SMITH/x.nii.gz", "flair NUMBER"),
        ("sub-1_FLAIR.nii.gz", "site1/x.nii.gz", "sub-1_FLAIR NUMBER"),
        ("flair.nii.gz", "sub-1/SMITH/x.nii.gz", "sub-1/flair NUMBER"),
    ],
)
def test_titles_show_folders_of_bids_alone(image, place, expected):
    job = Job(Path("in") / image, None, Path("out") / place)
    number = report_names.scan_number(job, Path("out"))
    assert report_names.title(job, Path("out")) == expected.replace("NUMBER", number)
    assert re.fullmatch("[a-p][0-9a-f]{7}", number)


@pytest.mark.parametrize("text", ["more than 3/4 of the head", "correct --mask={folder}/m.nii.gz"])
def test_texts_without_a_path_stay(text):
    job = Job(Path("in/a.nii.gz"), None, Path("out/a.nii.gz"))
    assert report_text.of_job(text, job) == text


def test_a_dicom_series_is_shown_without_its_patient(tmp_path):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from tests.dicom_series import write_series

    named = {"PatientName": "DOE^JANE", "PatientID": "P-4711", "SeriesDescription": "DOE head"}
    folder = write_series(tmp_path / "DOE_JANE" / "JANE 1", ramp(), **named)
    write(tmp_path / "DOE_mask.nii.gz", square().astype(float), "RAS", np.uint8)
    uid = str(scans.read_scan(folder).file.datasets[0].SeriesInstanceUID)
    job = Job(folder, tmp_path / "DOE_mask.nii.gz", tmp_path / "out" / "DOE_desc-inpainted", series=uid)
    filling = Filling(mask=MaskChoice(match="index"))
    report = fill_report.FillReport(fill_report.paths_in(tmp_path / "out"), LAPLACE, filling)
    report.start([job])
    inpaint_file(LAPLACE, job, filling, finished=functools.partial(report.add, job))
    failing = replace(job, output=tmp_path / "out" / "DOE2")
    report.add_unfilled(failing, f"{job.image}: has the shape of JANE 1, not of DOE/x; {uid}", failed=True)
    unpaired = Unpaired(replace(job, mask=None, output=tmp_path / "out" / "DOE3"), "/data/DOE: no mask")
    report.add_unpaired(unpaired)
    report.write()
    paths = [tmp_path / "out" / "report.html", *(tmp_path / "out" / "report").rglob("*")]
    content = b"".join(path.read_bytes() for path in paths if path.is_file()) + " ".join(path.name for path in paths).encode()
    for secret in (b"DOE", b"JANE", b"P-4711", b"PatientName", uid.encode()):
        assert secret not in content
    *failures, filled = data_of(tmp_path / "out" / "report.html")["scans"]
    reasons = {scan["reason"] for scan in failures}
    assert "the series: has the shape of the series, not of (file not shown); (UID not shown)" in reasons
    assert re.fullmatch("DICOM series [a-p][0-9a-f]{7}", filled["name"])
    assert report.name_of(job) == f" ({filled['name']} in the report)"
    shutil.rmtree(tmp_path / "out" / "report" / filled["key"])
    report.add_finished(job)
    report.write()
    assert data_of(tmp_path / "out" / "report.html")["scans"] == [*failures, filled]


def test_a_dicom_series_is_traced_from_the_page_by_its_number(tmp_path, capsys, caplog):
    """In the printed line and the sidecar of a filled series, and in the error of one without a mask."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from ipmedgan_jax.imaging import dicom_seg_writing
    from tests.dicom_series import write_series

    study = tmp_path / "study"
    for i, name in enumerate(("DOE t1", "DOE flair")):
        write_series(study / name, ramp(), SeriesNumber=i + 1, FrameOfReferenceUID=f"1.2.3.4.5.{i}")
    scan = scans.read_scan(study / "DOE t1")
    dicom_seg_writing.write(tmp_path / "seg.dcm", scan.file.datasets, scan.in_file_order(square()), "made up")
    cohort = Cohort(image=str(study), mask=f"{tmp_path}/seg.dcm,", output=tmp_path / "out", series=("all",))
    with pytest.raises(UserError, match="1 image not filled"):
        fill_cohort(cohort, Filling(), Shard(), lambda: LAPLACE)
    failed, filled = data_of(tmp_path / "out" / "report.html")["scans"]
    (saved,) = (json.loads(path.read_text()) for path in (tmp_path / "out" / "study").glob("*.json"))
    assert filled["name"] == f"DICOM series {saved['report_number']}"
    assert f"filled ({filled['name']} in the report)" in capsys.readouterr().out
    assert f"({failed['name']} in the report)" in caplog.text
    assert failed["reason"] == "there is not one mask that fits; the message of the command names the masks"
    assert "DOE" not in (tmp_path / "out" / "report.html").read_text()
