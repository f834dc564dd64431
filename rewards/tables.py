"""A result as text for a terminal: a line for each figure, a table for each list."""

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 28  # of the names


def laid_out(result: Mapping[str, Any]) -> str:
    """Plain figures first, then each part under its name."""
    plain = {name: value for name, value in result.items() if not _nested(value)}
    lines = [f"{name:{WIDTH}} {_shown(value)}" for name, value in plain.items()]
    for name, value in result.items():
        if _nested(value) and value:
            lines += ["", name.replace("_", " "), *_part(value)]
    return "\n".join(lines)


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, Sequence) and bool(value) and all(isinstance(row, Mapping) for row in value)
    )


def _part(value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return _table(value)
    if all(isinstance(row, Mapping) for row in value.values()):
        return _table([{"name": name, **row} for name, row in value.items()])
    lines = [f"  {name:{WIDTH - 2}} {_shown(item)}" for name, item in value.items() if not _nested(item)]
    for item in value.values():
        lines += _part(item) if _nested(item) else []
    return lines


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_shown(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "-"
    return str(value)
