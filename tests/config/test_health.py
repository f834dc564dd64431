import json

import httpx
import pytest
from django.db import connection


def test_health_is_open_to_all_and_asks_the_database_once(client, db, django_assert_num_queries):
    with django_assert_num_queries(1):
        answer = client.get("/health")
    assert answer.status_code == 200
    assert json.loads(answer.content) == {"status": "ok", "database": "ok"}


def test_health_makes_no_session_and_may_not_be_kept(client, db):
    answer = client.get("/health")
    assert not answer.cookies
    assert answer["Cache-Control"] == "no-store"
    assert not client.session.keys()


def test_health_answers_503_without_its_tables_and_does_not_say_why(client, db):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO away")
    answer = client.get("/health")
    assert answer.status_code == 503
    assert json.loads(answer.content) == {"status": "unavailable", "database": "unavailable"}


def test_health_answers_503_for_a_database_that_was_never_filled(client, db):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations")
    assert client.get("/health").status_code == 503


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_health_can_only_be_asked(client, db, method):
    assert getattr(client, method)("/health").status_code == 405


def test_health_answers_over_http(live_server):
    answer = httpx.get(f"{live_server.url}/health", timeout=10, trust_env=False)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
