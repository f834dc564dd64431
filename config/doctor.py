"""What is wrong with this installation, and what to do about it: one function a check, for people."""

import importlib.metadata
import ipaddress
import os
import shutil
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection
from django.http.request import validate_host
from django.utils import timezone

from config.filesystems import file_system_of, is_on_a_network
from config.startup import SQLITE_PRAGMAS, ask_sqlite, database_gap
from runs import host
from runs.models import Worker

Mark = Literal["ok", "warn", "bad"]
GB = 10**9
LEAST_DISK, SOME_DISK, SOME_MEMORY = GB, 10 * GB, 4 * GB
QUEUES = ("light", "train")
# The first patches of each series without the faults of 2025 and 2026 that let a client run code:
# CVE-2025-49844 (Lua) and CVE-2026-23479 (eviction of a blocked client, series from 7.2 on).
REDIS_PATCHES = {(6, 2): 20, (7, 4): 9, (8, 2): 6, (8, 4): 3, (8, 6): 3}
VALKEY_PATCHES = {(7, 2): 11, (8, 0): 6, (8, 1): 4}
# The WAL-reset fault: two processes that checkpoint at once can, very rarely, lose pages.
SQLITE_PATCHES = {(3, 44): 6, (3, 50): 7, (3, 51): 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: how it stands, what it is, what to do."""

    mark: Mark
    what: str
    advice: str = ""


def ok(what: str) -> Finding:
    """As it should be."""
    return Finding("ok", what)


def warn(what: str, advice: str) -> Finding:
    """It works, but something is worth doing."""
    return Finding("warn", what, advice)


def bad(what: str, advice: str) -> Finding:
    """It does not work, or people or data are in danger."""
    return Finding("bad", what, advice)


def versions() -> Iterator[Finding]:
    """Python, Django and what else was installed."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield ok(f"Python {python}, Django {django.get_version()}, Celery {_version('celery')}")
    for message in checks.run_checks():
        if message.is_serious():
            yield bad(f"Django: {message.msg}", message.hint or "this is a fault of ours: please report it")


def database() -> Iterator[Finding]:
    """The database opens, is new enough, and fits the code."""
    connection.ensure_connection()
    name = "SQLite" if connection.vendor == "sqlite" else "PostgreSQL"
    version = connection.get_database_version()
    text = f"{name} {_dotted(version)}"
    least = connection.features.minimum_database_version or ()
    if version < least:
        yield bad(f"{text} is too old", f"use {name} {_dotted(least)} or later")
    else:
        yield ok(text)
    if gap := database_gap():
        yield bad(gap, "stop the web server and workers first")
    else:
        yield ok("the database fits the code")


def sqlite() -> Iterator[Finding]:
    """SQLite's file: where it lies, its settings, whether it is whole."""
    if connection.vendor != "sqlite":
        return
    file = Path(connection.settings_dict["NAME"])
    version = connection.get_database_version()
    if not _is_patched(version, SQLITE_PATCHES):
        yield warn(
            f"SQLite {_dotted(version)} has the WAL-reset fault, which very rarely damages a busy database",
            "keep back-ups (docs/deployment.md); where many people judge at once use PostgreSQL",
        )
    if is_on_a_network(file.parent):
        yield bad(
            f"{file} is on {file_system_of(file.parent)}, whose locks SQLite can't trust",
            "move RANKLOOP_DATA to a local disk, or use PostgreSQL (DATABASE_URL)",
        )
    wrong = [pragma for pragma, value in SQLITE_PRAGMAS.items() if ask_sqlite(pragma) != value]
    if wrong:
        yield bad(f"SQLite's {', '.join(wrong)} is not as we set it", "use the settings as they come")
    if ask_sqlite("synchronous") < 2:
        yield warn(
            "a power cut may lose the last judgments (RANKLOOP_SQLITE_SYNCHRONOUS=NORMAL)",
            "set it to FULL, unless speed matters more",
        )
    try:
        problem = ask_sqlite("quick_check")
    except DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        yield bad(f"the database is damaged: {problem}", "stop everything and restore a back-up")
    else:
        yield ok(f"the database is whole ({file.stat().st_size / 1e6:.0f} MB)")


def redis() -> Iterator[Finding]:
    """Redis, where one is used: it answers, is patched, and drops nothing."""
    if not settings.REDIS_URL:
        yield ok("no Redis (REDIS_URL is not set): each worker rings its own doorbell")
        return
    from redis import Redis, RedisError  # noqa: PLC0415, most installations have no Redis

    client = Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        facts = client.info()
    except RedisError as error:
        yield bad(f"Redis does not answer: {error}", "start it, or unset REDIS_URL on one machine")
        return
    if "valkey_version" in facts:
        name, patches, version = "Valkey", VALKEY_PATCHES, _parsed(facts["valkey_version"])
    else:
        name, patches, version = "Redis", REDIS_PATCHES, _parsed(str(facts["redis_version"]))
    if _is_patched(version, patches):
        yield ok(f"{name} {_dotted(version)}")
    else:
        fixed = ", ".join(f"{_dotted(series)}.{patch}" for series, patch in patches.items())
        yield warn(
            f"{name} {_dotted(version)} has known holes, unless its distributor mended them",
            f"use {fixed} or later",
        )
    if facts.get("maxmemory") and facts.get("maxmemory_policy") != "noeviction":
        yield warn("Redis may drop messages when its memory is full", "set maxmemory-policy noeviction")
    if urlsplit(settings.REDIS_URL).scheme != "unix" and not urlsplit(settings.REDIS_URL).password:
        yield warn("Redis asks for no password", "set one, and name it in REDIS_URL")
    try:
        limit = cast(dict[str, str], client.config_get("maxmemory-clients"))
    except RedisError:  # its access list may forbid the question
        return
    if limit.get("maxmemory-clients", "0") not in ("0", "0%"):
        yield warn("Redis evicts clients, which is where its latest hole is", "set maxmemory-clients 0")


def addresses() -> Iterator[Finding]:
    """The address people use, and what is shown there."""
    url = urlsplit(settings.PUBLIC_URL)
    name = url.hostname or ""
    local = _is_local(name)
    if url.scheme == "http" and not local:
        yield bad(
            f"{settings.PUBLIC_URL} is not encrypted, so sessions can be read on the way",
            "put a TLS proxy in front and set RANKLOOP_URL to its https address",
        )
    if not validate_host(name, settings.ALLOWED_HOSTS):
        yield bad(f"{name} of RANKLOOP_URL is not among RANKLOOP_HOSTS", "add it, or unset RANKLOOP_HOSTS")
    if settings.DEBUG:
        mark = warn if local else bad
        yield mark("RANKLOOP_DEBUG is on: errors show code and settings", "unset it")
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(f"{settings.PUBLIC_URL}/health", timeout=3).close()
        yield ok(f"the pages answer at {settings.PUBLIC_URL}")
    except OSError as error:
        reason = getattr(error, "reason", error)
        yield warn(f"no page at {settings.PUBLIC_URL}: {reason}", "start with `make up`, or see its log")


def files() -> Iterator[Finding]:
    """The data directory is ours alone and can be written."""
    data: Path = settings.DATA_DIR
    if not data.is_dir():
        yield bad(f"there is no data directory {data}", "run `make up`, or set RANKLOOP_DATA")
        return
    if not os.access(data, os.W_OK | os.X_OK):
        yield bad(f"{data} can't be written", "give it to the user who runs Rankloop")
    mode = data.stat().st_mode
    if mode & 0o077:
        yield bad(f"others on this machine can enter {data} ({stat.filemode(mode)})", f"chmod 700 {data}")
    else:
        yield ok(f"{data} is closed to others")


def disk() -> Iterator[Finding]:
    """Room for databases, checkpoints and models."""
    path = settings.DATA_DIR if settings.DATA_DIR.is_dir() else settings.DATA_DIR.parent
    free = shutil.disk_usage(path).free
    text = f"{free / GB:.1f} GB free for {settings.DATA_DIR}"
    if free < LEAST_DISK:
        yield bad(text, "make room: judgments can't be stored on a full disk")
    elif free < SOME_DISK:
        yield warn(text, "make room before training: each run keeps three checkpoints of its model")
    else:
        yield ok(text)


def workers() -> Iterator[Finding]:
    """Each queue has a worker that was heard of lately."""
    alive = Worker.objects.filter(seen_at__gt=timezone.now() - settings.RUN_LEASE)
    for queue in QUEUES:
        names = sorted({worker.host for worker in alive if queue in worker.queues})
        if names:
            yield ok(f"a worker for the queue {queue} is alive on {', '.join(names)}")
        else:
            yield warn(f"no worker for the queue {queue}: its runs wait", "start with `make up`")


def devices() -> Iterator[Finding]:
    """What runs on this machine can compute with; torch is looked up, not loaded."""
    memory, cores = host.memory_bytes(), len(os.sched_getaffinity(0))
    text = f"{cores} cores, {memory / GB:.0f} GB of memory"
    yield ok(text) if memory >= SOME_MEMORY else warn(text, "training needs more; judging does not")
    gpus = _gpus()
    for gpu in gpus:
        yield ok(f"GPU: {gpu}")
    torch = _version("torch")
    if not torch:
        yield warn(
            "torch is not installed, so nothing trains here", "make up installs it, if it has a network"
        )
    elif gpus and torch.endswith("+cpu"):
        yield warn(f"torch {torch} can't use the GPU", "set RANKLOOP_TORCH_INDEX to an index of CUDA builds")
    else:
        yield ok(f"torch {torch}")
    if not _version("numpy"):
        yield warn("numpy is not installed, so imports and statistics wait", "make install-data")


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    versions,
    database,
    sqlite,
    redis,
    addresses,
    files,
    disk,
    workers,
    devices,
]


def examine() -> Iterator[tuple[str, Finding]]:
    """Each check's name and findings; a check that breaks is a finding too."""
    for check in CHECKS:
        try:
            for finding in check():
                yield check.__name__, finding
        except Exception as error:  # whatever is broken, the other checks still tell
            reason = str(error).strip().splitlines() or [type(error).__name__]
            yield check.__name__, bad(f"{check.__name__}: {reason[0]}", "see the findings above and the log")


def _version(package: str) -> str:
    """The version of an installed package; empty if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _is_patched(version: tuple[int, ...], patches: dict[tuple[int, int], int]) -> bool:
    """Whether a version has its series' first good patch, or is of a later series than all of them."""
    series = version[:2]
    if series > max(patches):
        return True
    return series in patches and version[2] >= patches[series]


def _is_local(name: str) -> bool:
    """Whether a host name is this machine's loopback."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _gpus() -> list[str]:
    """Name, memory and driver of each NVIDIA GPU, as nvidia-smi tells."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
