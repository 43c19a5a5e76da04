"""Warnings about what a generator was trained on."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.training_checks import describe_training, training_warnings

ENOUGH = {"phantom": False, "slices_seen": 4800, "contrasts": ["FLAIR"], "subjects": 21}


def generator(training_data, modality="mri"):
    trained = Trained(PreparationSettings(modality, image_size=32), 8, trained_on_any_shape=True, batch_size=3)
    return Generator("made up", 3, "nowhere", trained, training_data, lambda batch: batch["image"])


def scan(name, modality=""):
    return SimpleNamespace(volume=SimpleNamespace(path=Path(name)), file=SimpleNamespace(modality=modality))


@pytest.mark.parametrize(
    ("training_data", "name", "modality", "message"),
    [
        ({}, "sub-1_FLAIR.nii.gz", "", ""),
        ({}, "scan.nii.gz", "mri", ""),
        ({"contrasts": []}, "sub-1_T1w.nii.gz", "", ""),
        ({"phantom": True}, "sub-1_FLAIR.nii.gz", "", "trained on the built-in phantom"),
        ({"slices_seen": 12}, "scan.nii.gz", "", "for 3 steps, on 12 slices, .* below 1,000 it has hardly learned"),
        ({"slices_seen": None}, "scan.nii.gz", "", "does not record how long it was trained"),
        ({"phantom": None}, "scan.nii.gz", "", "or whether on a phantom; export it again"),
        ({}, "sub-1_T1w.nii.gz", "", "is a T1w scan by its name; the generator was trained on FLAIR"),
        ({}, "sub-1_ct.nii.gz", "", "is of modality ct by its name or header; the generator was trained on mri"),
        ({}, "series", "ct", "is of modality ct by its name or header"),
        ({}, "FLAIR", "pt", "is of modality pt by its name or header"),
    ],
)
def test_training_that_makes_a_fill_doubtful_is_warned_of(training_data, name, modality, message):
    lines = training_warnings(generator(ENOUGH | training_data), scan(name, modality))
    assert len(lines) == bool(message)
    if message:
        assert re.search(message, lines[0])


def test_a_sidecar_has_null_for_what_is_not_recorded():
    described = describe_training(replace(generator({"subjects": 4}), step=9))
    assert (described["subjects"], described["steps"], described["modality"]) == (4, 9, "mri")
    assert described["phantom"] is described["slices_seen"] is described["slices"] is None
