import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from config import doctor
from runs.models import Worker
from tests.config.environments import SECRET, clean

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installation(tmp_path):
    """A prepared data directory, and commands that work on it."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)

    def manage(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=clean(RANKLOOP_DATA=data, RANKLOOP_SECRET_KEY=SECRET, **environment),
            capture_output=True,
            text=True,
            check=False,
        )

    assert manage("prepare", "--without-demo").returncode == 0
    manage.data = data
    return manage


def marks(findings):
    return [finding.mark for finding in findings]


def texts(findings, mark):
    return " ".join(f"{finding.what} / {finding.advice}" for finding in findings if finding.mark == mark)


def test_a_fresh_installation_has_nothing_bad(installation):
    done = installation("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["ok"]
    assert {finding["check"] for finding in report["findings"]} == {check.__name__ for check in doctor.CHECKS}
    assert all(finding["advice"] for finding in report["findings"] if finding["mark"] != "ok")


def test_people_read_a_line_a_finding_and_what_to_do(installation):
    done = installation("doctor")
    assert "ok    the database fits the code" in done.stdout
    assert "warn  no worker for the queue train: its runs wait\n      start with `make up`" in done.stdout


def test_a_data_directory_open_to_others_is_bad_and_ends_with_1(installation):
    installation.data.chmod(0o755)
    done = installation("doctor")
    assert done.returncode == 1
    assert f"chmod 700 {installation.data}" in done.stdout


def test_a_database_behind_the_code_is_bad_and_the_other_checks_still_tell(installation):
    installation("migrate", "runs", "zero")
    done = installation("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    bad = {finding["check"] for finding in report["findings"] if finding["mark"] == "bad"}
    assert bad == {"database", "workers"}
    assert "behind the code" in done.stdout
    assert report["findings"][-1]["check"] == "devices"


def test_a_damaged_database_is_found(installation):
    file = installation.data / "rankloop.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'auth_permission'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\xff" * 200)
    done = installation("doctor")
    assert done.returncode == 1
    assert "the database is damaged" in done.stdout


def test_a_setting_that_may_lose_judgments_is_told(installation):
    done = installation("doctor", RANKLOOP_SQLITE_SYNCHRONOUS="NORMAL")
    assert "a power cut may lose the last judgments" in done.stdout


@pytest.mark.parametrize(
    ("url", "hosts", "mark"),
    [
        ("http://127.0.0.1:1", ["127.0.0.1"], "warn"),
        ("http://127.0.0.1:1", ["other.example.org"], "bad"),
        ("http://10.0.0.7:1", ["10.0.0.7"], "bad"),
    ],
)
def test_an_address_that_is_open_or_unknown_is_bad(settings, url, hosts, mark):
    settings.PUBLIC_URL, settings.ALLOWED_HOSTS = url, hosts
    settings.DEBUG = False
    assert sorted(set(marks(doctor.addresses()))) == sorted({mark, "warn"})


def test_debugging_is_a_warning_here_and_bad_on_a_server(settings):
    settings.DEBUG = True
    settings.PUBLIC_URL, settings.ALLOWED_HOSTS = "http://127.0.0.1:1", ["127.0.0.1"]
    assert "RANKLOOP_DEBUG" in texts(doctor.addresses(), "warn")
    settings.PUBLIC_URL, settings.ALLOWED_HOSTS = "https://127.0.0.2.invalid", ["127.0.0.2.invalid"]
    assert "RANKLOOP_DEBUG" in texts(doctor.addresses(), "bad")


def test_pages_that_answer_are_found(settings, live_server):
    settings.PUBLIC_URL, settings.ALLOWED_HOSTS, settings.DEBUG = live_server.url, ["localhost"], False
    assert marks(doctor.addresses()) == ["ok"]


@pytest.mark.parametrize(("free", "mark"), [(10**8, "bad"), (5 * 10**9, "warn"), (10**11, "ok")])
def test_a_full_disk_is_told_in_time(monkeypatch, free, mark):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, free))
    assert marks(doctor.disk()) == [mark]


def test_only_a_worker_heard_of_lately_counts(db, settings):
    now = timezone.now()
    Worker.objects.create(host="old", pid=1, boot_id="a", queues=["train"], seen_at=now - timedelta(hours=1))
    Worker.objects.create(host="new", pid=2, boot_id="a", queues=["light"], seen_at=now)
    assert marks(doctor.workers()) == ["ok", "warn"]
    assert "light is alive on new" in texts(doctor.workers(), "ok")


@pytest.mark.parametrize(
    ("version", "patched"),
    [
        ((6, 2, 20), True),
        ((6, 2, 19), False),
        ((7, 0, 15), False),
        ((7, 2, 11), False),
        ((7, 4, 9), True),
        ((8, 0, 9), False),
        ((8, 6, 3), True),
        ((8, 8, 0), True),
        ((9, 0, 0), True),
    ],
)
def test_a_redis_is_patched_from_a_patch_of_its_series_on(version, patched):
    assert doctor._is_patched(version, doctor.REDIS_PATCHES) is patched


@pytest.mark.redis
def test_a_redis_that_answers_is_named_with_its_version(settings):
    settings.REDIS_URL = os.environ["REDIS_URL"]
    findings = list(doctor.redis())
    assert "bad" not in marks(findings)
    assert findings[0].what.startswith(("Redis ", "Valkey "))


def test_a_redis_that_does_not_answer_is_bad(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert marks(doctor.redis()) == ["bad"]


def test_the_password_of_a_redis_that_does_not_answer_is_not_shown(settings):
    settings.REDIS_URL = "redis://:geheim@127.0.0.1:1/0"
    assert "geheim" not in texts(doctor.redis(), "bad")


def test_gpus_are_listed_as_their_tool_tells(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB, 570.1'\necho 'NVIDIA H100, 81559 MiB, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "GPU: NVIDIA H100, 81559 MiB, 570.1" in texts(doctor.devices(), "ok")
    assert len(doctor._gpus()) == 2


def test_looking_at_devices_loads_no_torch(installation):
    done = installation(
        "shell",
        "-c",
        "from config import doctor; list(doctor.devices()); import sys; print('torch' in sys.modules)",
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise RuntimeError("no idea")
        yield

    monkeypatch.setattr(doctor, "CHECKS", [broken])
    ((name, finding),) = doctor.examine()
    assert name == "broken"
    assert finding.mark == "bad"
    assert "no idea" in finding.what
