"""The bound on the memory of one file."""

import pytest

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError


def test_the_bound_is_a_share_of_what_the_process_can_have(monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setattr(memory, "total", lambda: 2**34)
    monkeypatch.setattr(memory, "_default", memory._default.__wrapped__)
    assert memory.limit() == 0.75 * 2**34
    memory.check("scan.nii", 12 * 2**30, "its shape")
    with pytest.raises(UserError, match=r"^scan.nii: its shape takes 16 GiB .* 12 GiB are allowed .* set IPMEDGAN_MEM"):
        memory.check("scan.nii", 2**34, "its shape")


def test_the_variable_sets_the_bound(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "0.5")
    assert memory.limit() == 2**29
    with pytest.raises(UserError, match=r"0\.5 GiB are allowed"):
        memory.check("scan.nii", 10**40, "its shape")


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf", "1e308", "1 GiB"])
def test_a_variable_of_another_kind_is_refused(monkeypatch, value):
    monkeypatch.setenv(memory.VARIABLE, value)
    with pytest.raises(UserError, match=r"IPMEDGAN_MEMORY_GIB=.*: expected a number of GiB above 0"):
        memory.limit()


@pytest.mark.parametrize(
    ("groups", "file", "content", "expected"),
    [
        ("0::/job/step\n", "job/memory.max", "1000\n", 1000),  # version 2, a limit of the group above
        ("0::/\n", "memory.max", "max\n", None),
        ("0::/elsewhere\n", "memory.max", "1000\n", 1000),  # inside a container the group's path does not exist
        ("4:cpu:/x\n9:memory:/docker/a\n", "memory/docker/a/memory.limit_in_bytes", "1000\n", 1000),  # version 1
        ("4:cpu:/x\n", "memory/memory.limit_in_bytes", "1000\n", None),
    ],
)
def test_limits_of_control_groups_count(tmp_path, monkeypatch, groups, file, content, expected):
    (path := tmp_path / "groups" / file).parent.mkdir(parents=True)
    path.write_text(content)
    (tmp_path / "cgroup").write_text(groups)
    monkeypatch.setattr(memory, "_PROC", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "groups")
    assert (memory.total() == expected) == (expected is not None)
