"""What docs/runs.md says of Celery's settings is what the workers have."""

import ast
import re
import subprocess
import sys

import pytest
from django.conf import settings

ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \|", re.MULTILINE)
PROGRAM = "from config.celery import SETTINGS; print(repr(SETTINGS))"


def settings_with(redis_url):
    """In a process of its own: the module makes its process a worker."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "REDIS_URL": redis_url,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def test_the_table_in_the_documentation_is_the_code():
    text = (settings.BASE_DIR / "docs" / "runs.md").read_text(encoding="utf-8")
    table = {name: ast.literal_eval(value) for name, value in ROW.findall(text)}
    assert table == settings_with("")


def test_with_redis_prefetching_is_off_and_every_wait_has_an_end():
    found = settings_with("redis://127.0.0.1:1/0")
    assert found["broker_url"] == "redis://127.0.0.1:1/0"
    assert found["worker_disable_prefetch"] is True
    assert found["broker_transport_options"]["socket_timeout"] == 5
    assert found["broker_transport_options"]["socket_connect_timeout"] == 2
    assert found["broker_transport_options"]["global_keyprefix"] == "rankloop:"


@pytest.mark.workers
@pytest.mark.parametrize(("gap", "code"), [("away", 75), ("behind the code", 78)])
def test_a_worker_refuses_a_database_that_does_not_fit_the_code(gap, code, tmp_path):
    url = f"sqlite://{tmp_path / 'none' / 'db.sqlite3'}" if gap == "away" else ""
    environment = {"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment |= {"RANKLOOP_DATA": str(tmp_path), "DATABASE_URL": url}
    words = "-m celery -A config worker -P solo -Q light --without-gossip --without-mingle"
    done = subprocess.run(
        [sys.executable, *words.split()],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "the database" in done.stderr
