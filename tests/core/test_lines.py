"""Lines of output stay one line whatever names are in them."""

import logging

from ipmedgan_jax.core import command
from ipmedgan_jax.core.lines import print_line


def test_a_printed_line_is_one_line(capsys):
    print_line("a\nb\r\nc  d\u2028e: filled")
    assert capsys.readouterr().out == "a b c  d e: filled\n"


def test_a_line_of_the_log_is_one_line():
    record = logging.LogRecord("x", 20, command.__file__, 1, "%s: exists", ("a\nb.nii",), None)
    assert command._Plain().format(record).endswith(" a b.nii: exists")
