"""The notebook of the docs runs without an error, and prints what it shows."""

import re

import jax
import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

from benchmarks import notebook  # noqa: E402

LARGEST = 150_000
"""Bytes of the notebook with its pictures."""


def texts(cells):
    """What the cells print, with their numbers as #: these may differ in another version of JAX."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return [re.sub(r"[\d.]+", "#", text) for text in shown]


def pictures(cells):
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def test_the_notebook_runs_and_shows_what_it_prints(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # of the tests: four devices
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(jax.config.values["jax_compilation_cache_dir"]))
    stored = nbformat.read(notebook.NOTEBOOK, 4)
    before, drawn = texts(stored.cells), pictures(stored.cells)
    assert (len(before), drawn) == (8, 3)
    assert notebook.NOTEBOOK.stat().st_size < LARGEST
    assert "/home/" not in notebook.NOTEBOOK.read_text()
    nbformat.validate(stored)
    done = notebook.run(stored, tmp_path)
    assert (texts(done.cells), pictures(done.cells)) == (before, drawn)
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"] == list(range(1, 9))
