"""Messages of the BIDS App name its own arguments."""

import re
from pathlib import Path

import pytest
from absl import logging

from ipmedgan_jax import bids, inpaint
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import app_messages


@pytest.mark.parametrize(
    ("of_inpaint", "of_app"),
    [
        ("--output=/a b/c: exists", "OUT_DIR /a b/c: exists"),
        ("fill them in two calls, with another --output each", "fill them in two calls, with another OUT_DIR each"),
        ("choose a new folder, or give --nobids to inpaint to go on under those names", "choose a new folder"),
        ("damaged (x); mend it, or give --nobids to inpaint", "damaged (x); mend it"),
        ("x (--empty_mask=copy or --empty_mask=skip goes on)", "x (--empty-mask=copy or --empty-mask=skip goes on)"),
        ("--planes=axial,top: expected", "--planes axial top: expected"),
        ("give --match_mask=index to go by the index", "give --match-mask=index to go by the index"),
        ("--dilate_mm was 1, is now 2; --mask_labels was 1,2", "--dilate-mm was 1, is now 2; --mask-labels was 1,2"),
        ("give --mask='{folder}/{case}_mask.nii.gz'", "give --mask-dir='{folder}/{case}_mask.nii.gz'"),
        ("or give --mask-dir", "or give --mask-dir"),
        ("export it again, with --format=weights; 100 % of a--b", "export it again, with --format=weights; 100 % of a--b"),
    ],
)
def test_flags_of_inpaint_become_arguments_in_errors(of_inpaint, of_app):
    def fail():
        with app_messages.app_names():
            raise UserError(of_inpaint)

    with pytest.raises(UserError) as found:
        fail()
    assert str(found.value) == of_app
    assert app_messages._translate not in logging.get_absl_handler().filters


def test_every_argument_in_messages_is_one_of_the_app():
    parsed = bids.parse(["in", "out", "participant"])
    names = [name.removeprefix("--").replace("-", "_") for name in app_messages._ARGUMENTS.values() if name.startswith("-")]
    assert set(names) <= set(vars(parsed))


def test_every_flag_of_inpaint_that_the_app_spells_otherwise_is_translated():
    flags = re.findall(r'DEFINE_\w+\(\s*"(\w+_\w+)"', Path(inpaint.__file__).read_text())
    shared = set(flags) & set(vars(bids.parse(["in", "out", "participant"])))
    assert shared >= {"mask_labels", "match_mask", "empty_mask", "dilate_mm", "skull_stripped"}
    assert shared <= set(app_messages._ARGUMENTS)


def test_a_record_of_the_log_is_translated():
    record = logging.get_absl_logger().makeRecord("x", 30, "f", 1, "%s: 5 %%", ("--mask_labels=1,4",), None)
    assert app_messages._translate(record)
    assert record.getMessage() == "--mask-labels 1 4: 5 %"
