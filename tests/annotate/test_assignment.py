import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from annotate.answers import Answer
from annotate.assignment import BREAK, _head, expire_leases, next_for, shown_responses
from annotate.judging import judge, skip
from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Judgment,
    Membership,
    Preference,
    Role,
    User,
)


def first_wins() -> Answer:
    return Answer(client_key=uuid4(), positions=[[1], [2]])


def test_a_reload_gives_the_same_assignment_with_its_lease_renewed(assignment, alice, project):
    Assignment.objects.update(leased_until=timezone.now() + timedelta(minutes=1))

    again = next_for(alice, project)

    assert again == assignment
    assert again.leased_until > timezone.now() + timedelta(minutes=20)


def test_comparisons_come_in_the_order_of_their_places(new_comparison, alice, project):
    new_comparison(1, place=0.9)
    early = new_comparison(2, place=0.1)

    assert next_for(alice, project).comparison == early


def test_nobody_meets_a_comparison_twice(comparison, alice, project):
    Comparison.objects.update(wanted=5, places_left=5)
    judge(next_for(alice, project), first_wins())

    assert next_for(alice, project) is None


def test_a_skipped_comparison_goes_to_somebody_else_and_never_comes_back(assignment, alice, bob, project):
    skip(assignment, "not my language")

    assert next_for(alice, project) is None
    assert next_for(bob, project).comparison == assignment.comparison
    assignment.refresh_from_db()
    assert (assignment.state, assignment.skip_reason) == (AssignmentState.SKIPPED, "not my language")


def test_a_lease_that_ran_out_frees_its_place(assignment, bob, project):
    assert next_for(bob, project) is None
    Assignment.objects.update(leased_until=timezone.now() - timedelta(seconds=1))

    taken = next_for(bob, project)

    assert taken.comparison == assignment.comparison
    assignment.refresh_from_db()
    assert assignment.state == AssignmentState.EXPIRED


def test_an_expired_comparison_comes_back_to_its_rater_as_it_was_shown(assignment, alice, project):
    Assignment.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    expire_leases(project)

    again = next_for(alice, project)

    assert again == assignment
    assert again.shown == assignment.shown
    assert Assignment.objects.get().state == AssignmentState.OPEN


def test_expiring_twice_frees_a_place_once(assignment, project):
    Assignment.objects.update(leased_until=timezone.now() - timedelta(seconds=1))

    assert expire_leases(project) == 1
    assert expire_leases(project) == 0
    assert Comparison.objects.get().places_left == 1


def test_the_count_of_a_sitting_starts_anew_after_a_break(new_comparison, alice, project):
    for number in (1, 2, 3):
        new_comparison(number)
    judge(next_for(alice, project), first_wins())
    second = next_for(alice, project)
    judge(second, first_wins())
    assert second.since_break == 1
    Assignment.objects.update(closed_at=timezone.now() - BREAK * 2)

    assert next_for(alice, project).since_break == 0


def test_each_side_is_as_likely_to_come_first(comparison, project, alice):
    Comparison.objects.update(wanted=1000, places_left=1000)
    first = Counter()
    canonical = list(comparison.comparedresponse_set.values_list("response_id", flat=True))
    for number in range(1000):
        rater = User.objects.create(username=f"rater{number}")
        first[canonical.index(next_for(rater, project).shown[0])] += 1

    assert sum(first.values()) == 1000
    assert 430 <= first[0] <= 570  # 4.4 standard deviations


def test_the_responses_are_given_in_the_order_shown(assignment):
    texts = [response.text for response in shown_responses(assignment)]

    Assignment.objects.update(shown=list(reversed(assignment.shown)))
    assignment.refresh_from_db()

    assert [response.text for response in shown_responses(assignment)] == texts[::-1]


def test_the_database_sells_no_place_twice(comparison):
    with pytest.raises(IntegrityError), transaction.atomic():
        Comparison.objects.update(places_left=F("wanted") + 1)


def in_threads(work, items) -> list:
    """Run the work for all items at once, each with a database connection of its own."""
    barrier = threading.Barrier(len(items))

    def run(item):
        try:
            barrier.wait(timeout=30)
            return work(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(run, items))


@pytest.mark.django_db(transaction=True)
def test_fifty_raters_at_once_take_every_place_once(project, new_comparison):
    project.settings = {"overlap": 3}
    project.save()
    for number in range(1, 11):
        new_comparison(number)
    raters = [User.objects.create(username=f"rater{number}") for number in range(50)]

    leased = [
        assignment for assignment in in_threads(lambda rater: next_for(rater, project), raters) if assignment
    ]

    seats = Counter(assignment.comparison_id for assignment in leased)
    assert len(leased) == 30
    assert set(seats.values()) == {3}
    assert set(Comparison.objects.values_list("places_left", flat=True)) == {0}


@pytest.mark.django_db(transaction=True)
def test_fifty_raters_who_judge_all_they_can_leave_counts_that_close(project, new_comparison):
    project.settings = {"overlap": 2}
    project.save()
    for number in range(1, 31):
        new_comparison(number)
    raters = [User.objects.create(username=f"rater{number}") for number in range(50)]
    for rater in raters:
        Membership.objects.create(user=rater, project=project, role=Role.RATER)

    def judge_all(rater: User) -> int:
        judged = 0
        while (assignment := next_for(rater, project)) is not None:
            posted = first_wins()
            judge(assignment, posted)
            judge(assignment, posted)
            judged += 1
        return judged

    total = sum(in_threads(judge_all, raters))

    assert total == 60
    assert Judgment.objects.count() == Preference.objects.count() == 60
    assert Judgment.objects.filter(counted=True, late=False).count() == 60
    assert set(Comparison.objects.values_list("places_left", flat=True)) == {0}


@pytest.mark.django_db(transaction=True)
def test_sixteen_posts_of_one_judgment_at_once_store_it_once(project, new_comparison):
    new_comparison()
    rater = User.objects.create(username="rater")
    assignment = next_for(rater, project)
    posted = first_wins()

    results = in_threads(lambda _: judge(assignment, posted), range(16))

    assert Judgment.objects.count() == Preference.objects.count() == 1
    assert sum(new for _, new in results) == 1
    assert {judgment.pk for judgment, _ in results} == {Judgment.objects.get().pk}


@pytest.mark.django_db(transaction=True)
def test_of_two_answers_at_once_one_stands_and_the_other_is_refused(project, new_comparison):
    from annotate.judging import AlreadyJudgedError

    new_comparison()
    rater = User.objects.create(username="rater")
    assignment = next_for(rater, project)

    def post(order):
        try:
            return judge(assignment, Answer(client_key=uuid4(), positions=order))
        except AlreadyJudgedError:
            return None

    results = in_threads(post, [[[1], [2]], [[2], [1]]])

    assert sum(result is not None for result in results) == 1
    assert Judgment.objects.count() == 1


@pytest.mark.parametrize("analysed", [False, True])
def test_postgresql_takes_the_head_of_the_queue_and_not_the_whole(project, alice, new_comparison, analysed):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite joins row by row")
    project.settings = {"gold_share": 0, "repeat_share": 0}
    project.save()
    one = new_comparison(1)
    Comparison.objects.bulk_create(
        Comparison(project=project, prompt=one.prompt, probability=1, place=n / 2000, wanted=1, places_left=1)
        for n in range(2000)
    )
    next_for(alice, project)
    sql = next(compiled.sql for shape, compiled in _head._compiled.items() if shape[:2] == (True, ""))
    for place, name in enumerate(("project_id", "rater_id"), 1):
        sql = sql.replace(f"%({name})s", f"${place}")

    with connection.cursor() as cursor:
        if analysed:
            cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute("PREPARE head (bigint, bigint) AS " + sql.replace("%%", "%"))
        cursor.execute(f"EXPLAIN EXECUTE head ({project.pk}, {alice.pk})")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("DEALLOCATE head")

    queue, *rest = plan.split("SubPlan", 1)
    assert "Index Scan using open_comparisons_in_order" in queue, plan
    assert "Sort" not in queue, plan
    assert rest
