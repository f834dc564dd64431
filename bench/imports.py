"""How fast comparisons come in: check a file, then store it, on the database that the environment names.

    python -m bench.imports [--rows 100000] [--format jsonl|csv|parquet] [--judgments]

Each row is a prompt of its own with two responses of about 400 characters; `--judgments` gives each an answer
by one of 20 raters. The database is a new SQLite file, or with DATABASE_URL one that is made on that PostgreSQL
server and dropped. Prints seconds, of those the processor's, rows a second and the peak of the memory, of each
of the two steps; as in the product they are two processes.
"""

import argparse
import csv
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pyarrow
from pyarrow import parquet

WORDS = (  # noqa: SIM905, easier to read
    "oven hour leave rest plate water salt river stone letter green answer window quiet paper garden table "
    "because under between morning never seven walk open carry simple bright second number reason hold small"
).split()
MEASURED = (  # runs a program and prints what it took: processor's seconds and kibibytes
    "import resource, subprocess, sys; "
    "done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(done.returncode)"
)


@dataclass(frozen=True, slots=True)
class Took:
    """What a program took."""

    seconds: float
    processor: float
    mebibytes: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl")
    parser.add_argument("--judgments", action="store_true")
    options = parser.parse_args()
    kind = "judgments" if options.judgments else "comparisons"
    with tempfile.TemporaryDirectory() as folder, _database() as database:
        file, run = Path(folder) / f"rows.{options.format}", Path(folder) / "run"
        write(file, options.rows, judged=options.judgments)
        environment = {**os.environ, **database, "RANKLOOP_DATA": folder}
        environment["RANKLOOP_SECRET_KEY"] = secrets.token_urlsafe(50)
        _run(environment, "manage.py", "migrate", "--verbosity=0")
        program = ("-m", "annotate.import_check", "--file", str(file), "--kind", kind)
        checked = _run(environment, *program, "--output", str(run))
        good = str(run / "good.jsonl")
        stored = _run(environment, "-m", "bench.imports_store", good, kind, str(options.rows))
    print(
        f"{options.rows:,} {kind} from {options.format}, {'PostgreSQL' if database else 'SQLite, full sync'}"
    )
    both = Took(
        checked.seconds + stored.seconds,
        checked.processor + stored.processor,
        max(checked.mebibytes, stored.mebibytes),
    )
    for name, took in (("check", checked), ("store", stored), ("both", both)):
        rate = options.rows / took.seconds
        print(
            f"{name:6} {took.seconds:6.1f} s (processor {took.processor:5.1f} s) {rate:8,.0f} rows/s   "
            f"peak {took.mebibytes} MiB"
        )


def write(file: Path, rows: int, *, judged: bool) -> None:
    """A file of comparisons, each with its own words."""
    made = _rows(rows, judged=judged)
    if file.suffix == ".jsonl":
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in made)
    elif file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            more = ["order", "rater"] if judged else []
            writer.writerow(["prompt_id", "prompt", "response_1", "response_2", *more])
            for row in made:
                answers = [row[name] for name in more]
                writer.writerow([row["prompt_id"], row["prompt"], *row["responses"], *answers])
    else:
        parquet.write_table(pyarrow.Table.from_pylist(list(made)), file, row_group_size=10_000)


def _rows(count: int, *, judged: bool) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    for number in range(count):
        row: dict[str, Any] = {
            "prompt_id": f"p{number}",
            "prompt": f"Question {number}: {' '.join(chance.choices(WORDS, k=12))}?",
            "responses": [" ".join(chance.choices(WORDS, k=70)) + "." for _ in range(2)],
        }
        if judged:
            row |= {"order": chance.choice(("1>2", "2>1")), "rater": f"rater {number % 20}"}
        yield row


def _run(environment: dict[str, str], *arguments: str) -> Took:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    processor, kibibytes = done.stdout.split()
    return Took(time.perf_counter() - began, float(processor), int(kibibytes) >> 10)


@contextmanager
def _database() -> Iterator[dict[str, str]]:
    """The environment that names a fresh database; empty for SQLite in the data directory."""
    server = os.environ.get("DATABASE_URL", "")
    if not server:
        yield {}
        return
    name = f"bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield {"DATABASE_URL": urlsplit(server)._replace(path=f"/{name}").geturl()}
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    main()
