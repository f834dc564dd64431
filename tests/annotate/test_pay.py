import csv
import io
from decimal import Decimal
from uuid import uuid4

import pytest

from annotate import pay
from annotate.assignment import next_for
from annotate.judging import Answer, judge, withdraw
from annotate.models import Comparison, Judgment, User


@pytest.fixture
def work(project, new_comparison):
    """Let somebody judge one more comparison in so many milliseconds."""
    made = []

    def do(rater, active_ms: int | None, batch: str = ""):
        made.append(new_comparison(len(made) + 1))
        Comparison.objects.filter(pk=made[-1].pk).update(batch=batch)
        positions = [[1], [2]]
        assignment = next_for(rater, project)
        judge(assignment, Answer(client_key=uuid4(), positions=positions, active_ms=active_ms))
        return assignment

    return do


def set_pay(project, **rules):
    project.settings = rules
    project.save()


def test_pay_by_the_hour_is_of_active_time(project, alice, work):
    set_pay(project, pay_per_hour=15)
    for _ in range(3):
        work(alice, 600_000)

    owed = pay.of_rater(alice, project)

    assert (owed.active_ms, owed.for_time, owed.for_judgments, owed.total) == (
        1_800_000,
        Decimal("7.50"),
        Decimal("0.00"),
        Decimal("7.50"),
    )


def test_pay_by_the_judgment_pays_a_comparison_once_and_the_time_of_each_answer(project, alice, work):
    set_pay(project, pay_per_judgment=0.125, pay_per_hour=36)
    work(alice, 10_000)
    assignment = work(alice, 10_000)
    withdraw(assignment)
    judge(assignment, Answer(client_key=uuid4(), positions=[[2], [1]], active_ms=5_000))

    owed = pay.of_rater(alice, project)

    assert owed.judgments == 2
    assert owed.active_ms == 25_000
    assert (owed.for_judgments, owed.for_time) == (Decimal("0.25"), Decimal("0.25"))


def test_an_answer_taken_back_is_no_judgment(project, alice, work):
    set_pay(project, pay_per_judgment=1)
    withdraw(work(alice, 1000))

    assert pay.of_rater(alice, project).judgments == 0


def test_no_answer_is_paid_for_longer_than_its_lease_whatever_the_browser_says(project, alice, work):
    set_pay(project, pay_per_hour=60, lease_minutes=2)
    work(alice, 2_000_000_000)
    work(alice, None)

    assert pay.of_rater(alice, project).total == Decimal("2.00")


def test_robots_are_not_paid_and_people_are_summed(project, alice, bob, person, work):
    set_pay(project, pay_per_judgment=0.333)
    robot = person("robot-1", "rater")
    User.objects.filter(pk=robot.pk).update(simulated=True)
    robot.refresh_from_db()
    for rater in (alice, bob, robot):
        work(rater, 1000)

    owed = pay.of_project(project)

    assert [one.rater for one in owed] == ["alice", "bob"]
    assert pay.total(owed) == Decimal("0.66")


def test_a_batch_has_a_cost_of_its_own(project, alice, work):
    set_pay(project, pay_per_judgment=1)
    for batch in ("round 1", "round 2", "round 2"):
        work(alice, 1000, batch)

    assert pay.batches(project) == ["round 1", "round 2"]
    assert pay.total(pay.of_project(project, batch="round 2")) == 2
    assert pay.total(pay.of_project(project)) == 3


def test_the_page_and_the_file_say_the_same(project, admin, alice, work, signed_in):
    set_pay(project, pay_per_judgment=0.5, currency="CHF")
    work(alice, 90_000)
    client = signed_in(admin)

    page = client.get("/projects/shop/pay/").content.decode()
    answer = client.get("/projects/shop/pay.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    assert "0.50" in page
    assert "CHF" in page
    assert rows == [
        {
            "rater": "alice",
            "judgments": "1",
            "active hours": "0.025",
            "for time": "0.0",
            "for judgments": "0.5",
            "total": "0.5",
            "currency": "CHF",
        }
    ]
    assert Judgment.objects.count() == 1


def test_a_batch_that_is_not_there_is_refused(project, admin, signed_in):
    assert signed_in(admin).get("/projects/shop/pay/?batch=none").status_code == 400
