"""Brings what a worker's jobs import into the virtual environment, unless it is there already.

`make install-data` and its kin do the same and keep the same notes, `.venv/data` and so on.
"""

import fcntl
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from runs.launch import die_with_parent

BASE_DIR = Path(__file__).resolve().parent.parent
VIRTUAL_ENVIRONMENT = Path(sys.prefix)
# By queue, files in requirements/, torch first: others need it, and what is there needs no hash.
REQUIREMENTS = {"light": ("data",), "train": ("torch", "train")}
IMPORTED = {"light": "numpy", "train": "peft"}  # by queue: without it no job of the queue can run


def missing(queue: str) -> list[str]:
    """The queue's requirements that this environment does not have as they are now."""
    return [name for name in REQUIREMENTS[queue] if _noted(name) != _note(name)]


def is_usable(queue: str) -> bool:
    """Whether the queue's jobs could run, if perhaps with other versions than wanted."""
    importlib.invalidate_caches()
    return importlib.util.find_spec(IMPORTED[queue]) is not None


def install(name: str) -> str:
    """Install one file of requirements; what went wrong, in a line, or nothing."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    environment = dict(os.environ)
    if name != "torch":  # its builds differ by machine, so it has no hash
        command += ["--require-hashes"]
    elif index := _torch_index():
        environment["PIP_INDEX_URL"] = index  # not an argument: it may hold a password, and `ps` shows those
    done = subprocess.run(
        [*command, "--requirement", str(_file(name))],
        cwd=BASE_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR:")]
        return errors[-1] if errors else f"pip ended with code {done.returncode}"
    (VIRTUAL_ENVIRONMENT / name).write_text(_note(name), encoding="utf-8")
    return ""


def main() -> int:
    """Install what the queue named on the command line needs."""
    (queue,) = sys.argv[1:]
    with (VIRTUAL_ENVIRONMENT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one pip at a time
        for name in missing(queue):
            print(f"installing {_file(name).relative_to(BASE_DIR)}", flush=True)
            if error := install(name):
                print(error, flush=True)
                return 1
    return 0


def _file(name: str) -> Path:
    return BASE_DIR / "requirements" / f"{name}.txt"


def _torch_index() -> str:
    return os.environ.get("RANKLOOP_TORCH_INDEX", "").strip()


def _noted(name: str) -> str:
    note = VIRTUAL_ENVIRONMENT / name
    return note.read_text(encoding="utf-8") if note.is_file() else ""


def _note(name: str) -> str:
    """What is noted after an installation: the line that sha256sum prints; for torch its index counts too."""
    digest = hashlib.sha256(_file(name).read_bytes() + (_torch_index().encode() if name == "torch" else b""))
    return f"{digest.hexdigest()}  requirements/{name}.txt\n"


if __name__ == "__main__":
    sys.exit(main())
