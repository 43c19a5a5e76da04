"""A tiny run of ip-MedGAN plus on windows with noise: trained, evaluated, filled, exported."""

import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.experiment import build
from ipmedgan_jax.inpainting import exported, load_run, model_card
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.training import loop
from tests.inpainting.test_scan import write

TINY = {
    "data__window": 32,
    "generator__width": 4,
    "generator__noise": True,
    "generator__opposite": True,
    "loss__adversarial": 0.0,  # VGG-19 would be most of every program there is to compile
    "loss__content": 0.0,
    "optimiser__warmup_steps": 0,
    "optimiser__learning_rate": 0.002,  # noise changes a fill visibly after four steps, and nothing is clipped
    "train__generator_alone": 0.0,
    "train__ema": 0.0,
    "train__best": "ssim",
    "train__validate_every": 100,
}


@pytest.fixture
def built(tiny_config, window_data, without_vgg19):
    """Returns the experiment."""
    return without_vgg19(build.build_experiment(tiny_config("ipmedgan_plus", data__dir=str(window_data), **TINY)))


@pytest.fixture
def files(tmp_path):
    """A scan of the window data's kind, larger than a window, and a mask of two holes, one of them at the border."""
    array = np.random.default_rng(0).integers(0, 100, (50, 44, 6)).astype(float)
    array[:, :4] = array[:, -4:] = array[:4] = -1000
    mask = np.zeros(array.shape)
    mask[20:28, 15:24, 2:4] = 1
    mask[10:14, 38:, 3] = 1
    scan_path = write(tmp_path / "scan.nii.gz", array, spacing=(4.0, 4.0, 4.0))
    mask_path = write(tmp_path / "mask.nii.gz", mask, dtype=np.uint8, spacing=(4.0, 4.0, 4.0))
    return Job(scan_path, mask_path, tmp_path / "filled.nii.gz")


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.slow
def test_a_run_on_windows_is_evaluated_and_fills_and_exports_with_noise(built, files, tmp_path):
    run = tmp_path / "run"
    loop.train(built, run)
    report = evaluate_run(built, run)
    assert (report["data"]["window"], report["data"]["image_size"]) == (32, 32)
    assert report["data"]["preparation"]["fit"] == "window"
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["data"]["window"] == 32

    network = load_run.load_network(run, "latest")
    generator = network.generator()
    assert generator.trained.inputs == ("noise", "opposite")
    assert generator.trained.preparation.keeps_whole_slices
    inpaint_file(LearnedFiller(generator), files, Filling(samples=3))
    image, mask, filled = (voxels(path) for path in (files.image, files.mask, files.output))
    np.testing.assert_array_equal(filled[mask == 0], image[mask == 0])
    assert (filled[mask > 0] != image[mask > 0]).any()
    spread = voxels(files.deviation)
    assert (spread[mask > 0] > 0).mean() > 0.9
    assert (spread[mask == 0] == 0).all()
    again = replace(files, output=tmp_path / "again.nii.gz")
    inpaint_file(LearnedFiller(generator), again, Filling())
    assert gzip.decompress(again.output.read_bytes()) == gzip.decompress(files.output.read_bytes())

    card = model_card.card(generator, report)
    exported.write(tmp_path / "model", generator, network.program, network.weights, card)
    assert "CT whole slices, seen in windows of 32 x 32 pixels" in card
    model = exported.read(tmp_path / "model")
    assert model.trained == generator.trained
    inpaint_file(LearnedFiller(model), replace(files, output=tmp_path / "exported.nii.gz"), Filling())
    np.testing.assert_allclose(voxels(tmp_path / "exported.nii.gz"), filled, atol=1)  # in stored units
