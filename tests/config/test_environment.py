"""What the environment may say, and that a wrong word of it stops each program in one line."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from config.environment import NAMES
from tests.config.environments import SECRET, clean

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments, **settings):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=clean(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load_settings(tmp_path, **settings):
    defaults = {"RANKLOOP_DATA": str(tmp_path), "RANKLOOP_SECRET_KEY": SECRET}
    return python("-c", "from config import settings", **defaults | settings)


def refusal(done):
    """The one line that a program ended with."""
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("rankloop does not start: ")
    return line


def test_with_a_secret_alone_the_settings_stand(tmp_path):
    done = load_settings(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANKLOOP_LEASE_SECOND", "60", "is RANKLOOP_LEASE_SECONDS meant?"),
        ("RANKLOOP_UNHEARD_OF", "1", "unknown setting RANKLOOP_UNHEARD_OF"),
        ("RANKLOOP_DEBUG", "yes", "'yes'"),
        ("RANKLOOP_LEASE_SECONDS", "soon", "'soon'"),
        ("RANKLOOP_HEARTBEAT_SECONDS", "-1", "'-1'"),
        ("RANKLOOP_RECONCILE_SECONDS", "nan", "'nan'"),
        ("RANKLOOP_STALL_SECONDS", "0", "'0'"),
        ("RANKLOOP_HEARTBEAT_SECONDS", "30", "0:00:30"),
        ("RANKLOOP_SQLITE_SYNCHRONOUS", "OFF", "'OFF'"),
        ("RANKLOOP_PROCESS", "daemon", "'daemon'"),
        ("RANKLOOP_URL", "rankloop.example.org", "'rankloop.example.org'"),
        ("RANKLOOP_URL", "ftp://rankloop.example.org", "'ftp://rankloop.example.org'"),
        ("RANKLOOP_HOSTS", "*", "*"),
        ("RANKLOOP_HOSTS", "rankloop.example.org, *", "*"),
        ("DATABASE_URL", "mysql://localhost/rankloop", "'mysql'"),
        ("DATABASE_URL", "sqlite://", "'sqlite://'"),
    ],
)
def test_a_wrong_value_is_named_and_stops_the_start(tmp_path, name, value, told):
    line = refusal(load_settings(tmp_path, **{name: value}))
    assert told in line


@pytest.mark.parametrize(
    "secret", ["short", "a" * 60, "change-me-changeme-" + SECRET, "django-insecure-" + SECRET]
)
def test_a_weak_secret_is_refused_and_not_shown(tmp_path, secret):
    line = refusal(load_settings(tmp_path, RANKLOOP_SECRET_KEY=secret))
    assert "weak" in line
    assert secret not in line


def test_a_missing_secret_is_refused_unless_debugging(tmp_path):
    assert "RANKLOOP_SECRET_KEY" in refusal(load_settings(tmp_path, RANKLOOP_SECRET_KEY=""))
    assert load_settings(tmp_path, RANKLOOP_SECRET_KEY="", RANKLOOP_DEBUG="true").returncode == 0


def test_a_secret_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "secret_key"
    file.write_text(SECRET)
    file.chmod(0o600)
    assert load_settings(tmp_path, RANKLOOP_SECRET_KEY="").returncode == 0
    file.chmod(0o640)
    line = refusal(load_settings(tmp_path, RANKLOOP_SECRET_KEY=""))
    assert str(file) in line
    assert "chmod 600" in line


def test_a_password_in_an_address_is_not_shown(tmp_path):
    line = refusal(load_settings(tmp_path, DATABASE_URL="mysql://me:geheim@localhost/rankloop"))
    assert "geheim" not in line


WEB = ("-c", "import config.wsgi")
WORKER = ("-m", "celery", "-A", "config", "worker", "-P", "solo", "-Q", "light")


@pytest.mark.workers
@pytest.mark.parametrize("program", [WEB, WORKER], ids=["web", "worker"])
@pytest.mark.parametrize("gap", ["behind", "ahead"])
def test_servers_and_workers_refuse_a_database_that_does_not_fit(tmp_path, program, gap):
    settings = {"RANKLOOP_DATA": str(tmp_path), "RANKLOOP_SECRET_KEY": SECRET}
    assert python("manage.py", "migrate", "--verbosity=0", **settings).returncode == 0
    with closing(sqlite3.connect(tmp_path / "rankloop.sqlite3")) as database, database:
        if gap == "behind":
            database.execute("DELETE FROM django_migrations WHERE app = 'runs'")
        else:
            database.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '9999_x', 0)"
            )
    done = python(*program, **settings)
    assert done.returncode == 78
    (line,) = re.findall("^rankloop does not start: .*", done.stderr, re.MULTILINE)
    assert {"behind": "behind the code", "ahead": "ahead of the code (runs.9999_x)"}[gap] in line


def test_the_example_and_the_documentation_list_every_setting():
    names = {*NAMES, "DATABASE_URL", "REDIS_URL"}
    example = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#(\w+)=", example, re.MULTILINE))
    assert listed - {"DATABASE_PASSWORD", "REDIS_PASSWORD"} == names
    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "deployment.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(names)


def test_the_example_is_accepted_as_it_stands(tmp_path):
    lines = (ROOT / ".env.example").read_text().splitlines()
    settings = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=.", line))
    assert load_settings(tmp_path, **settings | {"RANKLOOP_DATA": str(tmp_path)}).returncode == 0
