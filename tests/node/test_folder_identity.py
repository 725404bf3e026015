"""The identity of a folder tells nodes apart, or says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.node import folder_identity
from orchestrator.node.folder_identity import identity
from orchestrator.node.probes.mounts import Mount, mount_of, mounts

from .ranks import tree

MOUNTS = r"""22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 259:2 / /home/me/local\040disk rw - xfs /dev/nvme1n1 rw
32 22 0:30 / /mnt rw - ext4 /dev/sdb rw
33 32 0:31 / /mnt rw master:3 - fuse.sshfs there: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/work", "ext4"),
        ("/home/me/work", "nfs4"),
        ("/homework", "ext4"),
        ("/home/me/local disk/work", "xfs"),
        ("/mnt/work", "fuse.sshfs"),
    ],
)
def test_file_system_is_that_of_the_innermost_last_mount(
    tmp_path: Path, path: str, kind: str
) -> None:
    found = mount_of(path, mounts(tree(tmp_path, **{"proc/self/mountinfo": MOUNTS})))
    assert found is not None
    assert found.kind == kind


def test_folders_of_one_machine_differ_and_one_folder_is_itself(tmp_path: Path) -> None:
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.mkdir()
    two.mkdir()
    link.symlink_to(one)
    if not identity(str(one)):
        pytest.skip("the temporary folder is on a file system that others may share")
    assert identity(str(one)) == identity(str(link)) != identity(str(two))


def test_folder_that_is_gone_has_no_identity(tmp_path: Path) -> None:
    assert identity(str(tmp_path / "gone")) == ""


def test_folder_behind_a_mount_that_is_not_listed_has_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        folder_identity, "mounts", lambda: [Mount("/", "ext4", "/dev/sda", False, device="999:9")]
    )
    assert identity(str(tmp_path)) == ""


def test_folder_whose_name_is_not_text_has_no_identity(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    assert identity(str(folder)) == ""
