"""Names that are not BIDS's never become one subject: they are refused with a pattern that keeps them apart."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core import bounded_regex
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.subjects import list_subjects, subject_of, subjects_of
from tests.properties import property_test

PLACES = [
    "in/{}_FLAIR.nii.gz",
    "in/{}.nii.gz",
    "in/{}_ses-1_FLAIR.nii",
    "in/{}/anat/FLAIR.nii.gz",
    "sub-study/{}/ses-2/T1.nii",
    "/data/sub-x/{}/{}_FLAIR.nii.gz",
    "{}/ses-1/{}_ses-1_acq-2d_FLAIR.nii.gz",
]


def suggested(error: pytest.ExceptionInfo, subject: str) -> str:
    return re.search(rf"'([^']*)' for {re.escape(subject)}(?: or |$)", str(error.value)).group(1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name",
    ["sub-A-001", "sub-A.001", "sub-A+1", "sub-A 1", "sub-A (1)", "sub-Ä1", "sub-Müller", "sub-", "sub-A-B-C", "sub-001.v2"],
)
def test_a_subject_of_other_characters_is_refused_with_the_pattern_to_set(place, name):
    path = Path(place.format(name, name))
    with pytest.raises(
        UserError, match=r"is no BIDS subject, whose label has letters and digits only; set --config"
    ) as error:
        subjects_of([path])
    if name != "sub-":
        assert subject_of(path, suggested(error, name)) == name


@property_test
@given(
    labels=st.lists(st.text("aB1-.+ é", min_size=1, max_size=5), min_size=2, max_size=2, unique=True),
    place=st.sampled_from(PLACES),
)
def test_two_labels_never_become_one_subject(labels, place):
    paths = [Path(place.format(f"sub-{label}", f"sub-{label}")) for label in labels]
    try:
        first, second = subjects_of(paths)
    except UserError:
        assert not all(label.isascii() and label.isalnum() for label in labels)
    else:
        assert (first, second) == tuple(f"sub-{label}" for label in labels)


@pytest.mark.parametrize("place", PLACES)
def test_numbers_after_the_subject_are_refused_with_the_patterns_to_set(place):
    paths = [Path(place.format(name, name)) for name in ("sub-A_001", "sub-A_002", "sub-B_001")]
    message = (
        r"are sub-A_001 and sub-A_002 two subjects or one\? set --config.data.subject_regex='(.*)' for two, '(.*)' for one"
    )
    with pytest.raises(UserError, match=message) as error:
        subjects_of(paths)
    two, one = re.search(message, str(error.value)).groups()
    assert subjects_of(paths, two) == ["sub-A_001", "sub-A_002", "sub-B_001"]
    assert subjects_of(paths, one) == ["sub-A", "sub-A", "sub-B"]
    assert subjects_of(paths[1:]) == ["sub-A", "sub-B"]


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-07.nii", "sub-07"),
        ("a_sub-07_FLAIR.nii.gz", "sub-07"),
        ("sub-07/ses-1/brain_T1.nii", "sub-07"),
        ("sub-07_T1w_brain_1mm.nii.gz", "sub-07"),
        ("sub-A-1/sub-07_FLAIR.nii", "sub-07"),
    ],
)
def test_a_bids_subject_is_taken_as_it_is(path, subject):
    assert subjects_of([Path(path)]) == [subject]


@pytest.mark.parametrize("pattern", [r"((?:[a-z]+)+)\d$", r"(([a-z]|[a-z])*)!", r"(.*.*.*.*.*.*.*.*.*.*.*.*)!$"])
def test_a_pattern_that_would_never_end_is_refused_in_one_line(monkeypatch, pattern):
    monkeypatch.setattr(bounded_regex, "LIMIT_S", 0.5)
    paths = [Path("in/b1"), Path("in/" + "a" * 60 + ".nii")]
    with pytest.raises(UserError, match=r"aaaa\.nii: data\.subject_regex .* was still matching after 0\.5 seconds; write it"):
        list_subjects(paths[1:], pattern)
    with pytest.raises(UserError, match=r"\.nii: data\.subject_regex .* still matching"):
        list_subjects([Path("in/ab1!"), *paths[1:]], f"(b)1!|{pattern}")


@pytest.mark.parametrize("pattern", ["(" * 2000 + ")" * 2000, "(a{99999999999})", "(a", "(?P<x>a)(?P<x>b)"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(UserError, match="is not a regular expression"):
        subject_of(Path("a"), pattern)


@given(st.text("ab()[]{}*+?|.\\1^$", max_size=8), st.text("ab1/", min_size=1, max_size=6))
@property_test
def test_any_pattern_gives_what_re_gives_or_a_plain_error(pattern, text):
    path = Path(text)
    try:
        expected = (re.search(pattern, path.as_posix()) or [None, None])[1]
    except (re.error, IndexError, OverflowError):
        expected = None
    if expected:
        assert subject_of(path, pattern) == expected
    else:
        with pytest.raises(UserError, match="subject_regex"):
            subject_of(path, pattern or "(")


def test_many_files_are_matched_in_one_process():
    paths = [Path(f"in/patient{i}é/\udce9.nii") for i in range(2000)]
    assert list_subjects(paths, r"(patient\d+)") == [f"patient{i}" for i in range(2000)]
