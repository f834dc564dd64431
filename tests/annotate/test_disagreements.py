"""Where raters differ, somebody decides without having seen who said what; others may learn from it."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from annotate import disagreements, rater_actions, withdrawing
from annotate.assignment import expire_leases, next_for
from annotate.models import (
    Assignment,
    AuditEvent,
    Comparison,
    Judgment,
    Membership,
    Preference,
    Purpose,
    Response,
    Role,
)
from tests.annotate.quality_parts import vote

HERE = "/projects/shop/adjudicate/"


@pytest.fixture
def project(project):
    project.settings = {"overlap": 2, "rationale": "optional", "gold_share": 0, "repeat_share": 0}
    project.save()
    return project


@pytest.fixture
def judy(person):
    return person("judy", Role.ADJUDICATOR)


@pytest.fixture
def desk(judy, signed_in):
    return signed_in(judy)


@pytest.fixture
def differ(new_comparison, alice, bob):
    """A comparison on which two raters differ, unless said otherwise."""

    def make(number=1, one="good", other="poor", **settings):
        comparison = new_comparison(number, **settings)
        vote(alice, comparison, one, rationale="It says what was asked")
        vote(bob, comparison, other)
        return comparison

    return make


def decide(desk, order="1>2"):
    """Judge what the adjudicator's page shows; gives the address that comes then."""
    page = desk.get(HERE).content.decode()
    action = re.search(r'id="comparison" method="post" action="([^"]+)"', page)[1]
    answer = desk.post(action, {"client_key": uuid4(), "order": order})
    assert answer.status_code == 302, answer.content.decode()
    return answer.url


def keys(project):
    return [one.comparison for one in disagreements.waiting(project)]


def test_a_disagreement_is_that_the_best_differs(project, differ, new_comparison, alice):
    split, tied = differ(1), differ(2, "good", "tie")
    differ(3, "good", "good")
    differ(4, "tie", "all bad")  # neither says that one is better
    vote(alice, new_comparison(5))

    found = list(disagreements.waiting(project))

    assert [one.comparison for one in found] == [split.pk, tied.pk]
    good, poor = split.response_ids
    assert found[0].votes == {(good,): 1, (poor,): 1}
    assert found[1].votes == {tuple(tied.response_ids[:1]): 1, tuple(tied.response_ids): 1}


def test_orders_that_differ_below_the_best_are_no_disagreement(project, new_comparison, alice, bob):
    comparison = new_comparison(1, texts=("a", "b", "c"))
    for rater, order in ((alice, "1>2>3"), (bob, "1>3>2")):
        from annotate.answers import Posted
        from annotate.judging import judge

        assignment = next_for(rater, project)
        Assignment.objects.filter(pk=assignment.pk).update(shown=comparison.response_ids)
        assignment.refresh_from_db()
        judge(assignment, Posted(client_key=uuid4(), order=order).read(project.rules, 3))

    assert keys(project) == []


def test_only_judgments_that_are_used_differ(project, differ, bob, admin):
    comparison, other, third = differ(1), differ(2), differ(3)
    judgment = Judgment.objects.get(assignment__comparison=comparison, assignment__rater=bob)
    withdrawing.leave_out(judgment, "odd", admin)
    withdrawing.withdraw_comparison(other, "private", admin)

    assert keys(project) == [third.pk]
    rater_actions.exclude(Membership.objects.get(user=bob), admin, "x", timezone.now() - timedelta(days=1))
    assert keys(project) == []


def test_the_adjudicator_is_blind_until_the_vote_and_then_sees_what_the_others_said(
    project, differ, desk, alice, bob
):
    differ(1)
    blind = desk.get(HERE).content.decode()
    for told in ("alice", "bob", project.pseudonym(alice.pk), "It says what was asked"):
        assert told not in blind
    assert "data-plain" in blind

    address = decide(desk)

    page = desk.get(address).content.decode()
    for rater in (alice, bob):
        assert project.pseudonym(rater.pk) in page
        assert rater.username not in page
    assert "It says what was asked" in page
    assert page.count("as you") == 1


def test_answers_of_others_are_told_by_the_letters_that_the_adjudicator_saw(
    project, differ, desk, alice, judy
):
    comparison = differ(1)
    desk.get(HERE)
    good, poor = comparison.response_ids
    Assignment.objects.filter(rater=judy).update(shown=[poor, good])

    votes = desk.get(decide(desk)).context["votes"]

    said = {vote["rater"]: vote["words"] for vote in votes}
    assert said[project.pseudonym(alice.pk)] == "B is better"
    assert [vote["same"] for vote in votes] == [False, True]


def test_a_vote_can_not_be_seen_before_it_is_cast_nor_by_others(
    project, differ, desk, judy, alice, signed_in
):
    differ(1)
    desk.get(HERE)
    assignment = Assignment.objects.get(rater=judy)

    assert desk.get(f"/assignments/{assignment.key}/adjudicated/").status_code == 404
    address = decide(desk)
    assert signed_in(alice).get(address).status_code == 404
    own = Assignment.objects.filter(rater=alice).first()
    assert signed_in(alice).get(f"/assignments/{own.key}/adjudicated/").status_code == 404
    Membership.objects.filter(user=judy).update(role=Role.RATER)
    assert desk.get(address).status_code == 404


def test_the_decision_is_learned_from_and_takes_no_place(project, differ, desk, judy):
    comparison = differ(1)

    decide(desk)

    judgment = Judgment.objects.get(assignment__rater=judy)
    assert Preference.objects.used().filter(judgment=judgment).count() == 1
    comparison.refresh_from_db()
    assert comparison.places_left == 0
    assert keys(project) == []
    assert "Nothing to decide now" in desk.get(HERE).content.decode()


def test_the_same_disagreement_stays_on_the_desk_until_it_is_decided(project, differ, desk, judy):
    differ(1), differ(2)

    first, second = desk.get(HERE), desk.get(HERE)

    assert first.context["assignment"].pk == second.context["assignment"].pk
    Assignment.objects.filter(rater=judy).update(leased_until=timezone.now() - timedelta(hours=1))
    expire_leases(project)
    assert desk.get(HERE).context["assignment"].pk == first.context["assignment"].pk
    assert Assignment.objects.get(rater=judy).state == "open"


def test_two_adjudicators_decide_different_ones(project, differ, desk, person, signed_in, judy):
    one, two = differ(1), differ(2)
    jane = person("jane", Role.ADJUDICATOR)
    other = signed_in(jane)

    assert desk.get(HERE).context["assignment"].comparison == one
    assert other.get(HERE).context["assignment"].comparison == two
    Assignment.objects.filter(rater=judy).update(leased_until=timezone.now() - timedelta(hours=1))
    decide(other)
    assert other.get(HERE).context["assignment"].comparison == one, "nobody holds it any more"
    decide(other)
    assert "Nothing to decide now" in desk.get(HERE).content.decode()


def test_nobody_decides_what_they_judged_skipped_or_wrote(project, differ, desk, judy, new_comparison):
    from annotate.judging import skip

    differ(1), differ(2)
    written = differ(3)
    Response.objects.filter(pk=written.response_ids[0]).update(author=judy)
    project.settings["overlap"] = 3
    project.save()
    judged = differ(4)
    vote(judy, judged)
    skip(desk.get(HERE).context["assignment"], "broken")

    assert desk.get(HERE).context["assignment"].comparison.prompt.name == "p2"
    decide(desk)
    assert "Nothing to decide now" in desk.get(HERE).content.decode()
    assert len(keys(project)) == 3, "they wait for somebody else"


def test_a_decision_becomes_a_known_answer_in_a_comparison_of_its_own(project, differ, desk, judy, person):
    comparison = differ(1)
    address = decide(desk)
    before = list(Judgment.objects.used().values_list("pk", flat=True))

    assert desk.post(address).url == address
    again = desk.post(address)

    gold = Comparison.objects.get(purpose=Purpose.GOLD)
    assert (again.status_code, "a known answer already" in again.content.decode()) == (409, True)
    assert (gold.response_ids, gold.gold_by, gold.wanted, gold.places_left) == (
        comparison.response_ids,
        judy,
        0,
        0,
    )
    assert gold.gold == Judgment.objects.get(assignment__rater=judy).order
    assert list(gold.responses.values_list("pk", flat=True)) == comparison.response_ids
    comparison.refresh_from_db()
    assert (comparison.purpose, comparison.gold) == ("uniform", None)
    assert list(Judgment.objects.used().values_list("pk", flat=True)) == before
    event = AuditEvent.objects.get(action="made a known answer")
    assert event.detail == {"comparison": comparison.pk, "known_answer": gold.pk}
    assert "is a known answer now" in desk.get(address).content.decode()


def test_a_tie_is_no_known_answer(project, differ, desk):
    differ(1)
    address = decide(desk, "1=2")

    answer = desk.post(address)

    assert "Make this a known answer" not in desk.get(address).content.decode()
    assert answer.status_code == 409
    assert not Comparison.objects.filter(purpose=Purpose.GOLD).exists()


def test_admins_and_researchers_read_the_list_and_decide_nothing(
    project, differ, desk, admin, researcher, signed_in, judy
):
    differ(1), differ(2)
    decide(desk)
    boss, scholar = signed_in(admin), signed_in(researcher)

    page = boss.get("/projects/shop/disagreements/")

    assert (page.context["waiting_count"], page.context["decided_count"]) == (1, 1)
    assert page.context["waiting"][0]["votes"] == [("1", 1), ("2", 1)]
    assert "judy" in page.content.decode()
    hidden = scholar.get("/projects/shop/disagreements/").content.decode()
    assert "judy" not in hidden
    assert project.pseudonym(judy.pk) in hidden
    for client in (boss, scholar):
        assert client.get(HERE).status_code == 403


def test_raters_decide_nothing(project, differ, alice, signed_in):
    differ(1)

    assert signed_in(alice).get(HERE).status_code == 403


def test_who_is_paused_decides_nothing(project, differ, desk, judy, admin):
    differ(1)
    rater_actions.pause(Membership.objects.get(user=judy), admin, "Wait")

    assert desk.get(HERE).url == "/projects/shop/compare/"


@pytest.mark.django_db(transaction=True)
def test_adjudicators_at_the_same_moment_never_decide_the_same(project, differ, person):
    for number in (1, 2, 3):
        differ(number)
    people = [person(f"j{number}", Role.ADJUDICATOR) for number in range(3)]

    def take(who):
        try:
            return disagreements.next_for(who, project).comparison_id
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(take, people))

    assert len(set(found)) == 3
