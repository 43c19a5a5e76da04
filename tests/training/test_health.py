"""What a run's report says of its health."""

import math

import pytest

from ipmedgan_jax.training.health import findings
from tests.training.test_curves import points


def warnings_of(**scalars):
    names = {name.replace("__", "/"): points(values) for name, values in scalars.items()}
    return [finding.text for finding in findings(names, "mae") if finding.is_warning]


HEALTHY = {
    "validation__mae": [3.0, 2.0, 1.0],
    "loss__discriminator__global": [0.7] * 50,
    "gradient_norm__generator": [1.0, 2.0] * 25,
    "images_per_second": [10.0] * 50,
}


def test_a_healthy_run_has_no_warning():
    assert warnings_of(**HEALTHY) == []


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("validation__mae", [1.0, *[2.0] * 5], "5 later validations brought no better one"),
        ("validation__mae", [3.0, math.nan, 2.0], "1 validation gave a mae that is not finite"),
        ("loss__discriminator__global", [0.7] * 40 + [0.001] * 10, "global tells fakes almost without error"),
        ("loss__discriminator__global", [0.7] * 40 + [0.9, 0.01] * 5, "global tells fakes almost without error"),
        ("gradient_norm__generator", [1.0] * 49 + [100.0], "a spike of 100 times"),
        ("images_per_second", [10.0] * 40 + [3.0] * 10, "Slower than usual: 3 images a second lately, 10 over"),
        ("skipped_steps", [1.0, 2.0], "2 steps skipped"),
    ],
)
def test_what_a_practised_reader_would_look_at_is_a_warning(name, values, says):
    (warning,) = warnings_of(**HEALTHY | {name: values})
    assert says in warning


def test_an_earlier_phase_has_a_speed_of_its_own():
    scalars = {"images_per_second": points([30.0] * 50 + [10.0] * 30)}
    assert [finding.is_warning for finding in findings(scalars, "mae", phase_start=50)] == [False, False]
    assert [finding.is_warning for finding in findings(scalars, "mae")] == [False, True]


def test_a_run_without_a_curve_has_no_warning():
    assert warnings_of() == []
