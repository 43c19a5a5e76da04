"""The programs of docs/python.md run: with MONAI, TorchIO and nipype where these are installed, else with stand-ins."""

import importlib.util
import linecache
import re
import sys
import types
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

import ipmedgan_jax
from ipmedgan_jax.inpainting import fill_image
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from tests.inpainting.test_scan import generator

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
MODELS = {"flair": LearnedFiller(generator()), "laplace": ClassicalFiller("laplace")}
AFFINE = np.diag([2.0, 1.0, 1.5, 1.0])
SCAN = np.random.default_rng(0).normal(100, 20, (24, 22, 4)).astype(np.float32)
MASK = np.zeros(SCAN.shape, np.uint8)
MASK[8:13, 8:12, 1:3] = 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a scan and its mask."""
    for name, array in (("scan", SCAN), ("lesion", MASK)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def made_up_model(monkeypatch):
    """`flair` is a model that is made up: the real one takes seconds. Its warnings are not of interest here."""
    monkeypatch.setattr(fill_image, "load_filler", lambda workdir, model, system, checkpoint: MODELS[model or system])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ipmedgan_jax.FillWarning)
        yield


def run(heading, **names):
    """Runs the blocks below a heading, or those of the whole front part; returns their names."""
    part = re.split(r"^###? (?=MONAI|TorchIO|nipype|3D)", PAGE, flags=re.MULTILINE)
    text = next(one for one in part if one.startswith(heading))
    space = {"ipmedgan_jax": ipmedgan_jax, "np": np, "nibabel": nibabel} | names
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        linecache.cache[heading] = (len(block), None, block.splitlines(keepends=True), heading)  # nipype reads the source
        exec(compile(block, heading, "exec"), space)
    return space


def stand_in(monkeypatch, name, **content):
    """Puts a module of this content in the place of one that is not installed."""
    top = sys.modules.get(name.partition(".")[0])
    if (top is not None and top.__spec__ is None) or (top is None and importlib.util.find_spec(name) is None):
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def expected(**options):
    return ipmedgan_jax.fill(SCAN, MASK, affine=AFFINE, **{"model": "flair"} | options)


def test_the_first_programs(folder, capsys):
    space = run("# Filling from Python")
    np.testing.assert_array_equal(nibabel.load(folder / "filled.nii.gz").get_fdata(), expected(dilate_mm=2))
    np.testing.assert_array_equal(np.asarray(space["array"], np.float32), expected(model=None, system="laplace"))
    assert "[" in capsys.readouterr().out


class Tensor(np.ndarray):
    """A stand-in for MetaTensor and torch.Tensor."""

    affine = AFFINE

    def numpy(self):
        return np.asarray(self)


def test_the_transform_of_monai(folder, monkeypatch):
    class MapTransform:
        def __init__(self, keys):
            self.keys = tuple(keys)

    stand_in(monkeypatch, "monai")
    stand_in(monkeypatch, "monai.transforms", MapTransform=MapTransform)
    stand_in(monkeypatch, "monai.utils", convert_to_dst_type=lambda array, like: (array.view(type(like)), None))
    space = run("MONAI")
    import monai

    if hasattr(monai, "__version__"):
        load = monai.transforms.LoadImaged(["image", "label"], ensure_channel_first=True)
        data = load({"image": "scan.nii.gz", "label": "lesion.nii.gz", "age": 1})
    else:
        data = {"image": SCAN[None].view(Tensor), "label": MASK[None].view(Tensor), "age": 1}
    filled = space["FillLesions"](MODELS["flair"], dilate_mm=1)(data)
    assert set(filled) == set(data)
    assert type(filled["image"]) is type(data["image"])
    np.testing.assert_array_equal(np.asarray(filled["image"])[0], expected(dilate_mm=1))
    np.testing.assert_array_equal(np.asarray(data["image"])[0], SCAN)


def test_the_function_of_torchio(folder, monkeypatch):
    class Image:
        def __init__(self, array):
            self.data, self.affine = array[None].view(Tensor), AFFINE

        def set_data(self, data):
            self.data = data

    stand_in(monkeypatch, "torchio")
    stand_in(monkeypatch, "torch", from_numpy=lambda array: array)
    import torchio

    if hasattr(torchio, "ScalarImage"):
        subject = torchio.Subject(scan=torchio.ScalarImage("scan.nii.gz"), lesion=torchio.LabelMap("lesion.nii.gz"))
        filled = torchio.Compose([run("TorchIO", flair=MODELS["flair"])["fill_lesions"]])(subject)
    else:
        subject = {"scan": Image(SCAN), "lesion": Image(MASK)}
        filled = run("TorchIO", flair=MODELS["flair"])["fill_lesions"](subject)
    np.testing.assert_array_equal(np.asarray(filled["scan"].data)[0], expected())


def test_the_node_of_nipype(folder, monkeypatch):
    class Node:
        def __init__(self, interface, name):
            self.inputs, self.interface = types.SimpleNamespace(), interface

        def run(self):
            value = self.interface[2](**vars(self.inputs))
            return types.SimpleNamespace(outputs=types.SimpleNamespace(**{self.interface[1][0]: value}))

    stand_in(monkeypatch, "nipype", Node=Node, Function=lambda *given: given)
    node = run("nipype")["fill_node"]
    node.base_dir = str(folder)
    node.inputs.image, node.inputs.mask = str(folder / "scan.nii.gz"), str(folder / "lesion.nii.gz")
    filled = node.run().outputs.filled
    np.testing.assert_array_equal(nibabel.load(filled).get_fdata(), expected())


def test_the_function_of_slicer(monkeypatch):
    class Matrix:
        values = np.eye(4)

    class Volume:
        array = np.ascontiguousarray(SCAN.T)

        def GetIJKToRASMatrix(self, matrix):
            matrix.values = AFFINE

    stand_in(monkeypatch, "vtk", vtkMatrix4x4=Matrix)
    stand_in(monkeypatch, "slicer")
    stand_in(
        monkeypatch,
        "slicer.util",
        arrayFromVolume=lambda volume: volume.array,
        arrayFromSegmentBinaryLabelmap=lambda segmentation, segment, volume: MASK.T,
        arrayFromVTKMatrix=lambda matrix: matrix.values,
        updateVolumeFromArray=lambda volume, array: setattr(volume, "array", array),
    )
    volume = Volume()
    run("3D")["fill_volume"](volume, None, "Segment_1", model="flair")
    np.testing.assert_array_equal(volume.array.T, expected())
