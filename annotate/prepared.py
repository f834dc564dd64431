"""Statements whose SQL is made once: where raters wait, making it cost Django more than the database took.

A queryset is built with stand-ins for its values and compiled; each use puts the values in and makes the
same objects as the queryset would, relations and annotations included. Rows are stored by their model's
fields, without what Django does for inherited tables and for signals: there are none.

PostgreSQL prepares the statements too, for planning them took it longer than running them. What does not
change is written into their SQL, so that its partial indexes serve whatever the values are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model, QuerySet
from django.db.models.query import get_related_populators
from psycopg import sql as psycopg_sql
from psycopg.types.numeric import Int8

Row = TypeVar("Row", bound=Model)
Value = int | str | UUID
NUMBERS = 4_611_686_018_427_000_000  # no id and no count of ours: stand-ins count up from here
KEYS = 0xDEC0DE << 104
PLACE = re.compile(f"%[s%]|{NUMBERS // 1000}[0-9]{{3}}")  # a stand-in stands in the SQL itself as an offset


class Prepared(Generic[Row]):
    """A queryset as a function of some numbers, keys and texts."""

    def __init__(self, build: Callable[..., QuerySet[Row]], *, most: int = 1) -> None:
        self._build, self._most = build, most
        self._compiled: dict[Hashable, _Compiled] = {}

    def first(self, *shape: Hashable, **values: Value) -> Row | None:
        """The first row; `shape` is what changes the SQL itself, `values` is what it is about."""
        rows = self.rows(*shape, **values)
        return rows[0] if rows else None

    def rows(self, *shape: Hashable, **values: Value) -> list[Row]:
        """All rows, up to as many as it was prepared for."""
        key = (*shape, *values)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._build, shape, values, self._most)
        return compiled.rows(values)


class _Compiled:
    """The SQL of one shape, and how its rows become objects."""

    def __init__(
        self, build: Callable[..., QuerySet[Any]], shape: tuple[Hashable, ...], values: Any, most: int
    ) -> None:
        db = connections[DEFAULT_DB_ALIAS]
        stand_ins = {name: _stand_in(value, place) for place, (name, value) in enumerate(values.items())}
        compiler = build(*shape, **stand_ins)[:most].query.get_compiler(connection=db)
        self.sql, self.constants = _named(db, stand_ins, *compiler.as_sql())
        self.compiler = compiler
        self.converters = compiler.get_converters([column[0] for column in compiler.select])
        info = compiler.klass_info
        columns = info["select_fields"]
        self.model = info["model"]
        self.own = slice(columns[0], columns[-1] + 1)
        self.names = [column[0].target.attname for column in compiler.select[self.own]]
        self.related = get_related_populators(info, compiler.select, db.alias)  # type: ignore[call-arg] # stubs of 6.0

    def rows(self, values: dict[str, Any]) -> list[Any]:
        db = connections[DEFAULT_DB_ALIAS]  # of this thread
        with _cursor(db) as cursor:
            cursor.execute(
                self.sql, self.constants | {name: _adapted(db, value) for name, value in values.items()}
            )
            rows = cursor.fetchall()
        if self.converters and rows:
            rows = self.compiler.apply_converters(rows, self.converters)
        return [self._object(row) for row in rows]

    def _object(self, row: Sequence[Any]) -> Any:
        found = self.model.from_db(DEFAULT_DB_ALIAS, self.names, row[self.own])
        for relation in self.related:
            relation.populate(row, found)
        for name, column in self.compiler.annotation_col_map.items():
            setattr(found, name, row[column])
        return found


def insert(row: Model) -> None:
    """Store a new row and give it its key."""
    db = connections[DEFAULT_DB_ALIAS]
    sql, fields = _inserting(type(row))
    taken = [field.get_db_prep_save(field.pre_save(row, add=True), db) for field in fields]
    with _cursor(db) as cursor:
        cursor.execute(sql, taken)
        row.pk = cursor.fetchone()[0]
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def update(row: Model, *names: str) -> None:
    """Store these fields of a row that is there."""
    db = connections[DEFAULT_DB_ALIAS]
    sql, fields = _updating(type(row), names)
    taken = [field.get_db_prep_save(getattr(row, field.attname), db) for field in fields]
    execute(sql, *taken, row.pk)


def execute(sql: str, *values: Any) -> int:
    """Run one statement that changes rows; how many it changed."""
    db = connections[DEFAULT_DB_ALIAS]
    with _cursor(db) as cursor:
        cursor.execute(sql, [_adapted(db, value) for value in values])
        changed: int = cursor.rowcount
    return changed


@cache
def _inserting(model: type[Model]) -> tuple[str, list[Field[Any, Any]]]:
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join(["%s"] * len(fields))
    table = model._meta.db_table
    sql = f'INSERT INTO "{table}" ({columns}) VALUES ({places}) RETURNING "id"'  # noqa: S608, our own names
    return sql, fields


@cache
def _updating(model: type[Model], names: tuple[str, ...]) -> tuple[str, list[Field[Any, Any]]]:
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    columns = ", ".join(f'"{field.column}" = %s' for field in fields)
    sql = f'UPDATE "{model._meta.db_table}" SET {columns} WHERE "id" = %s'  # noqa: S608, our own names
    return sql, fields


class _Preparing(psycopg.Cursor[Any]):
    """A cursor that PostgreSQL keeps the plan for; Django's own writes the values into the SQL."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
        super().execute(query, params, prepare=True)
        if self._query is None:
            self._query = SimpleNamespace(query=query.encode())  # type: ignore[assignment] # for Django's log
        return self


def _cursor(db: Any) -> Any:
    """A cursor as Django hands them out, which logs and translates errors as its own do."""
    if db.vendor != "postgresql":
        return db.cursor()
    db.close_if_health_check_failed()
    db.ensure_connection()
    return db._prepare_cursor(_Preparing(db.connection))


def _named(
    db: Any, stand_ins: dict[str, Value], sql: str, parameters: Sequence[Any]
) -> tuple[str, dict[str, Any]]:
    """The SQL with its values by name; and the constants, as far as they are not written into it."""
    names = {_adapted(db, value): name for name, value in stand_ins.items()}
    given, used = iter(parameters), set()
    constants: dict[str, Any] = {}

    def placed(place: re.Match[str]) -> str:
        if place[0] == "%%":
            return "%%"
        value = next(given) if place[0] == "%s" else int(place[0])
        name = names.get(value)
        if name is None and db.vendor == "postgresql":
            db.ensure_connection()
            return psycopg_sql.Literal(value).as_string(db.connection).replace("%", "%%")
        if name is None:
            name = f"constant_{len(constants)}"
            constants[name] = value
        used.add(name)
        return f"%({name})s"

    found = PLACE.sub(placed, sql)
    if missing := set(stand_ins) - used:
        raise ValueError(f"the query is not about {', '.join(sorted(missing))}")
    return found, constants


def _stand_in(value: Value, place: int) -> Value:
    if isinstance(value, UUID):
        return UUID(int=KEYS + place)
    return f"stand-in {place}" if isinstance(value, str) else NUMBERS + place


def _adapted(db: Any, value: Any) -> Any:
    """A value as this database takes it."""
    if db.vendor == "postgresql":
        return Int8(value) if type(value) is int else value
    return value.hex if isinstance(value, UUID) else value
