"""A frozen dataclass as a command line and as JSON: declared once, checked the same way in both."""

import argparse
import dataclasses
import json
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

EX_CONFIG = 78  # sysexits.h: trying again with the same config won't help
Config = TypeVar("Config")


class ConfigError(ValueError):
    """One field has a value that cannot work; the message names both."""


def parse(cls: type[Config], argv: Sequence[str] | None = None) -> Config:
    """The config that a command line asks for; a bad one ends the program with exit code 78."""
    return Parser(cls).read(argv)[0]


def to_json(config: Any) -> dict[str, Any]:
    """The config as JSON can hold it; `from_json` gives it back."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_json(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The config that these values describe; fields left out keep their defaults."""
    fields = {setting.name: setting for setting in settings_of(cls)}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(
                f"{name} is {value!r}, but there is no such setting; there are {', '.join(fields)}"
            )
    missing = [setting.name for setting in fields.values() if setting.required and setting.name not in values]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given")
    read = {}
    for name, value in values.items():
        try:
            read[name] = _read(fields[name].kind, value)
        except ValueError as error:
            raise ConfigError(f"{name} is {value!r}; it must be {error}") from None
    try:
        return cls(**read)
    except ConfigError:
        raise
    except ValueError as error:  # what __post_init__ refuses
        raise ConfigError(str(error)) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One field of a config: what a page or `--help` says of it."""

    name: str
    kind: Any
    help: str
    default: Any
    required: bool


def settings_of(cls: type[Any]) -> list[Setting]:
    """The fields of a config with their types, helps and defaults."""
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        kind, text = hints[field.name], ""
        if get_origin(kind) is Annotated:
            kind, text = get_args(kind)[:2]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        found.append(Setting(field.name, kind, text, default, default is MISSING))
    return found


class Parser(argparse.ArgumentParser, Generic[Config]):
    """A command line of `--snake-case value` and `--config file.json`; flags overrule the file."""

    def __init__(self, cls: type[Config]) -> None:
        super().__init__(description=cls.__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self.cls = cls
        self.add_argument("--config", type=Path, metavar="FILE", help="a config.json to start from")
        for setting in settings_of(cls):
            self.add_argument(
                "--" + setting.name.replace("_", "-"),
                dest=f"config.{setting.name}",
                help=_help(setting),
                **_options(setting.kind),
            )

    def read(self, argv: Sequence[str] | None = None) -> tuple[Config, argparse.Namespace]:
        """The config, and whatever other arguments were added."""
        rest = self.parse_args(argv)
        flags = {name: value for name, value in vars(rest).items() if name.startswith("config.")}
        try:
            values = read_json(rest.config) if "config" in rest else {}
            kinds = {setting.name: setting.kind for setting in settings_of(self.cls)}
            for flag, text in flags.items():
                name = flag.removeprefix("config.")
                values[name] = from_text(kinds[name], text)
            return from_json(self.cls, values), rest
        except ConfigError as error:
            self.error(str(error))

    def error(self, message: str) -> NoReturn:
        """One line, and the exit code that says: don't try this again."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        sys.exit(EX_CONFIG)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config is {str(path)!r}, which can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"config is {str(path)!r}, which is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config is {str(path)!r}, which holds no JSON object")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _optional(kind: Any) -> tuple[Any, bool]:
    """The type less `| None`, and whether None was in it."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    (inner,) = (option for option in get_args(kind) if option is not type(None))
    return inner, True


def _read(kind: Any, value: Any) -> Any:
    """A JSON value as this type; ValueError says what it must be."""
    kind, optional = _optional(kind)
    if optional and value is None:
        return None
    if get_origin(kind) is Literal:
        if value not in get_args(kind) or isinstance(value, bool):
            raise ValueError("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value)
    if issubclass(kind, Enum):
        options = [option.value for option in kind]
        if value not in options:
            raise ValueError("one of " + ", ".join(map(str, options)))
        return kind(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (
        kind is float
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ):
        return float(value)
    if kind in (str, Path) and isinstance(value, str) and _storable(value):
        return kind(value)
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text",
        Path: "a path",
    }
    raise ValueError(names[kind] + (" or null" if optional else ""))


def _read_tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    any_length = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (any_length or len(value) == len(kinds)):
        raise ValueError("a list" if any_length else f"a list of {len(kinds)}")
    each = [kinds[0]] * len(value) if any_length else kinds
    try:
        return tuple(_read(kind, item) for kind, item in zip(each, value, strict=True))
    except ValueError as error:
        raise ValueError(f"a list, each {error}") from None


def _storable(text: str) -> bool:
    """Whether every database and file takes this text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def from_text(kind: Any, text: Any) -> Any:
    """What was typed as the JSON value it stands for; nonsense stays text, which `_read` refuses."""
    kind, optional = _optional(kind)
    if isinstance(text, list):
        kinds = get_args(kind)
        return [
            from_text(kinds[0] if kinds[-1] is Ellipsis else kinds[i], item) for i, item in enumerate(text)
        ]
    if optional and text == "none":
        return None
    if get_origin(kind) is Literal:
        return next((option for option in get_args(kind) if str(option) == text), text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (int, float) and isinstance(text, str):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _options(kind: Any) -> dict[str, Any]:
    """How argparse takes this type."""
    kind, optional = _optional(kind)
    if kind is bool and not optional:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        return {"nargs": "*" if kinds[-1] is Ellipsis else len(kinds), "metavar": "VALUE"}
    if get_origin(kind) is Literal:
        return {"metavar": "|".join(map(str, get_args(kind)))}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"metavar": "|".join(str(option.value) for option in kind)}
    return {"metavar": getattr(kind, "__name__", "value").upper()}


def _help(setting: Setting) -> str:
    default = "required" if setting.required else f"default {_plain(setting.default)}"
    return f"{setting.help} ({default})".replace("%", "%%").strip()
