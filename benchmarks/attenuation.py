"""What filling does to attenuation correction of PET: the 511 keV attenuation map of CT slices, intact, damaged and filled.

  python -m benchmarks.attenuation runs/ct runs/ct_telea --kvp=120 --output=results/attenuation

Runs must have been evaluated on the same holes of complete CT slices (`python -m ipmedgan_jax.evaluate`); the folds of a
cross-validation are pooled. *Damaged* slices have the low end of the intensity window in the hole: air, as where a metal
artefact was cut out, in the default window. HU become linear attenuation coefficients by the bilinear scaling
(`attenuation_coefficient`). Reconstruction sees the map at PET's resolution, so it is smoothed, which carries errors of the
hole into its surroundings. Attenuation correction factors are exp of line integrals of the map.

OUTPUT gets `attenuation.md`, `.csv` and `.json`. Scores of a hole, all against the intact slice:

- `mu_hole`: mean absolute error of the coefficient in the hole, 1/cm, not smoothed;
- `bias_hole`: mean error there, 1/cm;
- `mu_around`: mean absolute error of the smoothed map in the ring of a quarter of the hole's side around it, 1/cm;
- `acf`: mean absolute relative error of the correction factor over the slice's rows and columns through the hole, in %.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from absl import flags
from scipy.ndimage import gaussian_filter

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

if TYPE_CHECKING:
    from benchmarks.downstream_report import Measure
    from benchmarks.evaluated_slices import EvaluatedSlices

WATER_SLOPE = 9.6e-5
"""1/cm per HU below the break point: water, 0.096/cm at 0 HU, mixed with air."""


@dataclass(frozen=True)
class Bone:
    """The scaling above the break point, for one tube voltage: `slope * (HU + 1000) + offset`.

    `slope` is in 1/cm per HU, `offset` in 1/cm, `break_point` in HU.
    """

    slope: float
    offset: float
    break_point: float


BONE = {
    80: Bone(3.64e-5, 6.26e-2, 50.0),
    100: Bone(4.43e-5, 5.44e-2, 52.0),
    110: Bone(4.92e-5, 4.88e-2, 43.0),
    120: Bone(5.10e-5, 4.71e-2, 47.0),
    130: Bone(5.51e-5, 4.24e-2, 37.0),
    140: Bone(5.64e-5, 4.08e-2, 30.0),
}
"""By the tube's peak voltage in kV (Carney et al., 2006)."""

ABOUT = """\
Means over {subjects} {split} subjects{folds}, {holes} holes. Coefficients at 511 keV are of the bilinear scaling for {kvp} kV
(Carney et al., Med Phys 33:976, 2006); water has 0.096/cm. HU outside of {low:g} to {high:g} were clipped in all rows.
*Ring*: the map smoothed to {fwhm:g} mm (FWHM), in the ring of a quarter of the hole's side around it. *ACF*: relative
error of the attenuation correction factor of the slice's rows and columns through the hole. The row `intact` is the
reference and has no error. `damaged` has {low:g} HU in the hole."""

COLUMNS = (
    ("error, hole (1/cm)", "mu_hole", 5),
    ("bias, hole (1/cm)", "bias_hole", 5),
    ("error, ring (1/cm)", "mu_around", 6),
    ("ACF error (%)", "acf", 2),
)

ERRORS = (("error, hole", "mu_hole"), ("error, ring", "mu_around"), ("ACF error", "acf"))

SIGMA = 1 / np.sqrt(8 * np.log(2))
"""Standard deviation of a Gaussian as a share of its full width at half maximum."""


def main(folders: list[str]) -> None:
    from benchmarks import downstream_report, evaluated_slices, outputs

    given = flags.FLAGS
    output = outputs.folder(given.output)
    slices = evaluated_slices.read(folders)
    if slices.dataset.modality != "ct":
        raise UserError(f"{slices.runs[0].folder}: scored on {slices.dataset.modality}; attenuation maps are made of ct")
    measured = measure(slices, kvp=int(given.kvp), fwhm_mm=given.fwhm_mm)
    print(downstream_report.write(measured, output, "attenuation"))


def attenuation_coefficient(hu: np.ndarray, kvp: int = 120) -> np.ndarray:
    """Returns linear attenuation coefficients at 511 keV in 1/cm, at least 0, of CT numbers in HU.

    The bilinear scaling of Carney, Townsend, Rappoport and Bendriem (Med Phys 33:976-983, 2006; Burger et al., Eur J Nucl Med
    29:922-927, 2002, have the same form): 9.6e-5 (HU + 1000) up to a break point near water, a (HU + 1000) + b above it, with
    a and b of the tube's voltage.
    """
    bone = BONE[kvp]
    raised = np.asarray(hu, np.float64) + 1000
    mu = np.where(raised <= bone.break_point + 1000, WATER_SLOPE * raised, bone.slope * raised + bone.offset)
    return np.maximum(mu, 0.0)


def measure(slices: "EvaluatedSlices", *, kvp: int, fwhm_mm: float) -> "Measure":
    """Compares the attenuation maps of the slices, damaged and filled, with those of the intact slices."""
    from benchmarks import region_scores
    from benchmarks.downstream_report import Measure

    side = slices.runs[0].scores[0].hole[2]
    around = region_scores.rings(slices.holes, side)
    intact = _maps(slices, slices.intact, kvp)
    scores, by_hole = {}, {}
    for row, images in slices.rows():
        errors = errors_of_maps(_maps(slices, images, kvp), intact, slices.holes, around, slices.pixel_mm, fwhm_mm)
        scores[row] = {name: region_scores.subject_means(values, slices.subjects) for name, values in errors.items()}
        by_hole[row] = errors
    low, high = slices.records[0].window
    count = {"subjects": len(set(slices.subjects)), "holes": len(intact), "split": slices.split}
    count["folds"] = f" ({slices.folds})" if slices.folds else ""
    about = ABOUT.format(**count, kvp=kvp, low=low, high=high, fwhm=fwhm_mm)
    return Measure(
        title="Attenuation maps of intact, damaged and filled CT slices",
        about=about,
        columns=COLUMNS,
        errors=ERRORS,
        groups=slices.groups,
        subjects=slices.subjects,
        scores=scores,
        by_hole=by_hole,
        facts={"kvp": kvp, "fwhm_mm": fwhm_mm},
    )


def _maps(slices: "EvaluatedSlices", images: np.ndarray, kvp: int) -> np.ndarray:
    """Attenuation maps of images in [-1, 1] of the slices' intensity windows: `[n, H, W]` in 1/cm."""
    low, high = np.array([record.window for record in slices.records]).T[:, :, None, None]
    return attenuation_coefficient(low + (images + 1.0) / 2 * (high - low), kvp)


def errors_of_maps(
    maps: np.ndarray, intact: np.ndarray, holes: np.ndarray, around: np.ndarray, pixel_mm: np.ndarray, fwhm_mm: float
) -> dict[str, np.ndarray]:
    """Returns the scores of the module's docstring, each `[n]`.

    Args:
      maps, intact: attenuation maps `[n, H, W]` in 1/cm.
      holes, around: bool `[n, H, W]`.
      pixel_mm: `[n, 2]`, heights and widths of pixels.
      fwhm_mm: resolution of PET, full width at half maximum.
    """
    difference = maps - intact
    sigmas = fwhm_mm * SIGMA / pixel_mm
    smooth = np.stack([gaussian_filter(image, sigma) for image, sigma in zip(difference, sigmas, strict=True)])
    return {
        "mu_hole": _mean(np.abs(difference), holes),
        "bias_hole": _mean(difference, holes),
        "mu_around": _mean(np.abs(smooth), around),
        "acf": np.array([_acf_error(*parts) for parts in zip(smooth, holes, pixel_mm / 10, strict=True)]),
    }


def _mean(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    return (values * region).sum((1, 2)) / region.sum((1, 2))


def _acf_error(difference: np.ndarray, hole: np.ndarray, pixel_cm: np.ndarray) -> float:
    """Mean absolute relative error in % of exp(line integral) over the rows and columns through the hole."""
    height, width = pixel_cm
    along_rows = difference.sum(1)[hole.any(1)] * width
    along_columns = difference.sum(0)[hole.any(0)] * height
    return float(100 * np.abs(np.expm1(np.concatenate([along_rows, along_columns]))).mean())


def define_flags() -> None:
    flags.DEFINE_enum("kvp", "120", [str(voltage) for voltage in BONE], "peak voltage of the CT's tube, kV")
    flags.DEFINE_float("fwhm_mm", 5.0, "resolution of PET, full width at half maximum; 0: the map as it is", lower_bound=0.0)
    flags.DEFINE_string("output", None, "folder for the table and its files")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"], arguments="the folders of evaluated runs are")
