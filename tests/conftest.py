"""The whole suite runs on four CPU devices, with shape and key mistakes turned into errors."""

import os
import shutil

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TQDM_DISABLE", "1")
# Tiny programs run once or twice: a third less time in all, most of it spent on compiling.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from dataclasses import replace

import jax
import pytest
from absl import flags
from browser import chromium
from forked_commands import ForkedCommands

from ipmedgan_jax.core import cache, processor

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# Compiled programs serve many tests, both workers, and later runs in any clone. A bound makes JAX lock the folder.
if not jax.config.values["jax_compilation_cache_dir"]:
    jax.config.update("jax_compilation_cache_dir", str(cache.folder() / f"tests-{processor.name()}"))
jax.config.update("jax_compilation_cache_max_size", 2**30)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
flags.FLAGS.mark_as_parsed()  # Grain's readers ask

_LONGEST = ("test_loop", "test_update", "test_build", "test_vgg19", "test_networks")


def pytest_collection_modifyitems(items):
    """The longest files first: with two processes the last to start is what the other waits for."""
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escapes what is not UTF-8 in captured output, names of files for example: xdist could not send it."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """A cache folder of the test's own: only compiled programs of the tests reach the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; tests skip without one. Not for the whole session: Playwright keeps an event loop running."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def command():
    """A function (module, *arguments) -> the ended process of `python -m ipmedgan_jax.MODULE ARGUMENTS`."""
    with ForkedCommands() as commands:
        yield commands.run


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory):
    """Four small CT phantoms, prepared at 32x32: two subjects to train on, one to validate on, one to test on."""
    folder = tmp_path_factory.mktemp("phantom")
    return _prepared(folder, _phantoms(folder, subjects=4), validation=("sub-003",), test=("sub-004",))


@pytest.fixture(scope="session")
def repeated_scan_data(tmp_path_factory):
    """Five such phantoms with two subjects to validate on; of one of them there are two files, of the same voxels."""
    folder = tmp_path_factory.mktemp("repeated")
    paths = _phantoms(folder, subjects=5)
    again = paths[2].with_name("sub-003_run-2_ct.nii.gz")
    shutil.copy(paths[2], again)
    return _prepared(folder, [*paths, again], validation=("sub-003", "sub-004"), test=("sub-005",))


@pytest.fixture(scope="session")
def window_data(tmp_path_factory):
    """Whole slices, 64x64 and 48x40, of four such phantoms, for networks that see windows of 32x32."""
    folder = tmp_path_factory.mktemp("windows")
    large = _phantoms(folder / "large", subjects=4)
    small = _phantoms(folder / "small", subjects=4, shape=(40, 48))
    paths = [small[0], *large[1:3], small[3]]
    return _prepared(folder, paths, fit="window", validation=("sub-003",), test=("sub-004",))


def _phantoms(folder, subjects, shape=(64, 64)):
    from ipmedgan_jax.data import phantom

    return phantom.write_phantoms(
        folder / "nifti", "ct", subjects=subjects, slices=6, seed=0, shape=shape, spacing_mm=(4.0, 4.0, 4.0)
    )


def _prepared(folder, paths, *, validation, test, fit="scale"):
    from ipmedgan_jax.data import preparation
    from ipmedgan_jax.imaging.settings import PreparationSettings

    settings = PreparationSettings(
        modality="ct",
        image_size=32,
        fit=fit,
        resample_mm=0.0,
        foreground_level=1 / 6,
        validation_subjects=validation,
        test_subjects=test,
    )
    preparation.prepare(settings, paths, folder / "prepared", progress=False)
    return folder / "prepared"


@pytest.fixture
def tiny_config(phantom_data):
    """A function (system="", **changes) -> config of the smallest run on `phantom_data`; keys as `train__steps=3`."""
    from ipmedgan_jax.configs import demo

    def make(system="", **changes):
        config = demo.get_config(system).unlock()
        small = {
            "data__dir": str(phantom_data),
            "data__image_size": 32,
            "data__threads": 2,
            "data__prefetch": 4,
            "holes__size": 16,
            "generator__width": 2,
            "discriminator__width": 2,
            "discriminator__layers": 2,
            "loss__perceptual_layers": (1.0,) * 4,
            "loss__style": 0.0,  # VGG-19 would be most of every program there is to compile
            "vgg19__weights": "random",
            "train__batch_size": 4,
            "train__steps": 4,
            "train__log_every": 2,
            "train__validate_every": 4,
            "train__checkpoint_every": 2,
            "evaluation__batch_size": 4,
        }
        for key, value in (small | changes).items():
            group, _, name = key.rpartition("__")
            (config[group] if group else config)[name] = value
        return config.lock()

    return make


@pytest.fixture
def without_vgg19():
    """A function experiment -> that experiment with the image itself in the place of VGG-19's features, which take long."""
    import flax.linen as nn

    from ipmedgan_jax.pretrained.vgg19_weights import FeatureNetwork

    class Pixels(nn.Module):
        dtype: str = "float32"

        @nn.compact
        def __call__(self, image):
            return (image,)

    return lambda built: replace(built, features=FeatureNetwork(Pixels(), {}, "pixels"))
