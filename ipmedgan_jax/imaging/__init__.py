"""A scan as a file and as slices: NIfTI, DICOM, grids, masks. No JAX, no Grain."""
