"""The house keeps its plan: every module imports, and imports run one way."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ipmedgan_jax"
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

FLOORS = [
    {"core"},
    {"imaging", "networks", "distributed", "pages"},
    {"data", "pretrained"},
    {"systems"},
    {"experiment"},
    {"evaluation"},
    {"training", "inpainting"},
    {"viewing"},
    {"commands"},
]
"""A package imports from itself and from lower floors only. The commands are the modules at the top level."""

COMMANDS = {"main", "prepare", "evaluate", "inpaint", "view", "compare", "export", "vgg19", "bids"}

LONGEST = 300
"""Lines of a module; a longer one says why in its docstring."""


def package_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else "commands"


def floor(package):
    return next(i for i, packages in enumerate(FLOORS) if package in packages)


def source_of(module):
    return (ROOT / (module.replace(".", "/") + ".py")).read_text()


def imports(module):
    for node in ast.walk(ast.parse(source_of(module))):
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
    mine = package_of(module)
    for other in set(imports(module)) - {"ipmedgan_jax", "ipmedgan_jax.configs"}:
        theirs = package_of(other)
        assert theirs == mine != "commands" or floor(theirs) < floor(mine), f"{module} imports {other}"


def test_modules_of_a_package_do_not_import_each_other_in_a_circle():
    edges = {module: set(imports(module)) & set(MODULES) for module in MODULES}
    while edges:
        leaves = {module for module, others in edges.items() if not others & edges.keys()}
        assert leaves, f"a circle among {sorted(edges)}"
        edges = {module: others for module, others in edges.items() if module not in leaves}


def test_the_top_level_holds_the_commands_alone():
    assert {module.rpartition(".")[2] for module in MODULES if package_of(module) == "commands"} == COMMANDS | {"cli"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set().union(*FLOORS) - {"commands"} | {"configs"}


def test_the_package_s_configs_are_the_folder_at_the_root():
    assert (PACKAGE / "configs").resolve() == ROOT / "configs"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short_or_says_why_not(module):
    source = source_of(module)
    assert len(source.splitlines()) <= LONGEST or "in one module because" in ast.get_docstring(ast.parse(source))


def test_names_inside_strings_exist_here():
    """Programs in strings, patched names and scripts would otherwise be resolved in another installed copy, or not at all."""
    texts = {path: path.read_text() for folder in ("tests", "benchmarks", "launch") for path in (ROOT / folder).rglob("*.*")
             if path.suffix in {".py", ".sh", ".sbatch", ".yaml"}}  # fmt: skip
    found = 0
    for path, text in texts.items():
        for package, names in re.findall(r"from (ipmedgan_jax[\w.]*) import ([\w, ]+)", text):
            for name in re.split(r",\s*", names.strip(" ,")):
                name = name.partition(" as ")[0].strip()
                inner = importlib.util.find_spec(f"{package}.{name}") if _is_package(package) else None
                assert inner or hasattr(importlib.import_module(package), name), f"{path}: {package} has no {name}"
                found += 1
        for name in re.findall(r"-m (ipmedgan_jax\.[a-z]\w*)", text):
            assert name in MODULES, f"{path}: no command {name}"
    assert found > 100


def _is_package(name):
    return (ROOT / name.replace(".", "/") / "__init__.py").exists()


def test_this_checkout_is_what_is_tested():
    assert Path(importlib.import_module("ipmedgan_jax").__file__).parent == PACKAGE


def test_only_experiment_reads_a_config_dict():
    readers = {module for module in MODULES if "ml_collections" in source_of(module)}
    assert {package_of(module) for module in readers} == {"experiment"}
    for name in COMMANDS:  # they only hand it on
        code = source_of(f"ipmedgan_jax.{name}").split('"""', 2)[2]
        assert not re.search(r"(?<![\w-])config\.\w", code), name


def test_configs_import_ml_collections_only():
    for path in (ROOT / "configs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module in {"ml_collections", "ipmedgan_jax.configs"}
            assert not isinstance(node, ast.Import)


RETIRED = {
    *("crew", "Crew", "meeting", "meet", "part", "Place", "Line", "patience", "beat", "hear"),
    *("together", "by_first", "agree", "number", "Vote", "claim", "seen", "finds", "any_shape", "averaged", "clean"),
    *("alone", "judge", "Judge", "Parts", "finding", "cautions", "frames", "Finder", "Grid"),
    *("YOUNGER", "MAY_CHANGE", "LENGTH", "OF_MODALITY", "LIKELY", "SURE", "generators"),
}
"""Names that only this project's history explains; each has a term of the field in their place."""


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_defined_under_a_retired_name(module):
    """Modules, functions, classes, constants and fields; not local variables."""
    defined = {module.rpartition(".")[2]}
    for node in ast.walk(ast.parse(source_of(module))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        if isinstance(node, ast.ClassDef | ast.Module):
            for statement in node.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert not defined & RETIRED
    assert module.rpartition(".")[2] not in {"fills", "whole", "shown"}


@pytest.mark.parametrize("module", MODULES)
def test_numpy_s_random_generators_are_called_rng(module):
    for node in ast.walk(ast.parse(source_of(module))):
        if isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation) == "np.random.Generator":
            assert node.arg == "rng"
