"""Explained examples and the qualification set, before the queue opens."""

from uuid import uuid4

import pytest

from annotate.models import Assignment, Comparison, Membership, Purpose, RaterAction, Rule

COMPARE = "/projects/shop/compare/"


@pytest.fixture
def known(new_comparison):
    """Make a comparison whose first response is known to be better."""

    def make(number: int, purpose: Purpose) -> Comparison:
        comparison = new_comparison(number)
        first, second = comparison.response_ids
        Comparison.objects.filter(pk=comparison.pk).update(
            purpose=purpose,
            wanted=0,
            places_left=0,
            gold=[[first], [second]],
            explanation="It answers **the question**.",
        )
        return comparison

    return make


@pytest.fixture
def client(signed_in, alice):
    return signed_in(alice)


def answer(client, right: bool) -> Assignment:
    """Judge what the page shows, as the known answer says or not."""
    client.get(COMPARE)
    assignment = Assignment.objects.get(state="open")
    good = assignment.comparison.gold[0][0]
    position = assignment.shown.index(good) + 1
    best = position if right else 3 - position
    client.post(
        f"/assignments/{assignment.key}/judge/", {"client_key": uuid4(), "order": f"{best}>{3 - best}"}
    )
    return assignment


def test_examples_come_first_and_are_explained(client, known, new_comparison):
    new_comparison(9)
    known(1, Purpose.TRAINING)

    client.get(COMPARE)
    assignment = Assignment.objects.get()
    assert assignment.rule == Rule.TRAINING
    answered = client.post(
        f"/assignments/{assignment.key}/judge/", {"client_key": uuid4(), "order": "1>2"}, follow=True
    )

    page = answered.content.decode()
    assert answered.redirect_chain == [(f"/assignments/{assignment.key}/explained/", 302)]
    assert "It answers <strong>the question</strong>" in page
    client.get(COMPARE)
    assert Assignment.objects.get(state="open").comparison.prompt.name == "p9"


def test_who_passes_the_qualification_set_is_let_in(client, known, new_comparison, alice):
    new_comparison(9)
    for number in range(1, 5):
        known(number, Purpose.QUALIFICATION)

    seen = [answer(client, right=number > 1) for number in range(1, 5)]
    client.get(COMPARE)

    assert {one.rule for one in seen} == {Rule.QUALIFICATION}
    assert Membership.objects.get(user=alice).qualified_at is not None
    assert Assignment.objects.get(state="open").rule == Rule.QUEUE


def test_who_fails_is_told_how_many_were_right_and_may_begin_again(client, known, new_comparison, alice):
    new_comparison(9)
    for number in range(1, 5):
        known(number, Purpose.QUALIFICATION)
    for number in range(1, 5):
        answer(client, right=number > 2)

    page = client.get(COMPARE).content.decode()

    assert "2 of 4" in page
    assert not Assignment.objects.filter(state="open").exists()
    membership = Membership.objects.get(user=alice)
    assert membership.paused_at is not None
    RaterAction.objects.create(membership=membership, kind="retrain", text="Once more")
    Membership.objects.update(paused_at=None)
    for _ in range(4):
        answer(client, right=True)
    client.get(COMPARE)
    assert Membership.objects.get(user=alice).qualified_at is not None


def test_a_project_without_examples_begins_at_the_queue(client, new_comparison, alice):
    new_comparison(1)

    client.get(COMPARE)

    assert Assignment.objects.get().rule == Rule.QUEUE
    assert Membership.objects.get(user=alice).qualified_at is not None


def test_an_example_is_explained_only_after_its_answer(client, known, signed_in, bob):
    known(1, Purpose.TRAINING)
    client.get(COMPARE)
    key = Assignment.objects.get().key

    assert client.get(f"/assignments/{key}/explained/").status_code == 404
    assert signed_in(bob).get(f"/assignments/{key}/explained/").status_code == 404


def test_an_example_with_a_tag_is_for_those_who_have_it(client, known, new_comparison, alice):
    new_comparison(9)
    example = known(1, Purpose.TRAINING)
    Comparison.objects.filter(pk=example.pk).update(route="lang:de")

    client.get(COMPARE)

    assert Assignment.objects.get().rule == Rule.QUEUE
