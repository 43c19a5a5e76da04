"""Crafted VGG-19 weight files: each asks its reader for memory, for another file, for code or for the impossible.

None of them can be read. `tests/pretrained/test_hostile_weights.py` expects the package's own error, within a bound of
memory, and nothing opened or run.
"""

from benchmarks.soak.crafted import hdf5_files, npz_files, other_files, torch_files
from benchmarks.soak.crafted.registry import BOMB, CRAFTED

__all__ = ["BOMB", "CRAFTED", "hdf5_files", "npz_files", "other_files", "torch_files"]
