from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext

from annotate import prepared
from annotate.assignment import next_for
from annotate.models import Assignment, AssignmentState, Comparison, Judgment, Prompt
from annotate.prepared import Prepared


def of_rater(rater, name, key):
    rows = Assignment.objects.filter(rater=rater, state=AssignmentState.OPEN, comparison__prompt__name=name)
    rows = rows.exclude(key=key).annotate(twice=F("exposure") * 2 + 1)
    return rows.select_related("comparison__prompt", "guideline")


def test_it_gives_what_the_queryset_gives(alice, assignment):
    query = Prepared(of_rater)
    for name, key in (("p1", uuid4()), ("100%", uuid4()), ("p1", assignment.key), ("p1", uuid4())):
        expected = of_rater(alice.pk, name, key).first()

        with CaptureQueriesContext(
            connection,
        ) as asked:
            found = query.first(rater=alice.pk, name=name, key=key)
            if found is not None:
                assert found.comparison.prompt.messages == expected.comparison.prompt.messages
                assert found.guideline.text == expected.guideline.text
                assert found.twice == 1

        assert found == expected
        assert len(asked) == 1


def test_what_never_changes_may_hold_signs_of_the_sql_itself(project):
    for name in ("100%", "%s", "4611686018427000000", "'"):
        Prompt.objects.create(
            project=project, name=name, messages=[], cluster="", split="train", content_hash=name
        )
        query = Prepared(lambda number, name=name: Prompt.objects.filter(project=number, name=name))

        assert query.first(number=project.pk).name == name
        assert query.first(number=project.pk + 1) is None


def test_an_offset_is_a_value_too(project, new_comparison):
    rows = [new_comparison(number).pk for number in range(1, 4)]
    query = Prepared(lambda number, back: Comparison.objects.filter(project=number).order_by("pk")[back:])

    found = [query.first(number=project.pk, back=back) for back in (2, 0, 3)]

    assert [row and row.pk for row in found] == [rows[2], rows[0], None]
    assert len(query._compiled) == 1


def test_several_rows_come_up_to_as_many_as_were_prepared(project, new_comparison):
    for number in range(1, 4):
        new_comparison(number)
    query = Prepared(lambda number: Comparison.objects.filter(project=number).order_by("-pk"), most=2)

    assert query.rows(number=project.pk) == list(Comparison.objects.order_by("-pk")[:2])


def test_a_query_that_leaves_a_value_out_is_refused(project):
    query = Prepared(lambda number, other: Prompt.objects.filter(project=number))

    with pytest.raises(ValueError, match="not about other"):
        query.first(number=1, other=2)


def test_a_row_is_stored_as_django_stores_it(assignment):
    moment = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    fields = {
        "order": [[2], [1]],
        "criteria": {"kind": [[1, 2]]},
        "rationale": "100% “right”; %s",
        "active_ms": 4000,
        "shown_at": moment,
        "normal": False,
    }
    mine = Judgment(assignment=assignment, client_key=uuid4(), **fields)

    prepared.insert(mine)

    stored = Judgment.objects.get(pk=mine.pk)
    assert {name: getattr(stored, name) for name in fields} == fields
    assert stored.client_key == mine.client_key
    assert stored.scores is None
    assert Judgment.objects.filter(scores__isnull=True, criteria__has_key="kind").exists()
    with pytest.raises(TypeError, match="never changed"):
        mine.save()


def test_a_row_that_the_database_refuses_raises_as_django_does(assignment):
    key = uuid4()
    prepared.insert(Judgment(assignment=assignment, client_key=key, order=[[1], [2]]))

    with pytest.raises(IntegrityError):
        prepared.insert(Judgment(assignment=assignment, client_key=key, order=[[1], [2]]))


def test_only_the_named_fields_of_one_row_are_changed(alice, project, new_comparison):
    for number in (1, 2):
        new_comparison(number)
    first = next_for(alice, project)
    second = next_for(alice, project, held=[first.key])
    first.state, first.skip_reason, first.closed_at = "skipped", "broken", datetime(2026, 3, 1, tzinfo=UTC)
    first.holds_place = False

    prepared.update(first, "state", "closed_at", "holds_place")

    stored = Assignment.objects.get(pk=first.pk)
    assert (stored.state, stored.closed_at, stored.skip_reason) == ("skipped", first.closed_at, "")
    assert Assignment.objects.get(pk=second.pk).state == "open"


def test_postgresql_keeps_the_plan(alice, assignment):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares by itself")
    query = Prepared(of_rater)

    for _ in range(3):
        query.first(rater=alice.pk, name="p1", key=uuid4())

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%%twice%%' AND NOT from_sql"
        )
        (statement,) = [row[0] for row in cursor.fetchall()]
    assert "'open'" in statement  # so that an index of open ones can serve
    assert "$3" in statement


def test_counting_annotations_come_along(project, new_comparison):
    comparison = new_comparison(1)
    query = Prepared(
        lambda number: Comparison.objects.filter(project=number).annotate(n=Count("assignments"))
    )

    assert query.first(number=project.pk) == comparison
    assert query.first(number=project.pk).n == 0
