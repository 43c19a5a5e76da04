"""The wheel: what is in it, and that it works from any folder without the clone beside it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ipmedgan_jax
from ipmedgan_jax.inpainting import shipped

ROOT = Path(__file__).parents[1]
WHEEL = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
MODEL_FILES = ("model.json", "weights.safetensors", "MODEL_CARD.md")


def run(*arguments, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: what an earlier build left in the clone would get into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("ipmedgan_jax", "configs", "licenses"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    planted = source / "ipmedgan_jax" / "models" / "planted"
    planted.mkdir(parents=True)
    for name in MODEL_FILES:
        (planted / name).write_text("{}")
    run("-m", *WHEEL, "--wheel-dir", str(folder), str(source), cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_its_configs_models_and_licences_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"ipmedgan_jax/{path.relative_to(ROOT / 'ipmedgan_jax')}" for path in (ROOT / "ipmedgan_jax").rglob("*.py")}
    configs = {f"ipmedgan_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    inside = {name for name in names if ".dist-info/" not in name}
    models = {f"ipmedgan_jax/models/{name}/{file}" for name in (*shipped.names(), "planted") for file in MODEL_FILES}
    assets = {
        f"ipmedgan_jax/{path.relative_to(ROOT / 'ipmedgan_jax')}"
        for path in (ROOT / "ipmedgan_jax").glob("*/assets/**/*")
        if path.is_file()
    }
    assert inside == sources | configs | models | assets | {"ipmedgan_jax/py.typed"}
    info = f"ipmedgan_jax-{ipmedgan_jax.__version__}.dist-info"
    licences = {f"{info}/licenses/licenses/{path.name}" for path in (ROOT / "licenses").iterdir()}
    assert names >= licences | {f"{info}/licenses/LICENSE"}
    scripts = zipfile.ZipFile(wheel).read(f"{info}/entry_points.txt")
    assert {b"ipmedgan = ipmedgan_jax.cli:main", b"ipmedgan-bids = ipmedgan_jax.bids:main"} <= set(scripts.splitlines())


def test_what_the_wheel_installs_works_from_any_folder(wheel, tmp_path):
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    (tmp_path / "own.py").write_text("from ipmedgan_jax.configs.ct import get_config\n")

    def console(*arguments):
        command = f"import sys, ipmedgan_jax.cli as cli; assert cli.__file__.startswith({str(installed)!r}); cli.main()"
        return run("-c", command, *arguments, cwd="/", PYTHONPATH=str(installed), PYTHONSAFEPATH="1")

    assert console("--version") == f"ipmedgan {ipmedgan_jax.__version__}\n"
    text = console("inpaint", "--help")
    assert "--mask_above_hu" in text
    assert f"instead of --workdir: {', '.join(sorted([*shipped.names(), 'planted']))}, or a folder" in text
    settings = console("train", "--config=demo:unet", "--config.train.steps=4", "--print_config").splitlines()
    assert {"train.steps = 4", "system = 'unet'", "data.image_size = 64"} <= set(settings)
    for config in ("configs/ct.py", "ct", str(tmp_path / "own.py")):
        assert "modality = 'ct'" in console("prepare", f"--config={config}", "--print_config").splitlines()


FILL = """
import numpy, ipmedgan_jax
scan = numpy.arange(300.0).reshape(10, 10, 3)
mask = numpy.zeros(scan.shape, bool)
mask[4:6, 4:6, 1] = True
filled = ipmedgan_jax.fill(scan, mask, system="laplace", affine=numpy.eye(4))
print(ipmedgan_jax.__file__, (filled != scan).sum() <= 4)
"""


def test_python_code_fills_with_what_the_wheel_installs(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    printed = run("-c", FILL, cwd="/", PYTHONPATH=str(tmp_path / "installed"), PYTHONSAFEPATH="1")
    assert printed == f"{tmp_path / 'installed' / 'ipmedgan_jax' / '__init__.py'} True\n"


def test_every_file_that_names_the_version_names_this_one():
    version = ipmedgan_jax.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    section = "Unreleased" if ".dev" in version else version
    assert f"\n## [{section}]" in (ROOT / "CHANGELOG.md").read_text()
