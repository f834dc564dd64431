"""What the environment says, read once and checked: an unknown or malformed name stops the start."""

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

EX_CONFIG = 78  # sysexits.h: the configuration is wrong, trying again won't help
EX_TEMPFAIL = 75  # what is away may come back
NAMES = {
    "RANKLOOP_DATA": "directory of the database, runs and secrets",
    "RANKLOOP_DEBUG": "true shows tracebacks in pages; never on a server",
    "RANKLOOP_SECRET_KEY": "signs sessions; left out, the file secret_key in the data directory",
    "RANKLOOP_URL": "the address people use",
    "RANKLOOP_HOSTS": "host names to answer to, with commas; left out, the host of RANKLOOP_URL",
    "RANKLOOP_SQLITE_SYNCHRONOUS": "FULL survives a power cut; NORMAL is faster, may lose the last votes",
    "RANKLOOP_LEASE_SECONDS": "how long a run stays with a worker that is not heard of",
    "RANKLOOP_HEARTBEAT_SECONDS": "how often a worker says that it lives",
    "RANKLOOP_RECONCILE_SECONDS": "how often a worker looks for due runs",
    "RANKLOOP_STALL_SECONDS": "how long a run may go without a step",
    "RANKLOOP_PROCESS": "web, worker or command: set by the entry points themselves",
    "RANKLOOP_REQUIRE_TOTP": "admins: those must set up a second factor before anything else",
    "RANKLOOP_OIDC_ISSUER": "address of the OpenID Connect provider, without /.well-known",
    "RANKLOOP_OIDC_CLIENT_ID": "what the provider calls this server",
    "RANKLOOP_OIDC_CLIENT_SECRET": "the secret that goes with it",
    "RANKLOOP_OIDC_NAME": "the provider's name on the sign-in page",
    "RANKLOOP_TORCH_INDEX": "package index that `make up` takes torch from",
}
WEAK_SECRETS = ("changeme", "secret", "insecure", "password", "rankloop")


def refuse(reason: str) -> NoReturn:
    """Say in one line why the product does not start, and leave with exit code 78."""
    sys.stderr.write(f"rankloop does not start: {reason}\n")
    sys.exit(EX_CONFIG)


def try_later(reason: str) -> NoReturn:
    """Say in one line what is away, and leave with exit code 75: whoever started us tries again."""
    sys.stderr.write(f"rankloop can't start yet: {reason}\n")
    sys.exit(EX_TEMPFAIL)


@dataclass(frozen=True, slots=True)
class Environment:
    """The `RANKLOOP_*` variables of this process, each read by its kind."""

    values: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse names that nobody reads: most are misspelt."""
        for name in self.values:
            if name.startswith("RANKLOOP_") and name not in NAMES:
                near = difflib.get_close_matches(name, NAMES, n=1)
                refuse(f"unknown setting {name}" + (f"; is {near[0]} meant?" if near else ""))

    def text(self, name: str, default: str = "") -> str:
        """A setting as it stands."""
        return self.values.get(name, "").strip() or default

    def flag(self, name: str, *, default: bool) -> bool:
        """A setting that is true or false."""
        value = self.text(name, str(default)).lower()
        if value not in ("true", "false"):
            refuse(f"{name} is {value!r}; it must be true or false")
        return value == "true"

    def choice(self, name: str, *options: str) -> str:
        """One of the options, the first by default."""
        value = self.text(name, options[0])
        if value not in options:
            refuse(f"{name} is {value!r}; it must be one of {', '.join(options)}")
        return value

    def seconds(self, name: str, default: float) -> timedelta:
        """A positive duration."""
        value = self.text(name, str(default))
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0
        if not 0 < seconds < 1e7:
            refuse(f"{name} is {value!r}; it must be a number of seconds above 0")
        return timedelta(seconds=seconds)

    def single_sign_on(self) -> dict[str, Any]:
        """Allauth's settings for the OpenID Connect provider; nothing where none is named."""
        issuer = self.text("RANKLOOP_OIDC_ISSUER").rstrip("/")
        names = ("RANKLOOP_OIDC_CLIENT_ID", "RANKLOOP_OIDC_CLIENT_SECRET")
        client, secret = (self.text(name) for name in names)
        if not issuer:
            given = next((name for name in names if self.text(name)), None)
            if given:
                refuse(f"{given} is set, and RANKLOOP_OIDC_ISSUER is not")
            return {}
        address = urlsplit(issuer)
        if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
            refuse(f"RANKLOOP_OIDC_ISSUER is {issuer!r}; it must begin with https://")
        for name, value in zip(names, (client, secret), strict=True):
            if not value:
                refuse(f"RANKLOOP_OIDC_ISSUER is set, and {name} is not")
        app = {
            "provider_id": "oidc",
            "name": self.text("RANKLOOP_OIDC_NAME", "single sign-on"),
            "client_id": client,
            "secret": secret,
            "settings": {"server_url": issuer},
        }
        return {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}

    def secret_key(self, file: Path, *, debug: bool) -> str:
        """The secret from the environment or its file; a weak or missing one is refused."""
        key = self.text("RANKLOOP_SECRET_KEY")
        if not key and file.is_file():
            if file.stat().st_mode & 0o077:
                refuse(f"others can read {file}; run chmod 600 on it")
            key = file.read_text(encoding="utf-8").strip()
        if not key and debug:
            return "for-debugging-alone-" + "x" * 40
        if not key:
            refuse(f"there is no secret: set RANKLOOP_SECRET_KEY or run `make up`, which writes {file}")
        if not debug and (
            len(key) < 50 or len(set(key)) < 10 or any(word in key.lower() for word in WEAK_SECRETS)
        ):
            refuse("the secret key is weak: 50 random characters or more, as `make up` makes them")
        return key


def database(url: str, *, data: Path, synchronous: str, pooled: bool) -> dict[str, Any]:
    """Django's settings for a database address; without one, SQLite in the data directory."""
    parts = urlsplit(url or f"sqlite://{data / 'rankloop.sqlite3'}")
    if parts.scheme == "sqlite":
        if not parts.path:
            refuse(f"DATABASE_URL is {url!r}; a SQLite address has three slashes before an absolute path")
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path),
            "CONN_MAX_AGE": None if pooled else 0,  # opening it took as long as all that is asked of it
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",  # a read that turns into a write would else fail as locked
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON; "
                f"PRAGMA synchronous={synchronous};",
            },
        }
    if parts.scheme not in ("postgres", "postgresql"):
        refuse(f"DATABASE_URL begins with {parts.scheme!r}; it must be sqlite or postgresql")
    limits = (
        "-c statement_timeout=15s -c idle_in_transaction_session_timeout=30s -c lock_timeout=5s -c jit=off"
    )
    options: dict[str, Any] = {**dict(parse_qsl(parts.query)), "options": limits}
    if pooled:
        options["pool"] = {"min_size": 1, "max_size": 8, "timeout": 10}
    options["prepare_threshold"] = 1  # for annotate.prepared: Django's own cursors prepare nothing
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0 if pooled else 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
