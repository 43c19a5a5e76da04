"""The BIDS App: its labels, its masks, its exit codes, and that it writes what `inpaint` writes."""

import shutil

import pytest

import ipmedgan_jax
from ipmedgan_jax import bids
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import bids_selection
from tests.inpainting.test_bids_derivative import MASKED, describe, files_in, images_in, raw, read, write_nifti, write_scan

__all__ = ["raw"]  # a fixture

SYSTEM = ("--system", "laplace", "--empty-mask", "copy", "--skip-bids-validation")


@pytest.fixture
def app(command, tmp_path):
    """A function (*arguments) -> the ended App over the data set `raw`, which writes to `out`."""
    return lambda *arguments: command("bids", tmp_path / "raw", tmp_path / "out", *arguments)


def subjects(folder):
    return sorted({path.name for path in folder.glob("sub-*")})


def test_the_app_writes_the_bytes_that_inpaint_writes(app, command, raw, tmp_path):
    ended = app("participant", *SYSTEM, "--dilate-mm", "1")
    assert (ended.returncode, ended.stdout.count(" filled\n")) == (0, 3), ended.stderr
    flags = ("--system=laplace", "--empty_mask=copy", "--dilate_mm=1", f"--mask={raw}/derivatives/lesions")
    assert command("inpaint", f"--image={raw}", f"--output={tmp_path}/by_inpaint", *flags).returncode == 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "by_inpaint")
    for name in files_in(tmp_path / "out"):
        ours, theirs = tmp_path / "out" / name, tmp_path / "by_inpaint" / name
        if name.endswith("FLAIR.json"):
            assert read(ours) | {"provenance": {}} == read(theirs) | {"provenance": {}}  # date and command
        elif not name.startswith("report"):  # each page has a number of its own
            assert ours.read_bytes() == theirs.read_bytes()


def test_an_array_of_a_scheduler_does_not_divide_the_participants_again(app, raw, tmp_path, monkeypatch):
    for name, value in {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "8"}.items():
        monkeypatch.setenv(name, value)
    assert app("participant", *SYSTEM, "--participant-label", "sub-01").returncode == 0
    assert subjects(tmp_path / "out") == ["sub-01"]


def test_what_is_filled_is_skipped_and_the_rest_is_filled(app, raw, tmp_path):
    assert app("participant", *SYSTEM, "--participant-label", "01").returncode == 0
    (image,) = (tmp_path / "out").rglob("*FLAIR.nii.gz")
    before = image.stat().st_mtime_ns
    ended = app("participant", *SYSTEM)
    assert (ended.returncode, image.stat().st_mtime_ns) == (0, before)
    assert f"{image}: exists, skipped" in ended.stderr
    assert subjects(tmp_path / "out") == ["sub-01", "sub-02", "sub-03"]
    image.write_bytes(b"damaged")
    ended = app("participant", *SYSTEM)
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: 1 image not filled; see the errors above\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["participant", "--participant-label", "1", "sub-02"], "sub-1: {raw} has no such participant; did you mean sub-01?"),
        (["participant", "--session-label", "9"], "ses-9: the chosen participants have no such session"),
        (["participant", "--suffix", "T2w"], "{raw}: no scan of the chosen participants and sessions is named _T2w"),
        (["group"], "group: there is no such level, because each scan is filled by itself; give participant"),
        (["both"], "argument level: invalid choice: 'both'"),
        ([], "the following arguments are required: level, see --help"),
        (
            ["--participant-label", "01", "participant"],
            "the following arguments are required: level (--participant-label took 01 participant; write BIDS_DIR OUT_DIR",
        ),
        (
            ["--mask-lab", "1", "participant"],
            "argument --mask-labels/--mask_labels: invalid int value: 'participant' (--mask-lab took",
        ),
        (["participant", "--nprocs", "3"], "unrecognized arguments: --nprocs 3, see --help"),
        (["participant", "--samples", "1"], "--samples=1: expected 0, or at least 2 for a standard deviation"),
        (["participant", "--samples", "2", "--system", "laplace"], "--samples=2: "),
        (["participant", "--planes", "oblique"], "--planes=oblique: expected some of axial, coronal, sagittal, each once"),
        (["participant", "--mask-labels", "0"], "--mask-labels=0: expected whole numbers above 0"),
        (["participant", "--mask-labels", "0", "4"], "--mask-labels 0 4: expected whole numbers above 0"),
        (["participant", "--checkpoint", "first"], "--checkpoint=first: expected best, latest, STEP"),
        (["participant", "--mask-dir", "/nowhere"], "no NIfTI file (.nii or .nii.gz) matches '/nowhere'"),
    ],
)
def test_what_does_not_fit_is_one_line_and_code_2(raw, tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.setattr(bids.runtime, "set_up", lambda: None)
    monkeypatch.setattr(bids.command, "_log_plainly", lambda: None)
    monkeypatch.setattr("sys.argv", ["ipmedgan-bids", str(raw), str(tmp_path / "out"), *arguments, "--skip-bids-validation"])
    with pytest.raises(SystemExit) as ended:
        bids.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(f"error: {line.format(raw=raw)}")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_version_is_the_package_s(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/usr/bin/ipmedgan-bids"])
    with pytest.raises(SystemExit) as ended:
        bids.parse(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"ipmedgan-bids {ipmedgan_jax.__version__}\n")


@pytest.mark.parametrize(
    ("participants", "sessions", "found"),
    [
        ([], [], ["sub-01_ses-1", "sub-02_run-1", "sub-02_run-2", "sub-03"]),
        (["02", "sub-02"], [], ["sub-02_run-1", "sub-02_run-2"]),
        (["sub-03", "01"], [], ["sub-03", "sub-01_ses-1"]),
        ([], ["ses-1"], ["sub-01_ses-1"]),
        (["01"], ["1"], ["sub-01_ses-1"]),
    ],
)
def test_labels_choose_scans(raw, tmp_path, participants, sessions, found):
    scans = bids_selection.select_scans(raw, tmp_path / "out", participants, sessions, "FLAIR")
    assert [path.name for path in scans] == [f"{name}_FLAIR.nii.gz" for name in found]


def test_masks_are_the_lesion_masks_of_the_data_set(raw, tmp_path):
    expected = sorted((raw / "derivatives/lesions").rglob("*.nii.gz"))
    out = raw / "derivatives/out"
    write_nifti(out / "sub-01_space-orig_label-lesion_desc-filled_mask.nii.gz", MASKED)
    write_nifti(raw / "derivatives/prep/sub-01_desc-brain_mask.nii.gz", MASKED)
    assert bids_selection.find_masks(raw, out) == expected
    roi = raw / "sub-02/anat/sub-02_run-1_T1w_label-lesion_roi.nii.gz"
    write_nifti(roi, MASKED)
    assert bids_selection.find_masks(raw, out) == sorted([*expected, roi])
    shutil.rmtree(raw / "derivatives")
    roi.unlink()
    with pytest.raises(UserError, match=r"holds no lesion mask.*sub-01_label-lesion_mask.nii.gz, or give --mask-dir"):
        bids_selection.find_masks(raw, out)


def test_a_folder_that_is_no_data_set_and_one_that_is_the_output_are_refused(raw, tmp_path):
    with pytest.raises(UserError, match=r"not a BIDS data set, it has no dataset_description.json"):
        bids_selection.select_scans(tmp_path, tmp_path / "out", [], [], "FLAIR")
    with pytest.raises(UserError, match=r"is the data set of the images, which is only read; give .*derivatives/inpainted"):
        bids_selection.select_scans(raw, raw / "sub-01/..", [], [], "FLAIR")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--system", "nosuch"], "nosuch"), (["--system", "laplace", "--mask-dir", "/nope"], "'/nope'")],
)
def test_cheap_mistakes_are_named_before_the_validator_runs(raw, tmp_path, monkeypatch, arguments, line):
    monkeypatch.setattr(bids.runtime, "set_up", lambda: None)
    monkeypatch.setattr(bids_selection, "validate", lambda root: pytest.fail("validated"))
    with pytest.raises(UserError, match=line):
        bids.fill(bids.parse([str(raw), str(tmp_path / "out"), "participant", *arguments]))


def test_messages_about_missing_scans_are_true(raw, tmp_path, app, caplog):
    write_scan(raw, "sub-02/ses-2/anat/sub-02_ses-2_FLAIR")
    bids_selection.select_scans(raw, tmp_path / "out", ["01", "02"], ["2"], "FLAIR")
    assert "sub-01: no scan of ses-2 is named _FLAIR" in caplog.text
    assert app("participant", *SYSTEM, "--participant-label", "03").returncode == 0
    with pytest.raises(
        UserError, match=r"only masks and outputs of inpaint among 1 file .* named _FLAIR, for example sub-03"
    ):
        bids_selection.select_scans(tmp_path / "out", tmp_path / "again", [], [], "FLAIR")


@pytest.mark.parametrize("place", ["derivatives/lesions", "derivatives/lesions/sub-01"])
def test_an_output_folder_that_holds_the_masks_is_named(raw, place):
    with pytest.raises(UserError, match=rf"^--output=.*{place}: holds lesion masks, such as .*derivatives/inpainted"):
        bids_selection.find_masks(raw, raw / place)


def test_an_output_folder_around_the_source_data_takes_its_masks(raw, tmp_path):
    source = tmp_path / "derived/sourcedata/raw"
    shutil.copytree(raw, source)
    assert bids_selection.find_masks(source, tmp_path / "derived") == sorted((source / "derivatives").rglob("*mask.nii.gz"))


@pytest.mark.skipif(bids_selection.validator() is None, reason="the BIDS validator is not installed")
def test_an_invalid_data_set_is_refused_unless_validation_is_skipped(app, raw, tmp_path):
    (raw / "sub-01/notes.txt").write_text("x")
    ended = app("participant", "--system", "laplace")
    assert ended.returncode == 2
    assert f"error: {raw}: the BIDS validator finds 1 error, first NOT_INCLUDED in /sub-01/notes.txt" in ended.stderr
    assert not (tmp_path / "out").exists()
    assert app("participant", *SYSTEM).returncode == 0


def test_the_page_of_the_fills_may_be_left_out(app, raw, tmp_path):
    assert app("participant", *SYSTEM, "--participant-label", "01", "--no-report").returncode == 0
    assert not (tmp_path / "out/report.html").exists()


def test_masks_of_a_folder_and_one_scan(app, raw, tmp_path):
    write_nifti(tmp_path / "drawn/sub-01_ses-1_mask.nii.gz", MASKED)
    ended = app("participant", *SYSTEM, "--participant-label", "01", "--mask-dir", tmp_path / "drawn")
    assert (ended.returncode, len(images_in(tmp_path / "out"))) == (0, 1), ended.stderr
    describe(tmp_path / "out", DatasetType="raw")
    assert app("participant", *SYSTEM).returncode == 2


def test_a_scan_without_a_mask_is_named_and_the_others_are_filled(app, raw, tmp_path):
    write_scan(raw, "sub-04/anat/sub-04_FLAIR", mask=None)
    ended = app("participant", *SYSTEM)
    assert ended.returncode == 2
    assert "sub-04_FLAIR.nii.gz: none of the masks fits" in ended.stderr
    assert subjects(tmp_path / "out") == ["sub-01", "sub-02", "sub-03"]
