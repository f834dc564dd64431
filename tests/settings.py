"""The product's settings, less what tests need otherwise: a data directory and a secret of their own."""

import atexit
import os
import shutil
import tempfile

if "RANKLOOP_DATA" not in os.environ:
    os.environ["RANKLOOP_DATA"] = tempfile.mkdtemp(prefix="rankloop-tests-")
    atexit.register(shutil.rmtree, os.environ["RANKLOOP_DATA"], ignore_errors=True)
os.environ.setdefault("RANKLOOP_SQLITE_SYNCHRONOUS", "NORMAL")
os.environ.setdefault("RANKLOOP_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

from config.settings import *  # noqa: F403
from config.settings import DATA_DIR, DATABASES, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "tests.runs.toy"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in use: in memory all threads would share one connection.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
