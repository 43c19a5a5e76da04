"""Provenance: what made a file, without the name of an account."""

import json
import subprocess
import sys
from collections import namedtuple
from datetime import datetime

import numpy as np
import pytest

import ipmedgan_jax
from ipmedgan_jax.core import provenance

Device = namedtuple("Device", ["device_kind"])


@pytest.fixture(autouse=True)
def forget():
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


def test_provenance_has_versions_machine_date_and_command(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere/ada")
    monkeypatch.setattr(sys, "argv", ["/x/ipmedgan_jax/inpaint.py", "--image=/somewhere/ada/in a", "--mask=/home/eve/m"])
    made = provenance.provenance([Device("H100"), Device("H100")])
    assert json.loads(json.dumps(made)) == made
    assert (made["ipmedgan_jax"], made["devices"]) == (ipmedgan_jax.__version__, {"H100": 2})
    assert made["command"] == "python -m ipmedgan_jax.inpaint '--image=~/in a' '--mask=~/m'"
    assert datetime.fromisoformat(made["date"]).utcoffset().total_seconds() == 0
    assert all(part in provenance.one_line(made) for part in (made["jax"], made["machine"], "2 x H100", made["command"]))


def test_a_command_with_a_name_that_is_not_utf_8_can_be_written(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipmedgan inpaint", "--image=caf\udce9"])
    assert r"ipmedgan inpaint '--image=caf\udce9'" in provenance.one_line(provenance.provenance())


def repository(folder):
    """Makes a clone with one commit that holds the package; returns the path of its `__init__.py`."""
    package = folder / "ipmedgan_jax" / "__init__.py"
    package.parent.mkdir()
    package.touch()
    for arguments in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return package


def test_a_clone_knows_its_commit_and_that_files_were_changed(tmp_path, monkeypatch):
    package = repository(tmp_path)
    monkeypatch.setattr(ipmedgan_jax, "__file__", str(package))
    commit = provenance.commit()
    assert len(commit) == 40
    package.write_text("changed")
    provenance.commit.cache_clear()
    assert provenance.commit() == f"{commit}-dirty"


@pytest.mark.parametrize(
    ("installed", "commit"),
    [('{"url": "x", "vcs_info": {"commit_id": "abc"}}', "abc"), ('{"url": "x", "dir_info": {}}', None), (None, None)],
)
def test_an_installed_package_knows_its_commit_if_pip_does(tmp_path, monkeypatch, installed, commit):
    found = namedtuple("Distribution", ["read_text"])(lambda _: installed)
    monkeypatch.setattr(ipmedgan_jax, "__file__", str(tmp_path / "ipmedgan_jax" / "__init__.py"))
    monkeypatch.setattr(provenance.importlib.metadata, "distribution", lambda _: found)
    assert provenance.commit() == commit


def test_a_clone_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(ipmedgan_jax, "__file__", str(repository(tmp_path)))
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None


def test_digests_tell_contents_apart_and_not_names(tmp_path):
    for name, content in (("a/1.dcm", b"x"), ("a/2.dcm", b"y"), ("b/5.dcm", b"y"), ("b/7.dcm", b"x"), ("c/1.dcm", b"x")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    first, same, other = (provenance.digest_of_path(tmp_path / name) for name in "abc")
    assert first == same != other
    assert provenance.digest_of_path(tmp_path / "a/1.dcm") == provenance.digest_of_path(tmp_path / "c/1.dcm")


@pytest.mark.parametrize("changed", [[np.ones((2, 3))], [np.ones((3, 2)) * 2], [np.ones((3, 2)), np.ones(0)], []])
def test_weights_with_another_shape_value_or_number_have_another_digest(changed):
    assert provenance.digest_of_arrays([np.ones((3, 2))]) != provenance.digest_of_arrays(changed)
    assert provenance.digest_of_arrays([np.ones((3, 2)).T]) == provenance.digest_of_arrays([np.ones((2, 3))])
