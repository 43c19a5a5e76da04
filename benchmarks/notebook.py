"""Runs docs/fill_from_python.ipynb, and stores what its cells print and draw.

  python -m benchmarks.notebook

Needs the extra `test`. Pictures are kept as PNG alone, and no times are stored, so that a run changes only what it shows.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "fill_from_python.ipynb"


def run(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Runs a notebook in a folder; an error of a cell is raised. Returns it with the new outputs."""
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)
    return notebook


if __name__ == "__main__":
    nbformat.write(run(nbformat.read(NOTEBOOK, 4), NOTEBOOK.parent), NOTEBOOK)
