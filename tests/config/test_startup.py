import os
import subprocess
import sys

import pytest
from django.conf import settings

from config import filesystems
from config.startup import database_gap, refuse_unfit_database, sqlite_gap


@pytest.mark.django_db(transaction=True)
def test_a_database_that_fits_is_not_refused():
    assert database_gap() == ""
    refuse_unfit_database()


def test_sqlite_on_a_networks_file_system_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 0:30 / / rw shared:1 - nfs4 server:/export rw\n")
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)

    assert "is on nfs4, where SQLite's locks do not hold" in sqlite_gap()


def test_a_database_that_is_away_may_come_back(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "RANKLOOP_DATA": str(tmp_path),
        "RANKLOOP_SECRET_KEY": settings.SECRET_KEY,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    }

    done = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        check=False,
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 75
    assert "rankloop can't start yet: the database can't be opened" in done.stderr
