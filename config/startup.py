"""What must hold before a server or worker serves: the database fits the code."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from config.environment import refuse, try_later
from config.filesystems import file_system_of, is_on_a_network

SQLITE_PRAGMAS = {"busy_timeout": 20_000, "journal_mode": "wal", "foreign_keys": 1}  # as our settings ask for


def database_gap() -> str:
    """Say how the database and the code differ; empty where they fit."""
    executor = MigrationExecutor(connection)
    known, applied = set(executor.loader.disk_migrations), set(executor.loader.applied_migrations)
    ours = {app for app, _ in known}
    behind = sorted(f"{app}.{name}" for app, name in known - applied)
    ahead = sorted(f"{app}.{name}" for app, name in applied - known if app in ours)
    if behind:
        return f"the database is behind the code ({', '.join(behind)}); run manage.py migrate"
    if ahead:
        return f"the database is ahead of the code ({', '.join(ahead)}); start the version that migrated it"
    return ""


def refuse_unfit_database() -> None:
    """Leave with exit code 78 where the database can't be used as it is, with 75 where it is away."""
    try:
        gap = database_gap()
        if not gap and connection.vendor == "sqlite":
            gap = sqlite_gap()
    except OperationalError as error:
        try_later(f"the database can't be opened: {error}".strip())
    connection.close()
    if gap:
        refuse(gap)


def sqlite_gap() -> str:
    """What makes SQLite unsafe: a network's file system, or settings that it ignored without a word."""
    file = Path(settings.DATABASES["default"]["NAME"])
    if is_on_a_network(file.parent):
        kind = file_system_of(file.parent)
        return f"{file} is on {kind}, where SQLite's locks do not hold; move RANKLOOP_DATA to a local disk"
    for pragma, value in SQLITE_PRAGMAS.items():
        found = ask_sqlite(pragma)
        if found != value:
            return f"SQLite's {pragma} is {found}, not {value}, on {file}"
    return ""


def ask_sqlite(pragma: str) -> Any:
    """What SQLite itself says of one of its settings."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
        return cursor.fetchone()[0]
