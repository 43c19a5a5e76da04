"""Filling from Python: what comes back is of the kind that was given, and has the bytes that the command writes."""

import gzip
import io
import struct
import subprocess
import sys
import threading
import warnings

import nibabel
import numpy as np
import pytest

import ipmedgan_jax
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import fill_image
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from tests.dicom_series import write_series
from tests.inpainting.test_scan import generator, ramp, square, write

LAPLACE = ClassicalFiller("laplace")
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


def files(folder, **options):
    """A scan and a mask as files."""
    write(folder / "scan.nii.gz", ramp() + np.random.default_rng(0).integers(0, 90, (30, 26, 5)), **options)
    write(folder / "mask.nii.gz", square().astype(float), dtype=np.uint8, codes=options.get("codes", "RAS"))
    return folder / "scan.nii.gz", folder / "mask.nii.gz"


def by_command(folder, scan, mask, filler=LAPLACE):
    """The file that `inpaint` writes."""
    output = folder / "by_command" / "filled.nii.gz"
    inpaint_file(filler, Job(scan, mask, output), Filling())
    return output.read_bytes()


def edited(path, change):
    """Changes bytes of a compressed file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content)))


def rewrite(path, kind, **options):
    """Writes a scan again as another kind of NIfTI."""
    image = nibabel.load(path)
    if kind == "nifti2":
        nibabel.save(nibabel.Nifti2Image(np.asarray(image.dataobj), image.affine), path)
    elif kind == "big endian":
        header = image.header.as_byteswapped(">")
        swapped = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, header)
        nibabel.save(swapped, path)
        assert nibabel.load(path).header.endianness == ">"
    elif kind == "odd header":
        edited(path, lambda content: content.__setitem__(slice(76, 80), struct.pack("<f", 0.0)))  # no qfac: nibabel sets it
    elif kind == "padded":
        edited(path, lambda content: content.extend(b"after the voxels"))


KINDS = {
    "int16": {},
    "uint8 scaled": {"dtype": np.uint8, "scaling": (3.7, -12.5)},
    "int16 scaled": {"dtype": np.int16, "scaling": (0.013, 7.0)},
    "float32": {"dtype": np.float32},
    "float64 scaled": {"dtype": np.float64, "scaling": (2.0, 1.0)},
    "LPI": {"codes": "LPI"},
    "PSR": {"codes": "PSR"},
    "nifti2": {},
    "big endian": {},
    "odd header": {},
    "padded": {},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["path", "image", "image of bytes"])
def test_a_saved_fill_has_the_bytes_of_the_command(tmp_path, kind, given):
    scan, mask = files(tmp_path, **KINDS[kind])
    rewrite(scan, kind)
    expected = by_command(tmp_path, scan, mask)
    image = {
        "path": lambda: scan,
        "image": lambda: nibabel.load(scan),
        "image of bytes": lambda: type(nibabel.load(scan)).from_bytes(gzip.decompress(scan.read_bytes())),
    }[given]()
    filled = ipmedgan_jax.fill(image, nibabel.load(mask), system="laplace")
    nibabel.save(filled, tmp_path / "filled.nii.gz")
    assert (tmp_path / "filled.nii.gz").read_bytes() == expected
    assert filled.get_filename() == str(tmp_path / "filled.nii.gz")
    nibabel.save(filled, tmp_path / "filled.nii")
    assert (tmp_path / "filled.nii").read_bytes() == gzip.decompress(expected) == filled.to_bytes()
    before, after = (np.asarray(one.dataobj) for one in (nibabel.load(scan), filled))
    changed = np.asarray(nibabel.load(mask).dataobj) > 0
    np.testing.assert_array_equal(after[~changed], before[~changed])
    assert (after[changed] != before[changed]).any()


def test_the_command_itself_writes_the_same_file(tmp_path, command):
    scan, mask = files(tmp_path, dtype=np.int16, scaling=(0.013, 7.0), codes="LPI")
    given = (f"--image={scan}", f"--mask={mask}", f"--output={tmp_path / 'out.nii.gz'}", "--dilate_mm=1")
    assert command("inpaint", "--system=laplace", *given).returncode == 0
    nibabel.save(ipmedgan_jax.fill(scan, mask, system="laplace", dilate_mm=1), tmp_path / "filled.nii.gz")
    ipmedgan_jax.fill_file(scan, mask, tmp_path / "file.nii.gz", system="laplace", dilate_mm=1)
    assert len({(tmp_path / name).read_bytes() for name in ("out.nii.gz", "filled.nii.gz", "file.nii.gz")}) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64, ">i2", ">f4"])
def test_an_array_comes_back_as_an_array_of_its_type(dtype):
    array = (ramp() / 4).astype(dtype)
    before = array.copy()
    filled = ipmedgan_jax.fill(array, square(), system="laplace", affine=AFFINE)
    assert (type(filled), filled.dtype, filled.shape) == (np.ndarray, array.dtype, array.shape)
    np.testing.assert_array_equal(array, before)
    assert filled[~square()].tobytes() == array[~square()].tobytes()
    image = nibabel.Nifti1Image(array.astype(np.float32), AFFINE)
    of_image = np.asarray(ipmedgan_jax.fill(image, square(), system="laplace").dataobj)
    np.testing.assert_allclose(filled[square()], of_image[square()], atol=0.51, rtol=1e-3)


def test_an_image_in_memory_is_saved_as_the_command_fills_its_file(tmp_path):
    scan, mask = files(tmp_path)
    image = nibabel.Nifti1Image(ramp().astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(image, scan)
    nibabel.save(nibabel.Nifti1Image(square().astype(np.uint8), image.affine), mask)
    filled = ipmedgan_jax.fill(image, square(), system="laplace")
    nibabel.save(filled, tmp_path / "filled.nii.gz")
    assert (tmp_path / "filled.nii.gz").read_bytes() == by_command(tmp_path, scan, mask)


def test_an_image_whose_header_has_another_type_keeps_its_values():
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(ramp() + 0.25, AFFINE, header)
    filled = ipmedgan_jax.fill(image, square(), system="laplace")
    assert (type(filled), filled.get_data_dtype()) == (nibabel.Nifti1Image, np.int16)
    np.testing.assert_array_equal(filled.get_fdata()[~square()], (ramp() + 0.25)[~square()])


def test_a_scaling_that_is_set_for_saving_stays(tmp_path):
    image = nibabel.Nifti1Image(ramp().astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.5, 0)
    filled = ipmedgan_jax.fill(image, square(), system="laplace")
    for one, name in ((image, "scan.nii"), (filled, "filled.nii")):
        nibabel.save(one, tmp_path / name)
    before, after = (nibabel.load(tmp_path / name) for name in ("scan.nii", "filled.nii"))
    assert after.dataobj.slope == 0.5
    np.testing.assert_array_equal(after.get_fdata()[~square()], before.get_fdata()[~square()])


def test_another_format_of_nibabel_keeps_its_class():
    image = nibabel.MGHImage(ramp().astype(np.float32), AFFINE)
    filled = ipmedgan_jax.fill(image, square(), system="laplace")
    assert type(filled) is nibabel.MGHImage
    np.testing.assert_array_equal(filled.get_fdata()[~square()], ramp()[~square()])


def test_a_changed_header_is_kept(tmp_path):
    scan, mask = files(tmp_path, dtype=np.int16, scaling=(0.5, 3.0))
    image = nibabel.load(scan)
    image.header["descrip"] = b"mine"
    filled = ipmedgan_jax.fill(image, mask, system="laplace")
    nibabel.save(filled, tmp_path / "filled.nii.gz")
    saved = nibabel.load(tmp_path / "filled.nii.gz")
    assert (saved.header["descrip"].item(), saved.dataobj.slope, saved.dataobj.inter) == (b"mine", 0.5, 3.0)
    np.testing.assert_array_equal(saved.get_fdata()[~square()], image.get_fdata()[~square()])


def test_a_fill_that_is_changed_is_saved_as_changed(tmp_path):
    filled = ipmedgan_jax.fill(*files(tmp_path), system="laplace")
    filled.header["descrip"] = b"mine"
    nibabel.save(filled, tmp_path / "filled.nii.gz")
    assert nibabel.load(tmp_path / "filled.nii.gz").header["descrip"].item() == b"mine"
    part = filled.slicer[2:9]
    nibabel.save(part, tmp_path / "part.nii.gz")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "part.nii.gz").get_fdata(), filled.get_fdata()[2:9])


def test_a_fill_can_be_filled_again_and_pickled(tmp_path):
    import pickle

    scan, mask = files(tmp_path)
    filled = ipmedgan_jax.fill(scan, mask, system="laplace")
    assert ipmedgan_jax.fill(filled, mask, system="laplace").to_bytes() == filled.to_bytes()
    assert pickle.loads(pickle.dumps(filled)).to_bytes() == filled.to_bytes()
    stream = io.BytesIO()
    filled.to_stream(stream)
    assert stream.getvalue() == filled.to_bytes()


def test_a_trained_model_fills_as_in_the_command_with_deviation_and_mask(tmp_path):
    scan, mask = files(tmp_path, codes="LPS")
    model = LearnedFiller(generator())
    output = tmp_path / "by_command" / "filled.nii.gz"
    job = Job(scan, mask, output, output.with_name("mask.nii.gz"))
    with pytest.warns(ipmedgan_jax.FillWarning):
        details = ipmedgan_jax.fill_with_details(nibabel.load(scan), nibabel.load(mask), model, samples=2, planes="axial")
    report = inpaint_file(model, job, Filling(samples=2))
    for image, path in ((details.image, output), (details.mask, job.mask_output), (details.deviation, job.deviation)):
        nibabel.save(image, tmp_path / "saved.nii.gz")
        assert (tmp_path / "saved.nii.gz").read_bytes() == path.read_bytes()
    different = {key for key in report if report[key] != details.report.get(key)}
    assert different <= {"provenance", "written_sha256"}
    assert details.warnings == report["warnings"]
    array = np.asarray(nibabel.load(scan).dataobj)
    with pytest.warns(ipmedgan_jax.FillWarning):
        arrays = ipmedgan_jax.fill_with_details(array, nibabel.load(mask), model, affine=nibabel.load(scan).affine, samples=2)
    np.testing.assert_array_equal(arrays.image, np.asarray(details.image.dataobj))
    np.testing.assert_array_equal(arrays.mask, np.asarray(details.mask.dataobj) > 0)
    np.testing.assert_array_equal(arrays.deviation, np.asarray(details.deviation.dataobj))


def test_from_file_to_file_is_the_command(tmp_path):
    scan, mask = files(tmp_path)
    report = ipmedgan_jax.fill_file(scan, str(mask), tmp_path / "out" / "filled.nii.gz", system="laplace", dilate_mm=1)
    assert report["dilated_mm"] == 1
    assert (tmp_path / "out" / "filled.json").exists()
    with pytest.raises(UserError, match=r"exists; choose another name, or give overwrite$"):
        ipmedgan_jax.fill_file(scan, mask, tmp_path / "out" / "filled.nii.gz", system="laplace")
    with pytest.raises(UserError, match=r"^output='.*filled.mgz': expected a name that ends in .nii or .nii.gz"):
        ipmedgan_jax.fill_file(scan, mask, tmp_path / "filled.mgz", system="laplace")


def test_a_series_goes_from_folder_to_folder(tmp_path):
    pytest.importorskip("pydicom")
    folder = write_series(tmp_path / "series", ramp((12, 12, 3)))
    mask = np.zeros(scans.read_file(folder).stored.shape, np.uint8)
    mask[3:6, 3:6, 1] = 1
    nibabel.save(nibabel.Nifti1Image(mask, scans.read_file(folder).affine), tmp_path / "mask.nii.gz")
    with pytest.raises(UserError, match=r"is a folder; for a DICOM series call ipmedgan_jax.fill_file"):
        ipmedgan_jax.fill(folder, tmp_path / "mask.nii.gz", system="laplace")
    report = ipmedgan_jax.fill_file(folder, tmp_path / "mask.nii.gz", tmp_path / "filled", system="laplace")
    assert report["mask_voxels"] == 9
    assert len(list((tmp_path / "filled").iterdir())) == mask.shape[2]


ARRAY, HOLE = ramp(), square()
NAN = np.where(np.arange(ARRAY.size).reshape(ARRAY.shape) == 0, np.nan, ARRAY)


@pytest.mark.parametrize(
    ("image", "mask", "options", "message"),
    [
        (np.stack([ARRAY] * 2, -1), HOLE, {}, r"^image: has shape \(30, 26, 5, 2\), a 3-D volume is needed"),
        (NAN, HOLE, {}, r"^image: 1 of its \d+ voxels are NaN or infinite; replace them"),
        (ARRAY, np.zeros_like(HOLE), {}, "^mask: is empty, every voxel is 0; there is nothing to fill$"),
        (ARRAY, np.ones_like(HOLE), {}, "^mask: every voxel is masked"),
        (ARRAY, HOLE[1:], {}, r"^mask: has shape \(29, 26, 5\), the scan \(30, 26, 5\)"),
        (ARRAY, HOLE * 1 + np.eye(30, 26)[..., None], {}, "holds the values 1, 2: name those to be filled with mask_labels"),
        (ARRAY, HOLE / 2, {}, "^mask: 60 voxels hold values such as 0.5"),
        (ARRAY, HOLE, {"affine": None}, "^affine: needed for an array: 4 x 4"),
        (None, HOLE, {"affine": None}, "^image: is None; expected a nibabel image or the path of a file, or an array with"),
        (None, HOLE, {}, "^image: is None; expected"),
        ([1, 2], HOLE, {"affine": None}, "^image: is of type list; expected a nibabel image or the path of a file, or an"),
        (ARRAY, None, {}, "^mask: is None; expected a nibabel image or the path of a file, or an array on the grid"),
        (ARRAY, {"a": 1}, {}, "^mask: is of type dict; expected"),
        (ARRAY, HOLE, {"affine": "x"}, "^affine: not numbers .*; expected 4 x 4"),
        (ARRAY, HOLE, {"affine": 2 * np.eye(4)}, "^image: the last row of its affine is 0 0 0 2, expected 0 0 0 1"),
        (ARRAY, HOLE, {"affine": np.ones((4, 4))}, "^image: the last row of its affine is 1 1 1 1, expected 0 0 0 1"),
        (nibabel.Nifti1Image(ARRAY, 2 * np.eye(4)), HOLE, {"affine": None}, "^image: the last row of its affine is 0 0 0 2"),
        (ARRAY, nibabel.Nifti1Image(HOLE.astype(np.uint8), 2 * np.eye(4)), {}, "^mask: the last row of its aff"),
        (ARRAY, HOLE, {"system": None, "model": 3}, "^model: is of type int; expected a name, a folder, or what load_model"),
        (ARRAY, HOLE, {"model": "flair"}, "^system='laplace': expected a model or a system, not both"),
        (ARRAY, HOLE, {"affine": np.eye(3)}, r"^affine: has shape \(3, 3\)"),
        (ARRAY, HOLE, {"affine": np.zeros((4, 4))}, "^image: "),
        (ARRAY > 200, HOLE, {}, "^image: its voxels are true or false"),
        (ARRAY.astype(complex), HOLE, {}, "^image: its voxels are of type complex128"),
        (ARRAY, np.array("mask"), {}, "^mask: has shape"),
        (nibabel.GiftiImage(), HOLE, {}, "^image: is a GiftiImage, not a volume"),
        (ARRAY, nibabel.GiftiImage(), {}, "^mask: is a GiftiImage, not a volume"),
        (nibabel.Nifti1Image(ARRAY, AFFINE), HOLE, {}, "^affine: only for an array"),
        (ARRAY, HOLE, {"system": None}, "^model: is missing; give model='flair' for example, or system='laplace'"),
        (ARRAY, HOLE, {"system": "laplac"}, "^system='laplac': expected one of .*; did you mean system='laplace'\\?$"),
        (ARRAY, HOLE, {"system": None, "model": "flare"}, "^model='flare': not found"),
        (ARRAY, HOLE, {"model": LAPLACE}, "expected a model or a system"),
        (ARRAY, HOLE, {"planes": "axia"}, "^planes='axia': expected some of axial, coronal, sagittal"),
        (ARRAY, HOLE, {"dilate_mm": -1}, "^dilate_mm=-1: expected millimetres"),
        (ARRAY, HOLE, {"mask_labels": (0,)}, r"^mask_labels=\(0,\): expected whole numbers above 0"),
        (ARRAY, HOLE, {"match_mask": "near"}, "^match_mask='near': expected 'position' or 'index'"),
        (ARRAY, HOLE, {"match_mask": "index"}, "^match_mask='index': only for a mask with an affine"),
        (ARRAY, HOLE, {"strict": True, "affine": np.diag([1, 4.0, 1, 1])}, r"^image: axial slices .* \(strict=True\)$"),
    ],
)  # fmt: skip
def test_what_cannot_be_filled_is_an_error_of_one_line(image, mask, options, message):
    with pytest.raises(ipmedgan_jax.UserError, match=message) as raised:
        ipmedgan_jax.fill(image, mask, **{"affine": AFFINE, "system": "laplace"} | options)
    assert "\n" not in str(raised.value)
    assert "--" not in str(raised.value)


def test_a_classical_fill_has_no_deviation():
    with pytest.raises(UserError, match=r"^samples=4: laplace is a classical fill"):
        ipmedgan_jax.fill_with_details(ARRAY, HOLE, system="laplace", affine=AFFINE, samples=4)
    with pytest.raises(UserError, match=r"^samples=1: expected 0, or at least 2"):
        ipmedgan_jax.fill_with_details(ARRAY, HOLE, LearnedFiller(generator()), affine=AFFINE, samples=1)


def test_a_mask_elsewhere_is_refused_or_matched(tmp_path):
    image = nibabel.Nifti1Image(ARRAY, AFFINE)
    elsewhere = np.diag([1.0, 1.0, 1.0, 1.0])
    elsewhere[0, 3] = 3
    mask = nibabel.Nifti1Image(HOLE.astype(np.uint8), elsewhere)
    with pytest.raises(UserError, match=r"^mask: has the shape of image, but .* give match_mask='index' to go by"):
        ipmedgan_jax.fill(image, mask, system="laplace")
    by_index = ipmedgan_jax.fill(image, mask, system="laplace", match_mask="index")
    np.testing.assert_array_equal(by_index.get_fdata(), ipmedgan_jax.fill(image, HOLE, system="laplace").get_fdata())


def test_warnings_are_python_s_at_the_line_of_the_caller():
    stretched = np.diag([1.0, 4.0, 1.0, 1.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ipmedgan_jax.fill(ARRAY, HOLE, system="laplace", affine=stretched)
    assert [(one.category, one.filename) for one in caught] == [(ipmedgan_jax.FillWarning, __file__)]
    assert str(caught[0].message).startswith("image: axial slices have pixels of")


def test_progress_is_told(capsys):
    seen = []
    ipmedgan_jax.fill(ARRAY, HOLE, system="laplace", affine=AFFINE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    ipmedgan_jax.fill(ARRAY, HOLE, system="laplace", affine=AFFINE, progress=True)
    assert capsys.readouterr().out == ""


def test_one_model_fills_in_several_threads():
    model = LearnedFiller(generator())
    fills = [None] * 4

    def run(number):
        fills[number] = ipmedgan_jax.fill(ARRAY + number, HOLE, model, affine=AFFINE)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, filled in enumerate(fills):
            np.testing.assert_array_equal(filled, ipmedgan_jax.fill(ARRAY + number, HOLE, model, affine=AFFINE))


QUIET = """
import ipmedgan_jax, sys
assert not {"jax", "nibabel", "numpy", "absl"} & set(sys.modules), sorted(sys.modules)
assert {"fill", "load_model"} <= set(dir(ipmedgan_jax))
import signal, logging, os
import jax, numpy as np
jax.numpy.zeros(3).block_until_ready()
def state():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}  # OpenCV sets it
    return dict(jax.config.values), signals, logging.root.handlers[:], logging.root.level, environment, np.geterr()
before = state()
array, mask = np.random.default_rng(0).normal(100, 20, (20, 20, 3)), np.zeros((20, 20, 3), bool)
mask[5:9, 5:9, 1] = True
ipmedgan_jax.fill(array, mask, ipmedgan_jax.load_model(system="laplace"), affine=np.eye(4))
assert state() == before
"""


def test_a_fill_is_quiet_and_leaves_the_process_as_it_is():
    done = subprocess.run([sys.executable, "-W", "error", "-c", QUIET], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_is_documented():
    for name in ipmedgan_jax.__all__:
        assert getattr(ipmedgan_jax, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'inpant'"):
        _ = ipmedgan_jax.inpant
    assert fill_image.fill is ipmedgan_jax.fill


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="the numbers of 80 bits of x86")
@pytest.mark.parametrize("name", ["image", "mask"])
def test_numbers_that_nifti_does_not_have_are_refused(name):
    given = {"image": ramp(), "mask": square()}
    given[name] = given[name].astype(np.longdouble)
    with pytest.raises(UserError, match=f"^{name}: its voxels are of type float128, which NIfTI does not have; give float64"):
        ipmedgan_jax.fill(**given, affine=AFFINE, system="laplace")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": [[1, 2], [3]]}, "mask: is no array"),
        ({"image": [[1, 2], [3]]}, "image: is no array"),
        ({"dilate_mm": "a"}, "dilate_mm='a': expected a number"),
        ({"dilate_mm": None}, "dilate_mm=None: expected a number"),
        ({"samples": "many"}, "samples='many': expected a number"),
        ({"samples": 2.5}, "samples=2.5: expected a whole number"),
        ({"planes": 3}, "planes=3: expected one or a list of them"),
        ({"planes": [["axial"]]}, "planes="),
        ({"mask_labels": 1.5}, "mask_labels=1.5: expected one or a list"),
    ],
)
def test_what_is_no_number_and_no_array_is_refused_in_one_line(options, message):
    given = {"image": ramp(), "mask": square(), "affine": AFFINE, "system": "laplace"} | options
    with pytest.raises(UserError, match=f"^{message}") as raised:
        ipmedgan_jax.fill_with_details(**given)
    assert "\n" not in str(raised.value)
