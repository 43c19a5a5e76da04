"""Filling a BIDS data set gives a BIDS derivative: names, descriptions, sources, what the validator says, and restarts."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.inpainting import bids_derivative, bids_selection
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice

MASKED = np.zeros((12, 12, 4), np.uint8)
MASKED[4:8, 4:8, 1:3] = 1


def describe(folder, **entries):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"Name": folder.name, "BIDSVersion": "1.10.0"} | entries
    (folder / "dataset_description.json").write_text(json.dumps(content))


def write_nifti(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_scan(root, name, mask=MASKED, folder="derivatives/lesions"):
    """Writes a scan in a data set, and its mask in a derivative of this set; no mask for None."""
    scan = (10 * np.indices(MASKED.shape).sum(0) + 20).astype(np.int16)
    write_nifti(root / f"{name}.nii.gz", scan)
    if mask is not None:
        write_nifti(root / folder / f"{name.rpartition('_')[0]}_label-lesion_mask.nii.gz", mask)


@pytest.fixture
def raw(tmp_path):
    """A data set with sessions, runs and a subject without lesions, whose masks are a derivative of it."""
    root = tmp_path / "raw"
    describe(root, License="CC0", DatasetDOI="doi:10.1/x", DatasetType="raw")
    describe(root / "derivatives/lesions", DatasetType="derivative", GeneratedBy=[{"Name": "Manual"}])
    write_scan(root, "sub-01/ses-1/anat/sub-01_ses-1_FLAIR")
    write_scan(root, "sub-02/anat/sub-02_run-1_FLAIR")
    write_scan(root, "sub-02/anat/sub-02_run-2_FLAIR")
    write_scan(root, "sub-03/anat/sub-03_FLAIR", mask=0 * MASKED)
    return root


def fill(image, mask, output, *, system="laplace", filling=None, shard=None, **options):
    cohort = Cohort(image=str(image), mask=str(mask), output=Path(output), **options)
    fill_cohort(cohort, filling or Filling(empty_mask="copy"), shard or Shard(), lambda: ClassicalFiller(system))


def read(path):
    return json.loads(path.read_text())


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def images_in(folder):
    return [name for name in files_in(folder) if name.endswith("T1w.nii.gz") or name.endswith("FLAIR.nii.gz")]


FILLED = [
    "sub-01/ses-1/anat/sub-01_ses-1_space-orig_desc-inpainted_FLAIR.nii.gz",
    "sub-02/anat/sub-02_run-1_space-orig_desc-inpainted_FLAIR.nii.gz",
    "sub-02/anat/sub-02_run-2_space-orig_desc-inpainted_FLAIR.nii.gz",
    "sub-03/anat/sub-03_space-orig_desc-inpainted_FLAIR.nii.gz",
]


def test_every_file_has_its_name_and_says_where_it_comes_from(raw, tmp_path):
    before = files_in(raw)
    fill(raw, raw / "derivatives", tmp_path / "out")
    masks = [name.replace("desc-inpainted_FLAIR", "label-lesion_desc-filled_mask") for name in FILLED]
    sidecars = [name.replace(".nii.gz", ".json") for name in FILLED + masks]
    written = [name for name in files_in(tmp_path / "out") if not name.startswith("report/")]
    others = [".bidsignore", "README", "dataset_description.json", "report.html"]
    assert written == sorted([*FILLED, *masks, *sidecars, *others])
    assert files_in(raw) == before
    report, mask = (read(tmp_path / "out" / name.replace(".nii.gz", ".json")) for name in (FILLED[0], masks[0]))
    sources = ["bids:raw:sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
               "bids:lesions:sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz"]  # fmt: skip
    assert (report["SkullStripped"], report["Sources"], report["SpatialReference"]) == (False, sources, sources[0])
    assert (mask["Type"], mask["Sources"], mask["SpatialReference"]) == ("Lesion", sources, sources[0])
    assert report["mask_voxels"] == MASKED.sum()
    written = nibabel.load(tmp_path / "out" / masks[0])
    np.testing.assert_array_equal(np.asarray(written.dataobj), MASKED)


def test_the_description_names_its_sources_and_keeps_the_license(raw, tmp_path):
    fill(raw, raw / "derivatives", tmp_path / "out")
    description = read(tmp_path / "out/dataset_description.json")
    (made_by,) = description["GeneratedBy"]
    assert (description["DatasetType"], description["License"], made_by["Name"]) == ("derivative", "CC0", "ipmedgan_jax")
    assert description["DatasetLinks"] == {"raw": "../raw", "lesions": "../raw/derivatives/lesions"}
    assert description["SourceDatasets"][0] == {"URL": "../raw", "DOI": "doi:10.1/x"}


validator = pytest.mark.skipif(bids_selection.validator() is None, reason="the BIDS validator is not installed")


def issues_of(folder):
    ended = subprocess.run([bids_selection.validator(), folder, "--json"], capture_output=True, text=True, check=False)
    return {(issue["severity"], issue["code"]) for issue in json.loads(ended.stdout)["issues"]["issues"]}


@validator
def test_the_validator_finds_no_error_and_only_the_warning_that_the_documentation_explains(raw, tmp_path):
    write_scan(raw, "sub-04/anat/sub-04_acq-x_T1w", folder="derivatives/other")
    write_scan(raw, "sub-04/anat/sub-04_acq-x_FLAIR", mask=None)
    write_scan(raw, "sub-05/ct/sub-05_ct")
    write_scan(raw, "sub-06/anat/sub-06_ct")
    write_scan(raw, "sub-07_FLAIR")
    write_scan(raw, "sub-08/anat/[scan]_x", mask=None)
    write_nifti(raw / "derivatives/[scan]_x_mask.nii.gz", MASKED)
    fill(raw, raw / "derivatives", tmp_path / "out", filling=Filling(empty_mask="copy"))
    assert (tmp_path / "out/report.html").exists()
    assert list((tmp_path / "out/report").rglob("*.webp"))
    (tmp_path / "out" / FILLED[0].replace(".nii.gz", "_std.nii.gz")).write_text("x")
    assert issues_of(tmp_path / "out") == {("warning", "TOO_FEW_AUTHORS")}
    explained = (Path(__file__).parents[2] / "docs/bids.md").read_text()
    assert "TOO_FEW_AUTHORS" in explained
    (tmp_path / "out/sub-01/x.txt").write_text("x")
    assert ("error", "NOT_INCLUDED") in issues_of(tmp_path / "out")


def test_a_second_call_skips_what_is_filled_and_adds_what_is_new(raw, tmp_path, capsys):
    out = raw / "derivatives/inpainted"
    fill(raw, raw / "derivatives", out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*.*")}
    fill(raw, raw / "derivatives", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("sub-*.*")} == times
    assert len(capsys.readouterr().out.splitlines()) == 4
    write_scan(raw, "sub-04/anat/sub-04_FLAIR", folder="elsewhere")
    fill(raw / "sub-04", raw / "elsewhere", out)
    assert images_in(out) == [*FILLED, "sub-04/anat/sub-04_space-orig_desc-inpainted_FLAIR.nii.gz"]
    with pytest.raises(UserError, match="4 of 4 outputs that exist were made otherwise"):
        fill(raw, raw / "derivatives/lesions", out, filling=Filling(empty_mask="copy"), system="telea")


def test_links_are_added_to_an_own_description_and_keep_their_names(raw, tmp_path):
    fill(raw / "sub-01", raw / "derivatives", tmp_path / "out")
    write_scan(raw, "sub-04/anat/sub-04_FLAIR", mask=None)
    write_nifti(tmp_path / "drawn/sub-04_mask.nii.gz", MASKED)
    fill(raw / "sub-04", tmp_path / "drawn", tmp_path / "out")
    links = {"raw": "../raw", "lesions": "../raw/derivatives/lesions", "masks": "../drawn"}
    assert read(tmp_path / "out/dataset_description.json")["DatasetLinks"] == links
    report = read(tmp_path / "out/sub-04/anat/sub-04_space-orig_desc-inpainted_FLAIR.json")
    assert report["Sources"][1] == "bids:masks:sub-04_mask.nii.gz"


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"DatasetType": "raw", "Name": "mine"}, "is a data set of its own, 'mine', and no derivative"),
     ({}, "is a data set of its own, 'out', and no derivative")],
)  # fmt: skip
def test_another_data_set_is_not_written_into(raw, tmp_path, entries, message):
    describe(tmp_path / "out", **entries)
    with pytest.raises(UserError, match=message):
        fill(raw, raw / "derivatives", tmp_path / "out")
    with pytest.raises(UserError, match="is the data set of the images, which is only read"):
        fill(raw, raw / "derivatives", raw)
    assert files_in(tmp_path / "out") == ["dataset_description.json"]


def test_a_derivative_s_foreign_description_is_kept(raw, tmp_path, caplog):
    describe(tmp_path / "out", DatasetType="derivative", GeneratedBy=[{"Name": "other"}], DatasetLinks={"source": "../raw"})
    before = (tmp_path / "out/dataset_description.json").read_text()
    fill(raw, raw / "derivatives", tmp_path / "out")
    assert (tmp_path / "out/dataset_description.json").read_text() == before
    assert not (tmp_path / "out/.bidsignore").exists()
    assert "DatasetLinks lack {'lesions': '../raw/derivatives/lesions'}" in caplog.text
    report = read(tmp_path / "out" / FILLED[0].replace(".nii.gz", ".json"))
    assert report["Sources"][0].startswith("bids:source:sub-01/")


@pytest.mark.parametrize("links", [None, [], "raw", {"raw": ["../raw"]}, {"raw": "../other"}, {"raw": 3, "raw2": "../raw"}])
def test_links_of_any_kind_in_an_own_description_are_put_right(raw, tmp_path, links):
    describe(tmp_path / "out", DatasetType="derivative", GeneratedBy=["x", {"Name": "ipmedgan_jax"}], DatasetLinks=links)
    fill(raw / "sub-01", raw / "derivatives", tmp_path / "out")
    report = read(tmp_path / "out" / FILLED[0].replace(".nii.gz", ".json"))
    name = report["Sources"][0].split(":")[1]
    assert read(tmp_path / "out/dataset_description.json")["DatasetLinks"][name] == "../raw"


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"SkullStripped": "no", "SpatialReference": {}, "Resolution": 1}', b""])
def test_the_scan_s_json_file_may_hold_anything(raw, tmp_path, metadata):
    name = "sub-01/ses-1/anat/sub-01_ses-1_space-T1w_res-2_FLAIR"
    write_scan(raw, name, mask=None)
    (raw / f"{name}.json").write_bytes(metadata)
    (raw / "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz").unlink()
    fill(raw / "sub-01", raw / "derivatives", tmp_path / "out")
    report = read(tmp_path / "out" / f"{name.replace('FLAIR', 'desc-inpainted_FLAIR')}.json")
    assert (report["SkullStripped"], report["Resolution"]) == (False, "that of the source")
    assert report["SpatialReference"] == f"bids:raw:{name}.nii.gz"


def test_outputs_of_earlier_versions_are_named_and_not_filled_twice(raw, tmp_path):
    fill(raw, raw / "derivatives", tmp_path / "out", bids=False)
    earlier = [name.replace("space-orig_", "") for name in FILLED]
    assert images_in(tmp_path / "out") == earlier
    with pytest.raises(UserError, match=r"holds 4 outputs of these images under names of earlier versions.*--nobids"):
        fill(raw, raw / "derivatives", tmp_path / "out")
    assert images_in(tmp_path / "out") == earlier
    fill(raw, raw / "derivatives", tmp_path / "out", bids=False)
    assert images_in(tmp_path / "out") == earlier


def test_what_lies_in_derivatives_and_sourcedata_is_filled_only_if_it_is_named(raw, tmp_path):
    describe(raw / "derivatives/prep", DatasetType="derivative", GeneratedBy=[{"Name": "x"}])
    name = "sub-01/ses-1/anat/sub-01_ses-1_space-T1w_res-2_desc-preproc_FLAIR"
    write_scan(raw / "derivatives/prep", name, mask=None)
    known = {"SkullStripped": True, "Resolution": {"2": "2 mm"}}
    (raw / f"derivatives/prep/{name}.json").write_text(json.dumps(known))
    write_scan(raw, "sourcedata/sub-01/sub-01_FLAIR", mask=None)
    fill(raw / "**/*_FLAIR.nii.gz", raw / "derivatives", tmp_path / "out")
    assert images_in(tmp_path / "out") == FILLED
    fill(raw / "derivatives/prep", raw / "derivatives/lesions", tmp_path / "again")
    assert images_in(tmp_path / "again") == [f"{name.replace('preproc', 'inpainted')}.nii.gz"]
    report = read(tmp_path / "again" / f"{name.replace('preproc', 'inpainted')}.json")
    assert (report["SkullStripped"], report["Resolution"]) == (True, "2 mm")
    assert report["Sources"][0] == report["SpatialReference"] == f"bids:prep:{name}.nii.gz"


@pytest.mark.parametrize(("given", "found"), [(True, True), (False, False), (None, False)])
def test_skull_stripping_is_as_given_or_found(raw, tmp_path, given, found):
    fill(raw / "sub-01", raw / "derivatives", tmp_path / "out", skull_stripped=given)
    assert read(tmp_path / "out" / FILLED[0].replace(".nii.gz", ".json"))["SkullStripped"] is found


def test_shards_write_one_description(raw, tmp_path):
    for index in range(3):
        fill(raw, raw / "derivatives", tmp_path / "out", shard=Shard(index, 3))
    fill(raw, raw / "derivatives", tmp_path / "whole")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert (tmp_path / "out/dataset_description.json").read_text() == (
        tmp_path / "whole/dataset_description.json"
    ).read_text()


def test_ct_and_other_names_are_said_once_and_ignored_by_bids(raw, tmp_path, caplog):
    shutil.rmtree(raw / "sub-02")
    for i in (4, 5):
        write_scan(raw, f"sub-0{i}/ct/sub-0{i}_ct")
        write_scan(raw, f"sub-0{i}_acq-x_T1w")
    fill(raw, raw / "derivatives", tmp_path / "out")
    assert caplog.text.count("BIDS has no place for CT: the outputs of 2 scans") == 1
    assert caplog.text.count("no name or place of an anatomical scan in BIDS, 2 scans in all") == 1
    lines = set((tmp_path / "out/.bidsignore").read_text().splitlines())
    assert {"/report.html", "/report", "*_std.nii.gz", "*_ct.json"} <= lines
    assert "/sub-04_acq-x_space-orig_desc-inpainted_T1w.*" in lines


@pytest.mark.parametrize(
    ("folder", "output", "link"),
    [
        ("/data/raw", "/data/out", "../raw"),
        ("/data/my raw", "/data/raw/derivatives/x", "../../../my%20raw"),
        ("/home/ann/raw", "/home/ann/out", "../raw"),
        ("/home/ann/raw", "/scratch/out", "file:~/raw"),
        ("/home/ann/raw", "/home/bob/out", "file:~/raw"),
        ("/home/ann/raw", "/home/out", "file:~/raw"),
        ("/home/ann/my raw", "/home/annika/out", "file:~/my%20raw"),
        ("/home/ann b/raw", "/home/ann b/out", "../raw"),
        ("/home/ann", "/home/bob/out", "file:~"),
        ("/data/home/ann/raw", "/data/home/bob/out", "../../ann/raw"),
        ("/Users/ann/raw", "/Users/bob/out", "file:~/raw"),
        ("/root/raw", "/rooted/out", "file:~/raw"),
        ("/homes/ann/raw", "/homes/bob/out", "file:~/raw"),
    ],
)
def test_links_are_relative_and_name_no_home(folder, output, link, monkeypatch):
    monkeypatch.setenv("HOME", "/homes/ann")
    assert bids_derivative._link(Path(folder), Path(output)) == link


def test_a_link_into_another_home_is_mended_under_its_name(raw, tmp_path, monkeypatch):
    fill(raw / "sub-01", raw / "derivatives", tmp_path / "out")
    monkeypatch.setenv("HOME", str(raw))
    fill(raw / "sub-02", raw / "derivatives", tmp_path / "out")
    assert read(tmp_path / "out/dataset_description.json")["DatasetLinks"] == {
        "raw": "file:~",
        "lesions": "file:~/derivatives/lesions",
    }


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_description_is_named(raw, tmp_path, content):
    (raw / "dataset_description.json").write_bytes(content)
    with pytest.raises(UserError, match=r"dataset_description.json: cannot be read \(.*--nobids"):
        fill(raw, raw / "derivatives", tmp_path / "out")


def test_masks_by_template_and_paths_with_dots_have_one_link(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(raw / "sub-01")
    fill("../sub-02", "{folder}/../../derivatives/lesions/sub-02/anat/{case}_label-lesion_mask.nii.gz", "../../out")
    links = {"raw": "../raw", "lesions": "../raw/derivatives/lesions"}
    assert read(tmp_path / "out/dataset_description.json")["DatasetLinks"] == links
    report = read(tmp_path / "out" / FILLED[1].replace(".nii.gz", ".json"))
    assert report["Sources"][1] == "bids:lesions:sub-02/anat/sub-02_run-1_label-lesion_mask.nii.gz"


def test_a_mask_that_is_found_in_a_ct_is_a_region_of_interest(tmp_path):
    describe(tmp_path / "raw")
    array = np.full(MASKED.shape, -900, np.int16)
    array[4:8, 4:8, 1:3] = 3500
    write_nifti(tmp_path / "raw/sub-1/ct/sub-1_ct.nii.gz", array)
    cohort = Cohort(image=str(tmp_path / "raw"), mask=None, output=tmp_path / "out")
    fill_cohort(cohort, Filling(mask=MaskChoice(above_hu=3000)), Shard(), lambda: ClassicalFiller("laplace"))
    mask = read(tmp_path / "out/sub-1/ct/sub-1_space-orig_label-lesion_desc-filled_mask.json")
    assert (mask["Type"], mask["Sources"]) == ("ROI", ["bids:raw:sub-1/ct/sub-1_ct.nii.gz"])


def test_skull_stripped_is_refused_outside_of_bids(tmp_path):
    write_scan(tmp_path, "in/sub-1_FLAIR", folder=".")
    with pytest.raises(UserError, match="--skull_stripped: is for the scans of a BIDS data set"):
        fill(tmp_path / "in", tmp_path / "in", tmp_path / "out", skull_stripped=True)


def test_folders_whose_names_are_not_utf_8_have_addresses(raw, tmp_path):
    place = raw.rename(tmp_path / "caf\udce9")
    (place / "derivatives" / "lesions").rename(tmp_path / "m\udce9sk")
    fill(place, tmp_path / "m\udce9sk", tmp_path / "out")
    assert set(read(tmp_path / "out/dataset_description.json")["DatasetLinks"].values()) == {"../caf%E9", "../m%E9sk"}
