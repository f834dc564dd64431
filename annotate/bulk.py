"""Many new rows of one table at once, faster than `bulk_create` stores them.

PostgreSQL takes them by COPY, SQLite by one prepared statement; either way the keys are drawn first. Needs a
transaction: on SQLite it is what keeps others from drawing the same keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection, models

FEW = 50  # rows that `bulk_create` stores as fast


def insert(rows: Sequence[models.Model]) -> None:
    """Store new rows of one model and give them their keys; signals are not sent."""
    if not rows:
        return
    model = type(rows[0])
    if len(rows) < FEW:
        model._default_manager.bulk_create(rows)
        return
    for row, pk in zip(rows, _keys(model, len(rows)), strict=True):
        row.pk = pk
        row._state.adding, row._state.db = False, connection.alias
    fields = model._meta.concrete_fields
    _write(model, fields, [[getattr(row, field.attname) for row in rows] for field in fields])


def insert_values(
    model: type[models.Model], names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> Sequence[int]:
    """Store rows that nobody needs as objects, by these attributes; the others get their defaults.

    Gives the rows' keys.
    """
    if not rows:
        return []
    keys = _keys(model, len(rows))
    given: dict[str, Sequence[Any]] = dict(zip(names, zip(*rows, strict=True), strict=True))
    given[model._meta.pk.attname] = keys
    fields = model._meta.concrete_fields
    columns = [given.get(field.attname) or [field.get_default()] * len(rows) for field in fields]
    _write(model, fields, columns)
    return keys


def _keys(model: type[models.Model], count: int) -> Sequence[int]:
    """Primary keys that nobody else gets."""
    table = model._meta.db_table
    assert connection.in_atomic_block  # noqa: S101
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            last = (cursor.fetchone() or (0,))[0]
            return range(last + 1, last + 1 + count)
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
        )
        return [pk for (pk,) in cursor.fetchall()]


def _write(
    model: type[models.Model], fields: Sequence[models.Field[Any, Any]], columns: Sequence[Sequence[Any]]
) -> None:
    quote = connection.ops.quote_name
    table, names = quote(model._meta.db_table), ", ".join(quote(str(field.column)) for field in fields)
    taken = [_values(field, column) for field, column in zip(fields, columns, strict=True)]
    rows = list(zip(*taken, strict=True))
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            places = ", ".join(["%s"] * len(fields))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)  # noqa: S608
        else:
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)


def _values(field: models.Field[Any, Any], values: Sequence[Any]) -> Sequence[Any]:
    """A column's values as the database takes them."""
    if isinstance(field, models.JSONField):
        return [None if value is None else "[]" if value == [] else json.dumps(value) for value in values]
    if connection.vendor == "sqlite" and isinstance(field, models.DateTimeField | models.UUIDField):
        known = {value: field.get_db_prep_value(value, connection) for value in set(values)}
        return [known[value] for value in values]
    return values
