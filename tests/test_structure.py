"""The house keeps its plan: every module imports, and imports run one way."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ipmedgan_jax"
MODULES = sorted(
    str(path.relative_to(PACKAGE.parent).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

LEVELS = [
    {"errors", "caches", "whole"},
    {"meeting"},
    {"processes", "crew"},
    {"data.nifti", "data.dicom"},
    {"masks", "losses", "metrics", "checkpoint", "summaries", "figures", "torch_file", "networks.convolution",
     "data.volumes", "data.records"},
    {"networks.layers", "networks.winograd"},
    {"entry", "runtime", "reports", "parallel", "networks.casnet", "networks.patch_discriminator", "networks.vgg19",
     "networks.context_encoder", "networks.glcic", "inpaint_files", "shapes",
     "data.phantom", "data.preparation"},
    {"data.planes", "damage"},
    {"data.pipeline", "frames"},
    {"data.mask_files"},
    {"steps", "pretrained"},
    {"systems.parts", "systems.classical", "fills"},
    {"systems.ipmedgan", "systems.unet", "systems.finder", "systems.context_encoder", "systems.glcic",
     "systems.ipmedgan_plus", "tiles"},
    {"volume_inpainting"},
    {"scoring", "finding", "comparison", "exported"},
    {"volume_finding"},
    {"experiment"},
    {"runs", "cautions"},
    {"validation", "generators"},
    {"train"},
    {"prepare", "evaluate", "compare", "vgg19", "inpaint", "export"},
    {"main"},
]  # fmt: skip
"""Who lives where: a module imports none of its own or a later line."""


def level(module):
    name = module.removeprefix("ipmedgan_jax.")
    return next(i for i, names in enumerate(LEVELS) if name in names)


def imports(module):
    source = (PACKAGE.parent / (module.replace(".", "/") + ".py")).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ipmedgan_jax"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("ipmedgan_jax."))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports(module):
    importlib.import_module(module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    for other in imports(module):
        if other == "ipmedgan_jax":
            continue
        assert level(other) < level(module), f"{module} imports {other}"


def test_only_experiment_reads_a_config_dict():
    allowed = {"experiment.py", "main.py", "evaluate.py", "prepare.py"}  # the entries only hand it on
    readers = {path.name for path in PACKAGE.rglob("*.py") if "ml_collections" in path.read_text()}
    assert readers <= allowed
    for name in allowed - {"experiment.py"}:
        assert "config." not in (PACKAGE / name).read_text().split('"""', 2)[2].replace("--config.", "")


def test_configs_import_ml_collections_only():
    for path in (PACKAGE.parent / "configs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module in {"ml_collections", "configs"}
            assert not isinstance(node, ast.Import)
