"""Whether judging and leasing the next comparison stays as fast when the queue grows.

    python -m bench.queue [--sizes 1000 100000 1000000] [--judgments 300] [--plans]

For each size a new database (SQLite, or with DATABASE_URL one on that PostgreSQL server, dropped afterwards)
is filled by SQL alone, ten comparisons a prompt; then one rater judges through Django's client, in this
process. Printed is the median of a POST that stores a judgment and leases the next, and its statements.
"""

import argparse
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from bench.web import FETCH, KEY, _database

PROMPTS = """INSERT INTO annotate_prompt (project_id, name, messages, tags, cluster, split, content_hash,
    demonstrations_wanted, withdrawn_reason, created_at)
  SELECT 1, 'p' || n, '[{{"role": "user", "content": "A question?"}}]', '[]', n, 'train', n, 0, '', CURRENT_TIMESTAMP
  FROM {numbers}"""
RESPONSES = """INSERT INTO annotate_response (prompt_id, text, content_hash, flags, withdrawn_reason, created_at)
  SELECT n / 2 + 1, 'An answer to it, number ' || n, n, '[]', '', CURRENT_TIMESTAMP FROM {numbers}"""
COMPARISONS = """INSERT INTO annotate_comparison (project_id, prompt_id, response_ids, purpose, stratum, probability,
    place, explanation, route, batch, wanted, places_left, created_at, closed_reason)
  SELECT 1, n / 10 + 1, {ids}, 'uniform', 'uniform', 1, {place}, '', '', '', 1, 1, CURRENT_TIMESTAMP, ''
  FROM {numbers}"""
COMPARED = """INSERT INTO annotate_comparedresponse (comparison_id, response_id, position)
  SELECT n / 2 + 1, (n / 20) * 2 + n % 2 + 1, n % 2 FROM {numbers}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--judgments", type=int, default=300)
    parser.add_argument("--plans", action="store_true", help="also print how the database finds the next one")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _judge(options.one, options.judgments, plans=options.plans)
        return
    print("comparisons   filled in   median ms   95 %   statements")
    for size in options.sizes:
        folder = Path(tempfile.mkdtemp(prefix="rankloop-bench-"))
        try:
            with _database(folder) as url:
                environment = {
                    **os.environ,
                    "DATABASE_URL": url,
                    "RANKLOOP_DATA": str(folder),
                    "RANKLOOP_SECRET_KEY": secrets.token_urlsafe(64),
                    "RANKLOOP_DEBUG": "true",
                    "DJANGO_SETTINGS_MODULE": "config.settings",
                }
                command = [sys.executable, "manage.py", "migrate", "-v0"]
                subprocess.run(command, env=environment, check=True)
                command = [sys.executable, "-m", "bench.queue", "--one", str(size)]
                command += ["--judgments", str(options.judgments), *(["--plans"] if options.plans else [])]
                subprocess.run(command, env=environment, check=True)
        finally:
            shutil.rmtree(folder)


def _judge(size: int, judgments: int, *, plans: bool) -> None:
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection, transaction
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from annotate import assignment
    from annotate.models import Membership, Project, User

    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["testserver"]
    began = time.monotonic()
    project = Project.objects.create(pk=1, slug="bench", name="Bench", settings={"repeat_share": 0.0})
    rater = User.objects.create_user("rater")
    Membership.objects.create(user=rater, project=project, role="rater")
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(PROMPTS.format(numbers=_numbers(size // 10, 1)))
        cursor.execute(RESPONSES.format(numbers=_numbers(size // 10 * 2, 0)))
        postgres = connection.vendor == "postgresql"
        ids = "'[' || ((n / 10) * 2 + 1) || ', ' || ((n / 10) * 2 + 2) || ']'"
        place = "random()" if postgres else "(random() & 4503599627370495) / 4503599627370496.0"
        kind = "::jsonb" if postgres else ""
        cursor.execute(COMPARISONS.format(numbers=_numbers(size, 0), ids=f"({ids}){kind}", place=place))
        cursor.execute(COMPARED.format(numbers=_numbers(size * 2, 0)))
        cursor.execute("ANALYZE")
    filled = time.monotonic() - began
    client = Client()
    client.force_login(rater)
    first = KEY.search(client.get("/projects/bench/compare/").content.decode())[1]
    more = client.get(f"/projects/bench/next/?held={first}", headers=FETCH).content.decode()
    hand, times = [first, KEY.search(more)[1]], []
    for _ in range(judgments):
        answer = {"client_key": str(uuid.uuid4()), "order": "1>2", "held": hand[1]}
        start = time.perf_counter()
        with CaptureQueriesContext(connection) as asked:
            stored = client.post(f"/assignments/{hand.pop(0)}/judge/", answer, headers=FETCH)
        times.append(1000 * (time.perf_counter() - start))
        hand.append(KEY.search(stored.content.decode())[1])
    frame = re.compile("BEGIN|COMMIT|SAVEPOINT|RELEASE")
    statements = sum(not frame.match(query["sql"]) for query in asked.captured_queries)
    slow = sorted(times)[int(0.95 * len(times))]
    print(f"{size:11,}{filled:10.1f} s{statistics.median(times):12.1f}{slow:7.1f}{statements:13}", flush=True)
    if plans:
        with transaction.atomic():
            print(assignment._head_of_the_queue(True, "", project_id=1, rater_id=rater.pk)[:1].explain())


def _numbers(count: int, first: int) -> str:
    """So many whole numbers as a table."""
    if "postgres" in os.environ["DATABASE_URL"]:
        return f"generate_series({first}, {first + count - 1}) AS n"
    rows = (
        f"WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {first + count - 1})"
    )
    return f"({rows} SELECT n FROM c)"


if __name__ == "__main__":
    main()
