"""Which file system a path is on: SQLite must not be on a network's, whose locks don't hold."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORKS = (  # how their names begin, less "fuse."
    *("nfs", "cifs", "smb", "9p", "afs", "ceph", "gfs", "ocfs", "lustre", "beegfs", "gluster"),
    *("sshfs", "s3fs", "rclone", "gcsfuse", "davfs", "virtiofs", "vboxsf", "drvfs"),
)
ESCAPE = re.compile(r"\\(\d{3})")  # how mountinfo writes a space


def file_system_of(path: Path) -> str:
    """The type of the file system that holds a path, such as ext4; empty where it can't be told."""
    if not MOUNTS.is_file():
        return ""
    best, found = -1, ""
    path = path.resolve()
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = Path(ESCAPE.sub(lambda match: chr(int(match[1], 8)), before.split()[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:  # a later mount hides an earlier one
            best, found = len(point.parts), after.split()[0]
    return found


def is_on_a_network(path: Path) -> bool:
    """Whether a path is on a network's file system."""
    return file_system_of(path).removeprefix("fuse.").startswith(NETWORKS)
