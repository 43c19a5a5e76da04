"""Weight files of others: whatever is in them, the answer is weights or the package's own error, within a bound of memory."""

import contextlib
import io
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest
from hostile import altered
from hypothesis import given
from hypothesis import strategies as st
from properties import property_test
from test_vgg19 import TINY, legacy_file, zip_file

from benchmarks.soak.crafted import BOMB, CRAFTED
from benchmarks.soak.weight_samples import MAKERS
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.pretrained import keras_file, pickle_reader, torch_file, weight_files

LARGEST = 32 * 2**20
"""Bytes that reading a crafted file may take; each bomb asks for at least four times as much."""


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_refused_within_little_memory_and_runs_nothing(tmp_path, name):
    path = tmp_path / "weights"
    CRAFTED[name](path)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as refused:
            weight_files.read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < LARGEST <= BOMB / 4
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 600
    assert str(refused.value).isprintable()
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------ altered files


@pytest.mark.parametrize("kind", MAKERS)
@property_test
@given(data=st.data())
def test_an_altered_weight_file_is_read_or_refused(kind, data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"altered-{kind}"
    path.write_bytes(data.draw(altered(MAKERS[kind]())))
    with pytest.raises(UserError):  # whole or not: all of them lack most of VGG-19's layers
        weight_files.read_weights(path)


@property_test
@given(st.binary(max_size=200))
def test_any_pickle_is_content_or_a_value_error(content):
    with contextlib.suppress(ValueError, pickle_reader.Refused):
        pickle_reader.load(io.BytesIO(content))


KEYS = st.text(max_size=3) | st.integers()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3) | st.integers(), inner)
    ),
    max_leaves=8,
)


@property_test
@given(PLAIN, st.sampled_from([2, 4, 5]))
def test_plain_pickles_are_read_as_python_reads_them(content, protocol):
    if any(abs(number) >= 2**2000 for number in _integers(content)):
        return  # of no use in a file of tensors
    assert pickle_reader.load(io.BytesIO(pickle.dumps(content, protocol)))[0] == content


def _integers(value):
    if isinstance(value, list | tuple):
        return [number for item in value for number in _integers(item)]
    if isinstance(value, dict):
        return [number for item in value.items() for number in _integers(item)]
    return [value] if isinstance(value, int) else []


@pytest.mark.parametrize("kind", MAKERS)
def test_whole_files_are_read_as_far_as_they_go(kind, tmp_path):
    (tmp_path / "weights").write_bytes(MAKERS[kind]())
    with pytest.raises(UserError, match=r"layer conv1_[12] has no (kernel|bias)"):
        weight_files.read_weights(tmp_path / "weights")


# ------------------------------------------------------------------ what must still be read


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"shuffle": True}]
)
def test_keras_arrays_are_read_however_they_are_packed(tmp_path, options):
    kernel = np.random.default_rng(0).standard_normal((3, 3, 5, 7)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("layer/model/kernel:0", data=kernel, chunks=(2, 3, 4, 3) if options else None, **options)
        file["layer/model/bias:0"] = np.arange(7.0)
    found, bias = keras_file.read(tmp_path / "a.h5", {"layer": (3, 3, 5, 7)})["layer"]
    np.testing.assert_array_equal(found, kernel, strict=True)
    np.testing.assert_array_equal(bias, np.arange(7.0))


def test_a_storage_that_nobody_asks_for_is_not_read(monkeypatch):
    large = np.zeros(2**19, np.float32)
    for content in (legacy_file({"classifier": large} | TINY), zip_file({"classifier": large} | TINY)):
        stream = io.BytesIO(content)
        monkeypatch.setenv("IPMEDGAN_MEMORY_GIB", "0.001")
        found = torch_file.read_tensors(stream, lambda name: name == "weight", name="a.pth")
        np.testing.assert_array_equal(found["weight"], TINY["weight"])
        with pytest.raises(UserError, match=r"a\.pth: its tensors takes? .* GiB of memory"):
            torch_file.read_tensors(io.BytesIO(content), name="a.pth")
