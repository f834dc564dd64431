"""Queries whose SQL is made once: where raters wait, making it costs Django more than answering the database.

A queryset is built with stand-ins for its values and compiled; each use puts the values in and makes the
same objects as the queryset would, relations and annotations included.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

Row = TypeVar("Row", bound=Model)
NUMBERS = -4_611_686_018_427_000_000  # no id of ours: stand-ins count up from here
KEYS = 0xDEC0DE << 104


class Prepared(Generic[Row]):
    """A queryset as a function of some numbers and keys."""

    def __init__(self, build: Callable[..., QuerySet[Row]]) -> None:
        self._build = build
        self._compiled: dict[Hashable, _Compiled] = {}

    def first(self, *shape: Hashable, **values: int | UUID) -> Row | None:
        """The first row; `shape` is what changes the SQL itself, `values` is what it is about."""
        key = (connection.vendor, *shape, *values)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._build, shape, values)
        found: Row | None = compiled.first(values)
        return found


class _Compiled:
    """The SQL of one shape, and how its rows become objects."""

    def __init__(self, build: Callable[..., QuerySet[Any]], shape: tuple[Hashable, ...], values: Any) -> None:
        stand_ins: dict[str, Any] = {
            name: UUID(int=KEYS + place) if isinstance(value, UUID) else NUMBERS + place
            for place, (name, value) in enumerate(values.items())
        }
        compiler = build(*shape, **stand_ins)[:1].query.get_compiler(connection=connection)
        self.sql, found = compiler.as_sql()
        names = {_adapted(value): name for name, value in stand_ins.items()}
        self.parameters = [(names.get(value), value) for value in found]
        missing = set(stand_ins) - {name for name, _ in self.parameters}
        if missing:
            raise ValueError(f"the query is not about {', '.join(missing)}")
        self.compiler = compiler
        self.converters = compiler.get_converters([column[0] for column in compiler.select])
        info = compiler.klass_info
        columns = info["select_fields"]
        self.model = info["model"]
        self.own = slice(columns[0], columns[-1] + 1)
        self.names = [column[0].target.attname for column in compiler.select[self.own]]
        self.related = get_related_populators(info, compiler.select, connection.alias)  # type: ignore[call-arg] # stubs of 6.0

    def first(self, values: dict[str, Any]) -> Any:
        parameters = [value if name is None else _adapted(values[name]) for name, value in self.parameters]
        with connection.cursor() as cursor:
            cursor.execute(self.sql, parameters)
            row = cursor.fetchone()
        if row is None:
            return None
        if self.converters:
            row = next(iter(self.compiler.apply_converters([row], self.converters)))
        found = self.model.from_db(connection.alias, self.names, row[self.own])
        for relation in self.related:
            relation.populate(row, found)
        for name, column in self.compiler.annotation_col_map.items():
            setattr(found, name, row[column])
        return found


def _adapted(value: Any) -> Any:
    """A value as this database takes it."""
    if isinstance(value, UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    return value
