"""What a machine says of itself: its name, its boot, which process is which, what it can compute with."""

import os
import re
import socket
from functools import cache
from pathlib import Path


@cache
def name() -> str:
    """The name of this host."""
    return socket.gethostname()


@cache
def boot_id() -> str:
    """Changes with each boot: a process of another boot is surely gone."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def owner(pid: int) -> str:
    """Who owns a run: this host, a process of it, this boot."""
    return f"{name()}:{pid}:{boot_id()}"


def process_start(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if it is gone or a zombie.

    Together with the boot it tells a process from a later one with the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def killed_for_memory() -> int:
    """How many processes of our control group the kernel has killed for want of memory."""
    try:
        events = Path("/sys/fs/cgroup/memory.events").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
    return int(found[1]) if found else 0


def devices() -> list[str]:
    """The processors runs may use, GPUs first, found without loading torch."""
    gpus = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        gpus.append(found[1].strip() if found else "GPU")
    return [*gpus, f"{os.cpu_count()} CPU cores"]


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
