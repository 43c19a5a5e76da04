"""Models as weights alone: they fill as their run does, need no network and no VGG-19, and a damaged one is named."""

import hashlib
import json
import socket

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from safetensors.numpy import save_file

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import build, run_folder, saved_config
from ipmedgan_jax.inpainting import exported_weights, load, model_card, scan
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.model import Trained
from ipmedgan_jax.inpainting.network import Network
from ipmedgan_jax.pretrained import vgg19_weights
from ipmedgan_jax.systems import registry
from ipmedgan_jax.systems.interface import Batch

TOLERANCE = 1 / 255
"""Largest mean difference in the hole between the fills of a run and of its bfloat16 weights: half of a grey level of 255.

Images are in [-1, 1]. A U-Net trained for 300 steps on the phantom had 0.0002, and 0.002 in the worst pixel.
"""

TERMS = model_card.Terms("CC BY 4.0", ("Heads by A. Author, 2016, CC BY.",))


def network_of(config):
    """A network as a run would give it, with weights drawn at random."""
    inference = build.build_inference(config)
    rng = np.random.default_rng(0)
    shapes = run_folder.generator_shapes(inference.system, inference.preparation.image_size)
    params, statistics = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(-0.3, 0.3, leaf.shape), leaf.dtype), shapes)
    statistics = jax.tree.map(jnp.square, statistics)  # variances among them
    trained = Trained(inference.preparation, inference.hole_size, inference.trained_on_any_shape, 2, inference.inputs)
    training_data = {"phantom": False, "slices_seen": 5000}
    return Network(inference, 7, "runs/x", trained, training_data, params, statistics)


@pytest.fixture
def config(tiny_config):
    return tiny_config("unet", holes__kinds=("square", "blob"))


@pytest.fixture
def folder(config, tmp_path):
    exported_weights.write(tmp_path / "model", network_of(config), saved_config.as_json(config), "card", TERMS)
    return tmp_path / "model"


def batch():
    image = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    return {"image": image, "hole": np.array([[4, 8, 16, 16]] * 2), "hole_mask": np.ones((2, 16, 16), np.uint8)}


@pytest.mark.parametrize("system", registry.SYSTEMS)
def test_a_system_gets_its_own_weights_back_rounded_to_bfloat16(tiny_config, tmp_path, system):
    config = tiny_config(system, generator__width=8 if system == "ipmedgan_plus" else 2)  # its groups are of 8 channels
    network = network_of(config)
    exported_weights.write(tmp_path / "model", network, saved_config.as_json(config), "card")
    restored = exported_weights.read_network(tmp_path / "model")
    assert jax.tree.structure(restored.params) == jax.tree.structure(network.params)
    for before, after in zip(jax.tree.leaves(network.params), jax.tree.leaves(restored.params), strict=True):
        assert after.dtype == jnp.float32
        np.testing.assert_array_equal(after, before.astype(jnp.bfloat16).astype(jnp.float32))


def test_a_model_fills_nearly_as_its_run(config, folder):
    before, after = network_of(config).generator(), exported_weights.read(folder)
    assert (after.name, after.step, after.trained, after.training_data) == ("unet", 7, before.trained, before.training_data)
    expected, found = before.inpaint(batch()), after.inpaint(batch())
    mask = np.asarray(Batch(**batch()).mask) > 0
    np.testing.assert_array_equal(found[~mask], batch()["image"][~mask])
    assert expected[mask].std() > 0.1
    assert 0 < np.abs(found - expected)[mask].mean() < TOLERANCE


def test_a_model_s_further_inputs_are_those_of_its_run(tiny_config, tmp_path):
    config = tiny_config("unet", generator__noise=True)
    exported_weights.write(tmp_path / "model", network_of(config), saved_config.as_json(config), "card")
    assert exported_weights.read(tmp_path / "model").trained.inputs == ("noise",)


def test_the_folder_holds_the_weights_by_path_their_terms_and_no_more(config, folder):
    network = network_of(config)
    with pytest.raises(UserError, match="exists"):
        exported_weights.write(folder, network, {}, "")
    described = json.loads((folder / "model.json").read_text())
    (name, *_), count = load_names(folder), run_folder.parameter_count(network.params)
    assert name.startswith("params/")
    assert name.endswith(("/kernel", "/bias"))
    assert (described["parameters"], described["licence"], described["attribution"]) == (
        count,
        "CC BY 4.0",
        [*TERMS.attribution],
    )
    assert 2 * count < (folder / "weights.safetensors").stat().st_size < 2 * count + 10_000
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert {path.name for path in folder.iterdir()} == {"model.json", "weights.safetensors", "MODEL_CARD.md"}


def load_names(folder):
    from safetensors import safe_open

    with safe_open(folder / "weights.safetensors", framework="numpy") as file:
        return sorted(file.keys())


def test_the_config_of_a_model_names_no_folder(tiny_config, tmp_path):
    config = tiny_config("unet", data__dir="/clinic/ms", holes__lesions="/clinic/a/*.nii,~/b/*_x.nii", vgg19__weights="keras")
    exported_weights.write(tmp_path / "model", network_of(config), saved_config.as_json(config), "card")
    found = json.loads((tmp_path / "model" / "model.json").read_text())["config"]
    assert (found["data"]["dir"], found["holes"]["lesions"]) == ("ms", "*.nii,*_x.nii")
    assert (found["holes"]["avoid"], found["vgg19"]["weights"]) == ("", "keras")


def test_running_statistics_are_kept_in_float32(tiny_config, tmp_path):
    config = tiny_config("unet", normalisation__statistics="batch")
    network = network_of(config)
    exported_weights.write(tmp_path / "model", network, saved_config.as_json(config), "card")
    statistics = exported_weights.read_network(tmp_path / "model").statistics
    assert jax.tree.leaves(statistics)
    jax.tree.map(np.testing.assert_array_equal, statistics, network.statistics)


def test_it_fills_a_scan_without_a_connection_and_without_vgg_19(folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("asked for VGG-19 or for a connection")

    monkeypatch.setattr(vgg19_weights, "resolve", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    values = np.random.default_rng(0).integers(0, 900, (40, 36, 3)).astype(np.int16)
    mask = np.zeros(values.shape, np.uint8)
    mask[10:30, 12:20, 1] = 1
    for name, array in (("image", values), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii")
    work = Job(tmp_path / "image.nii", tmp_path / "mask.nii", tmp_path / "filled.nii")
    report = scan.inpaint_file(load.load_filler(None, str(folder), None, "best"), work, Filling())
    filled = np.asarray(nibabel.load(work.output).dataobj)
    np.testing.assert_array_equal(filled[mask == 0], values[mask == 0])
    assert (filled != values)[mask > 0].any()
    assert (report["run"], report["training"]["slices_seen"]) == (str(folder), 5000)


# ------------------------------------------------------------------ damaged folders


def sign(folder):
    """Gives model.json the digest of the weights file as it is, and its own."""
    path = folder / "model.json"
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    described = json.loads(path.read_text()) | {"sha256": {"weights.safetensors": digest}}
    path.write_text(json.dumps(json_fields.sealed(described)))


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_damaged_or_missing_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"damaged.*; export the model again"):
        load.load(None, str(folder), "best")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: not found"):
        exported_weights.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(min(tensors)), "lacks 1 tensor: params/"),
        (lambda tensors: tensors.update({"params/more": np.zeros(2, np.float32)}), "has unknown 1 tensor: params/more"),
        (lambda tensors: tensors.update({min(tensors): np.zeros(2, np.float32)}), r"expected shape .*, found \(2,\)"),
        (lambda tensors: tensors.update({min(tensors): np.zeros(2, np.int64)}), "I64"),
    ],
)
def test_tensors_that_do_not_fit_the_network_are_named(folder, change, message):
    path = folder / "weights.safetensors"
    tensors = {name: np.zeros(1, np.float32) for name in load_names(folder)}
    change(tensors)
    save_file(tensors, path)
    sign(folder)
    with pytest.raises(UserError, match=message):
        exported_weights.read(folder)


def test_a_weights_file_that_is_none_is_refused(folder):
    (folder / "weights.safetensors").write_bytes(b"not tensors")
    sign(folder)
    with pytest.raises(UserError, match="damaged or of another version"):
        exported_weights.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format_version": 9, "ipmedgan_jax": "7.0"},
            r"has format 9, of ipmedgan_jax 7\.0; this version, .*, reads formats 1 to 3",
        ),
        ({"config": {}}, "damaged or of another version"),
        ({"config": 3}, "damaged or of another version"),
        ({"trained": {}}, "damaged or of another version"),
        ({"sha256": {}}, "damaged or of another version"),
        ({"step": "many"}, "damaged or of another version"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder, change, message):
    path = folder / "model.json"
    path.write_text(json.dumps(json_fields.sealed(json.loads(path.read_text()) | change)))
    with pytest.raises(UserError, match=message):
        load.load(None, str(folder), "best")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("system", "unheard_of", r"is of the system unheard_of, which ipmedgan_jax .* does not have"),
        ("holes.size", 17, "for images or holes of other sizes"),
        ("generator.width", 4, "expected shape"),
        ("generator.noise", True, "for other inputs"),
        ("loss.unheard_of", 1.0, r"has the setting loss.unheard_of, which ipmedgan_jax .* does not have"),
    ],
)
def test_a_config_of_another_network_or_version_is_refused(folder, key, value, message):
    path = folder / "model.json"
    described = json.loads(path.read_text())
    group, _, name = key.rpartition(".")
    (described["config"][group] if group else described["config"])[name] = value
    path.write_text(json.dumps(json_fields.sealed(described)))
    with pytest.raises(UserError, match=message):
        exported_weights.read(folder)


def test_a_finder_is_no_model_to_fill_with(folder, tiny_config):
    path = folder / "model.json"
    config = saved_config.as_json(tiny_config("finder"))
    path.write_text(json.dumps(json_fields.sealed(json.loads(path.read_text()) | {"config": config})))
    with pytest.raises(UserError, match="fills nothing"):
        exported_weights.read(folder)
