from pathlib import Path

import pytest

from config import filesystems

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:30 / /srv rw,relatime - nfs4 server:/export rw
24 23 254:1 / /srv/fast\040disk rw,relatime shared:2 master:1 - xfs /dev/vdb rw
25 22 0:31 / /home/me/remote rw - fuse.sshfs me@host: rw
26 22 0:32 / /mnt/windows rw - fuseblk /dev/sdb1 rw
""".lstrip()


@pytest.fixture(autouse=True)
def mounts(tmp_path, monkeypatch):
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    monkeypatch.setattr(filesystems, "MOUNTS", file)


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/rankloop", "ext4", False),
        ("/srv/rankloop", "nfs4", True),
        ("/srv/fast disk/rankloop", "xfs", False),
        ("/home/me/remote", "fuse.sshfs", True),
        ("/mnt/windows/data", "fuseblk", False),
        ("/srvother", "ext4", False),
    ],
)
def test_a_path_is_on_the_innermost_mount_that_holds_it(path, kind, network):
    assert filesystems.file_system_of(Path(path)) == kind
    assert filesystems.is_on_a_network(Path(path)) is network


def test_of_two_mounts_on_one_place_the_later_counts(mounts):
    with filesystems.MOUNTS.open("a") as file:
        file.write("30 22 0:40 / /srv rw - ext4 /dev/vdc rw\n")
    assert filesystems.file_system_of(Path("/srv/x")) == "ext4"


def test_where_there_is_no_table_of_mounts_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(filesystems, "MOUNTS", Path("/nowhere"))
    assert filesystems.file_system_of(Path("/")) == ""
    assert not filesystems.is_on_a_network(Path("/"))
