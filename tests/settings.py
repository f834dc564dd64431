"""The product's settings, less what tests need otherwise: a data directory and a secret of their own."""

import os
import tempfile

os.environ.setdefault("RANKLOOP_DATA", tempfile.mkdtemp(prefix="rankloop-tests-"))
os.environ.setdefault("RANKLOOP_SQLITE_SYNCHRONOUS", "NORMAL")
os.environ.setdefault("RANKLOOP_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES, DATA_DIR, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "tests.runs.toy"]
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # a file, as in use: in memory all threads would share one connection
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
