"""Listing of input files by name, folder, pattern or list."""

import re
from pathlib import Path

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import nifti, path_patterns
from ipmedgan_jax.imaging.input_files import list_input_files, names_several
from ipmedgan_jax.inpainting.jobs import find_jobs


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in (
        "a/sub-1_FLAIR.nii.gz",
        "a/deep/er/sub-2_FLAIR.nii",
        "b/sub-3_FLAIR.nii.gz",
        "b/sub-3_T1w.nii.gz",
        "b/notes.txt",
        "b/._sub-3_FLAIR.nii.gz",  # what macOS leaves on other file systems
        ".trash/sub-9_FLAIR.nii",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/folder.nii").mkdir()
    return tmp_path


def listed(folder: Path, text: str) -> list[str]:
    """Returns the names of the listed files; {} in `text` stands for the folder."""
    return [path.name for path in list_input_files(text.replace("{}", str(folder)))]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{}/b/sub-3_T1w.nii.gz", ["sub-3_T1w.nii.gz"]),
        ("{}/a", ["sub-2_FLAIR.nii", "sub-1_FLAIR.nii.gz"]),
        ("{}/*", []),  # folders that a pattern matches are not searched
        ("{}/**/*_FLAIR*", ["sub-2_FLAIR.nii", "sub-1_FLAIR.nii.gz", "sub-3_FLAIR.nii.gz"]),
        ("{}/b, {}/a/*,,{}/**/sub-3*", ["sub-1_FLAIR.nii.gz", "sub-3_FLAIR.nii.gz", "sub-3_T1w.nii.gz"]),
        ("{}/**/sub-[1,3]_FLAIR*", ["sub-1_FLAIR.nii.gz", "sub-3_FLAIR.nii.gz"]),
        ("{}/**/sub-[1,3]_FLAIR*,{}/*/*T1w*", ["sub-1_FLAIR.nii.gz", "sub-3_FLAIR.nii.gz", "sub-3_T1w.nii.gz"]),
    ],
)
def test_files_folders_patterns_and_lists_are_sorted_each_file_once(folder, text, names):
    if names:
        assert listed(folder, text) == names
    else:
        with pytest.raises(UserError, match=r"no NIfTI file \(.nii or .nii.gz\) matches .*quotes"):
            listed(folder, text)


def test_a_folder_without_readable_files_says_that_dicom_was_looked_for_too(tmp_path):
    (tmp_path / "x.dcm").write_text("no DICOM")
    with pytest.raises(UserError, match=r"neither a NIfTI file .* nor a readable DICOM file was found there"):
        list_input_files(str(tmp_path))


@pytest.mark.parametrize("text", ["", " , ", "{}/none.nii", "{}/b/notes.txt", "{}/.trash/*.txt"])
def test_what_names_no_volume_is_an_error(folder, text, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="no NIfTI file"):
        listed(folder, text)


def test_what_exists_is_taken_whatever_characters_its_name_has(folder):
    for name in ("x[1]/scan,2.nii", "p,q/scan*.nii"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    assert listed(folder, "{}/x[1]") == listed(folder, "{}/x[1]/scan,2.nii") == ["scan,2.nii"]
    assert listed(folder, "{}/p,q/scan*.nii") == listed(folder, "{}/p,q/*") == ["scan*.nii"]
    assert not names_several(f"{folder}/x[1]/scan,2.nii")


@pytest.mark.parametrize("name", ["data [2]", "set [a-c], new", "a,b", "p]q[r", "[!x]", "what?", "100*", "a{b}", "~x"])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{}/**/*_FLAIR*",
        "{}/ses [1]/sub-[12]_FLAIR.nii",
        "{}/*/sub-?_FLAIR.nii",
        "{}/../*/ses [1]/*",
        "{}/**/ses [1]/sub*",
        "{}/ses [1]/sub-1_FLAIR.nii,{}/**/sub-2*",
        "{}/../other/sub-3*, {}/ses [1]",
    ],
)
def test_folders_of_any_name_can_be_given_in_patterns_and_lists(tmp_path, name, text):
    for path in (f"{name}/ses [1]/sub-1_FLAIR.nii", f"{name}/ses [1]/sub-2_FLAIR.nii", "other/sub-3_FLAIR.nii"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    expected = ["sub-1_FLAIR.nii", "sub-2_FLAIR.nii"]
    assert sorted(listed(tmp_path / name, text)) == expected + ["sub-3_FLAIR.nii"] * ("other" in text)


@pytest.mark.parametrize("missing", ["{}/none*", "{}/c/*", "{}/a/sub-7_FLAIR.nii.gz"])
def test_an_element_of_a_list_that_matches_nothing_is_named(folder, missing):
    with pytest.raises(UserError, match=re.escape(f"matches '{missing.replace('{}', str(folder))}'")):
        listed(folder, f"{{}}/b/*_T1w.nii.gz, {missing},{{}}/a")


@pytest.mark.parametrize("count", [20, 500])
def test_a_list_may_be_longer_than_a_file_name(folder, monkeypatch, count):
    monkeypatch.chdir(folder / "b")
    text = ",".join(["sub-3_T1w.nii.gz"] * count)
    assert names_several(text)
    assert [path.name for path in list_input_files(text)] == ["sub-3_T1w.nii.gz"]
    assert len(find_jobs(text, None, folder / "out")[0]) == 1


@pytest.mark.parametrize(
    ("text", "several"),
    [("{}/a", True), ("{}/b/*", True), ("{}/1.nii,{}/2.nii", True), ("{}/b/sub-3_T1w.nii.gz", False), ("{}/no.nii", False)],
)
def test_one_file_is_told_from_what_may_be_several(folder, text, several):
    assert names_several(text.replace("{}", str(folder))) == several


def test_a_link_to_a_file_that_was_not_fetched_is_listed_and_named(folder):
    link = folder / "b/sub-4_FLAIR.nii.gz"
    link.symlink_to("../.git/annex/objects/xx")
    (folder / "b/folder_link.nii").symlink_to(folder / "b/folder.nii")
    assert listed(folder, "{}/b") == ["sub-3_FLAIR.nii.gz", "sub-3_T1w.nii.gz", "sub-4_FLAIR.nii.gz"]
    assert listed(folder, "{}/b/sub-4_FLAIR.nii.gz") == ["sub-4_FLAIR.nii.gz"]
    with pytest.raises(UserError, match=r"sub-4_FLAIR.nii.gz: a link to .*objects/xx, which is not there; fetch"):
        nifti.read(link)


def test_inpaint_takes_lists_too(folder):
    text = f"{folder}/a/sub-1_FLAIR.nii.gz,{folder}/b/*_FLAIR.nii.gz"
    jobs, refused = find_jobs(text, None, folder / "out")
    assert [str(job.output.relative_to(folder)) for job in jobs] == [
        "out/a/sub-1_desc-inpainted_FLAIR.nii.gz",
        "out/b/sub-3_desc-inpainted_FLAIR.nii.gz",
    ]
    assert not refused


def test_stars_in_a_row_are_searched_once(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.nii").touch()
    patterns, iglob = [], path_patterns.glob.iglob
    monkeypatch.setattr(path_patterns.glob, "iglob", lambda name, **more: (patterns.append(name), iglob(name, **more))[1])
    assert [path.name for path in list_input_files(f"{tmp_path}/**/**/**/**/*.nii")] == ["x.nii"]
    assert [name.count("**") for name in patterns] == [1] * len(patterns)
