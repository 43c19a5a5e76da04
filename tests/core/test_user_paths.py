"""Home folders and file names that are not UTF-8."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core import user_paths
from ipmedgan_jax.core.errors import UserError
from tests.properties import property_test


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    return tmp_path / "ada"


def test_a_home_folder_is_a_tilde_wherever_it_stands_in_a_text(home):
    text = f"--image={home}/in,{home}/b --output='{home}/out' --mask={home}2/m /home/eve/x:/Users/eve:/root /rooted/home/x"
    expected = f"--image=~/in,~/b --output='~/out' --mask={home}2/m ~/x:~:~ /rooted/home/x"
    assert user_paths.without_homes(text) == expected


def test_a_path_that_is_read_again_leads_to_the_same_folder(home):
    for path in (f"{home}/data", "/root/data", "/home/no-such-account/data", "/data/mri", "data/mri"):
        kept = user_paths.without_homes(path, expandable=True)
        assert user_paths.user_path(kept) == Path(path)
        assert str(home) not in kept


def test_the_place_that_a_linked_home_really_has_is_found_too(home, tmp_path, monkeypatch):
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert user_paths.without_homes(f"{home}/in {tmp_path}/link/in") == "~/in ~/in"


@pytest.mark.parametrize(
    ("here", "text", "expected"),
    [
        ("/home/bob/work", "--image=../../eve/in,../x --mask='../../eve/m/*.nii'", "--image=~/in,../x --mask='~/m/*.nii'"),
        ("/home/eve/work", "../in ../../eve/in", "../in ../../eve/in"),
        ("/data/run", "see ../../home/eve/in, ./../../root/x and ../home/eve", "see ~/in, ~/x and ../home/eve"),
        ("/data/run", "a..../../../home/eve ... x/../../home/eve", "a..../../../home/eve ... x/../../home/eve"),
    ],
)
def test_a_relative_path_into_another_home_is_a_tilde_too(here, text, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.setattr(user_paths.Path, "cwd", lambda: Path(here))
    assert user_paths.without_homes(text) == expected
    assert user_paths.without_homes(text, expandable=True) == text


@pytest.mark.parametrize("text", ["~/x.nii.gz", "~no-such-account/x.nii.gz"])
def test_an_unknown_home_folder_is_an_error_of_one_line(text, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(user_paths.pwd, "getpwuid", lambda uid: {}[uid])  # as for an account of a container
    with pytest.raises(UserError, match=f"the home folder {text.split('/')[0]} is not known here"):
        user_paths.user_path(text)
    assert user_paths.own_home() is None


@pytest.mark.parametrize("value", ["/", "", "relative"])
def test_a_home_folder_that_is_none_replaces_nothing(value, monkeypatch):
    monkeypatch.setenv("HOME", value)
    assert user_paths.without_homes("/data/in relative/x") == "/data/in relative/x"


@property_test
@given(names=st.lists(st.binary(min_size=1, max_size=8).map(os.fsdecode), min_size=2, max_size=2, unique=True))
def test_any_name_has_its_own_name_in_utf_8(names):
    first, second = (user_paths.as_utf8(name) for name in names)
    first.encode()
    assert first != second or "%" in "".join(names)
    assert user_paths.is_utf8(Path(first))
