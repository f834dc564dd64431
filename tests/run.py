"""`make test`: every check against the real parts there are, then one table of what ran and what did not."""

import argparse
import importlib.metadata
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import services
from tests.processes import Processes
from tests.services import Part

RESULTS = ("passed", "failed", "skipped")
STEPS = ("lint", "types", "sqlite", "postgresql")
PACKAGES = ("annotate", "config", "lm", "policy", "rewards", "runs", "starter", "worlds")
LIMIT, VERIFY_LIMIT = 75 * 60, 150 * 60  # seconds for all steps together; a test that hangs must not hold CI
TEST_LIMIT, VERIFY_TEST_LIMIT = 900, 5400  # seconds for one test, then it shows where it hangs and fails
PYTEST_FOUND_NOTHING = 5
CI = os.environ.get("CI") == "true"


@dataclass(slots=True)
class Row:
    """One line of the closing table: a step with its result, or a part with who used it."""

    name: str
    result: str  # passed, failed, left out; of a part: used, not used, left out
    note: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def bad(self) -> bool:
        """Whether the whole run has failed by this."""
        return self.result == "failed" or (CI and self.result == "left out")


def main(words: Sequence[str]) -> int:
    """Run what is asked for; 0 if all of it passed."""
    options, pytest_words = _options(words)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, _stop)
    processes, folder = Processes(), services.temporary_folder()
    try:
        run = Run(options, pytest_words, processes=processes, folder=folder)
        run.all_steps()
    except KeyboardInterrupt:
        print("\nstopped; ending what was started", flush=True)
        return 128 + signal.SIGINT
    finally:
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(kind, signal.SIG_IGN)  # the end is not interrupted
        left_behind = processes.end()
        shutil.rmtree(folder, ignore_errors=True)
        for process in left_behind:
            print(f"left behind by a test, ended now: {process}", flush=True)
    return run.conclude()


@dataclass(slots=True)
class Run:
    """One run of the steps, and what came of each."""

    options: argparse.Namespace
    pytest_words: list[str]
    processes: Processes
    folder: Path
    rows: list[Row] = field(default_factory=list)
    used: dict[str, dict[str, int]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def all_steps(self) -> None:
        """Lint, then types beside the tests, which wait more than they compute."""
        only = self.options.only
        redis, chromium = Part(), Part()
        if "lint" in only:
            self.lint()
        types = self.start_types() if "types" in only else None
        if "sqlite" in only or "postgresql" in only:
            redis = services.redis_server(
                os.environ.get("REDIS_URL", ""), processes=self.processes, folder=self.folder
            )
            chromium = services.chromium()
        if "sqlite" in only:
            self.pytest("sqlite", Part(sqlite3.sqlite_version), redis)
        if "postgresql" in only:
            address = os.environ.get("DATABASE_URL", "")
            database = services.postgresql(address, processes=self.processes, folder=self.folder)
            self.pytest("postgresql", database, redis, "--database-only")
        if types:
            self.finish_types(*types)
        if "sqlite" in only or "postgresql" in only:
            self.part("redis", "redis", redis)
            self.part("workers", "celery workers", Part(importlib.metadata.version("celery")))
            self.part("browser", "chromium", chromium)

    def lint(self) -> None:
        """Style of code and templates."""
        began = time.monotonic()
        commands = [["ruff", "check", "--quiet"], ["ruff", "format", "--check", "--quiet"]]
        if any(Path("templates").rglob("*.html")):
            commands.append(["djlint", "templates", "--lint", "--quiet"])
        passed = [
            subprocess.run([sys.executable, "-m", *command], check=False).returncode == 0
            for command in commands
        ]
        self.add(
            "lint", passed=all(passed), seconds=time.monotonic() - began, note=_versions("ruff", "djlint")
        )

    def start_types(self) -> tuple[subprocess.Popen[bytes], Path, float]:
        """Start mypy on what there is of the packages."""
        output, began = self.folder / "mypy.txt", time.time()
        process = self.processes.start(
            *(sys.executable, "-m", "mypy", *(name for name in PACKAGES if any(Path(name).glob("*.py")))),
            farewell=signal.SIGTERM,
            env=self.environment(),
            stdout=output.open("wb"),
            stderr=subprocess.STDOUT,
        )
        return process, output, began

    def finish_types(self, process: subprocess.Popen[bytes], output: Path, began: float) -> None:
        """Wait for mypy; what it says shows only where it found something."""
        passed = self.wait(process) == 0
        if not passed:
            print(output.read_text(encoding="utf-8").rstrip(), flush=True)
        seconds = output.stat().st_mtime - began  # it may have ended before the tests
        self.add("types", passed=passed, seconds=seconds, note=_versions("mypy"))

    def pytest(self, name: str, database: Part, redis: Part, *words: str) -> None:
        """The tests on one database."""
        if database.missing:
            self.rows.append(Row(name, "left out", str(database)))
            return
        print(f"tests on {name} {database.version}", flush=True)
        began = time.monotonic()
        report = self.folder / f"{name}.json"
        limit = VERIFY_TEST_LIMIT if self.options.verify else TEST_LIMIT
        process = self.processes.start(
            *(sys.executable, "-m", "pytest", "-n", str(len(os.sched_getaffinity(0)))),
            *("-o", f"faulthandler_timeout={limit}", "-o", "faulthandler_exit_on_timeout=true"),
            *(f"--report={report}", *words, *(["--verify"] if self.options.verify else [])),
            *self.pytest_words,
            farewell=signal.SIGINT,
            env=self.environment(database, redis),
        )
        code = self.wait(process)
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"all": {}}
        for part, counts in found.items():
            so_far = self.used.setdefault(part, {})
            for result, number in counts.items():
                so_far[result] = so_far.get(result, 0) + number
        passed = code == 0 or (code == PYTEST_FOUND_NOTHING and bool(self.pytest_words))
        self.add(
            name,
            passed=passed,
            seconds=time.monotonic() - began,
            note=str(database),
            counts=found["all"],
        )

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a step, but not longer than the whole run may take."""
        limit = VERIFY_LIMIT if self.options.verify else LIMIT
        try:
            return self.processes.wait(process, limit=self.began + limit - time.monotonic())
        except TimeoutError:
            print(f"stopped: all steps together took {limit // 60} minutes", flush=True)
            self.processes.stop(process)
            return -1

    def environment(self, database: Part | None = None, redis: Part | None = None) -> dict[str, str]:
        """The caller's environment without settings of the product, which tests choose themselves."""
        own = {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in own and not name.startswith("RANKLOOP_")
        }
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True, mode=0o700)
        kept["TMPDIR"] = str(temporary)
        if database and database.address:
            kept["DATABASE_URL"] = database.address
        if redis and redis.address:
            kept["REDIS_URL"] = redis.address
        return kept

    def add(
        self, name: str, *, passed: bool, seconds: float, note: str, counts: dict[str, int] | None = None
    ) -> None:
        """Note a step that has ended."""
        self.rows.append(Row(name, "passed" if passed else "failed", note, counts or {}, seconds))

    def part(self, marker: str, name: str, part: Part) -> None:
        """Note which part the tests with this marker had."""
        counts = self.used.get(marker, {})
        ran = counts.get("passed", 0) + counts.get("failed", 0)
        result = "left out" if part.missing else "used" if ran else "not used"
        self.rows.append(Row(name, result, str(part), counts))

    def conclude(self) -> int:
        """Print the table and the sum; return the exit code."""
        self.rows.sort(key=lambda row: (*STEPS, row.name).index(row.name))
        print(f"\n{'':15}{'':9}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}")
        for row in self.rows:
            numbers = [row.counts.get(result, 0) if row.counts else "" for result in RESULTS]
            seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
            columns = f"{numbers[0]:>7}{numbers[1]:>7}{numbers[2]:>8}{seconds:>9}"
            print(f"{row.name:15}{row.result:9}{columns}  {row.note}")
        if CI and any(row.result == "left out" for row in self.rows):
            print("CI=true: what is left out counts as failed")
        if total := self.used.get("all"):
            print(", ".join(f"{total.get(result, 0)} {result}" for result in RESULTS))
        return int(any(row.bad for row in self.rows))


def _options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="tests.run", description=__doc__, epilog="Other words go to pytest.", allow_abbrev=False
    )
    parser.add_argument("--verify", action="store_true", help="also the long tests")
    parser.add_argument("--only", type=_steps, default=STEPS, help=f"steps, with commas: {','.join(STEPS)}")
    return parser.parse_known_args(words)


def _steps(text: str) -> tuple[str, ...]:
    steps = tuple(text.split(","))
    if unknown := set(steps) - set(STEPS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: must be of {', '.join(STEPS)}")
    return steps


def _versions(*names: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
