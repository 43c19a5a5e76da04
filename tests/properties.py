"""How property tests are run: on the same examples every time, and few enough of them to be quick."""

from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).parents[1] / ".pytest_cache" / "hypothesis")

property_test = settings(max_examples=60, deadline=None, derandomize=True, database=None)
