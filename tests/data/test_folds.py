"""Folds of a cross-validation: every subject is tested once, on every machine alike, and the fold is kept with the data."""

import dataclasses
import itertools

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, preparation
from ipmedgan_jax.data.subjects import fold_of_names, split_subjects
from ipmedgan_jax.imaging.settings import PreparationSettings
from tests.data.test_preparation import MANY, SMALL, scan


def folded(fold, **changes):
    return dataclasses.replace(SMALL, fold=fold, **changes)


def named(splits, split):
    return [name for name, found in splits.items() if found == split]


@pytest.mark.parametrize(("subjects", "count"), [(20, 5), (20, 3), (17, 5), (5, 5), (3, 3)])
def test_every_subject_is_tested_and_validated_in_one_fold_each_and_never_both(subjects, count):
    names = MANY[:subjects]
    folds = [split_subjects(folded(f"{number} of {count}"), names) for number in range(1, count + 1)]
    tested = [named(splits, "test") for splits in folds]
    assert sorted(itertools.chain(*tested)) == names
    assert [named(splits, "validation") for splits in folds] == [*tested[1:], tested[0]]
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    assert all(len(splits) == subjects for splits in folds)


def test_the_division_is_the_same_everywhere_and_depends_on_the_seed_alone():
    found = fold_of_names(MANY[:7], 3, 0)
    assert found == fold_of_names(MANY[6::-1], 3, 0)
    # What every machine and version must find, for the folds of a study may be prepared years apart.
    assert [found[name] for name in MANY[:7]] == [1, 1, 2, 3, 2, 3, 1]
    assert split_subjects(folded("1 of 3"), MANY) != split_subjects(folded("1 of 3", split_seed=1), MANY)


@pytest.mark.parametrize(
    ("fold", "hint"),
    [
        ("2 of 2", ""),
        ("0 of 5", ""),
        ("6 of 5", ""),
        ("2", ""),
        ("two of five", ""),
        ("2/5", "; did you mean '2 of 5'?"),
        ("2of5", "; did you mean '2 of 5'?"),
        ("2 of 05", "; did you mean '2 of 5'?"),
        ("5/2", ""),
    ],
)
def test_a_fold_that_cannot_be_is_refused_and_a_misspelt_one_gets_a_suggestion(fold, hint):
    with pytest.raises(UserError) as error:
        folded(fold)
    expected = f"data.fold is {fold!r}; it must be k of n, with k from 1 to n and n at least 3{hint}"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_ratios": (0.6, 0.2, 0.2)}, "data.fold is '2 of 5' and data.split_ratios is given too"),
        ({"validation_subjects": ("sub-01",)}, "data.fold is '2 of 5' and data.validation_subjects is given too"),
        ({"test_subjects": ("sub-01",)}, "data.fold is '2 of 5' and data.test_subjects is given too"),
    ],
)
def test_a_fold_beside_another_split_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        split_subjects(folded("2 of 5", **changes), MANY)


def test_fewer_subjects_than_folds_are_refused():
    with pytest.raises(UserError, match=r"data.fold is '2 of 5', but the input has 4 subjects; add subjects, or"):
        split_subjects(folded("2 of 5"), MANY[:4])


@pytest.fixture
def scan_paths(tmp_path):
    return [scan(tmp_path / f"in/sub-{s}_FLAIR.nii.gz", seed=s) for s in (1, 2, 3)]


def test_the_fold_is_kept_with_the_data_and_all_folds_share_their_division(scan_paths, tmp_path):
    folds = [
        preparation.prepare(folded(f"{k} of 3"), paths, tmp_path / str(k), progress=False)
        for k, paths in ((1, scan_paths), (2, scan_paths[::-1]), (3, scan_paths))
    ]
    assert [fold.fold for fold in folds] == ["1 of 3", "2 of 3", "3 of 3"]
    assert sorted(itertools.chain(*(fold.subjects["test"] for fold in folds))) == ["sub-1", "sub-2", "sub-3"]
    assert len({fold.division for fold in folds}) == 1
    assert len({fold.fingerprint for fold in folds}) == 3
    assert "  fold:       2 of 3\n" in preparation.summary(folds[1])
    other = preparation.prepare(folded("1 of 3", split_seed=1), scan_paths, tmp_path / "other", progress=False)
    assert other.division != folds[0].division
    with pytest.raises(UserError, match="was prepared with fold '1 of 3', now it is '2 of 3'"):
        preparation.prepare(folded("2 of 3"), scan_paths, tmp_path / "1", progress=False)


def test_data_without_folds_record_none_and_keep_their_fingerprint(scan_paths, tmp_path):
    dataset = preparation.prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    assert (dataset.fold, dataset.division) == ("", "")
    assert "fold" not in dataset_file.load_dataset(tmp_path / "out").settings
    assert "fold:" not in preparation.summary(dataset)
    assert PreparationSettings(modality="mri", image_size=16).as_recorded(dataset.settings).fold == ""
