"""Known answers, swapped repeats, tags and limits: what is put beside the queue, and what is kept from it."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from annotate import assignment as leases
from annotate.answers import Answer, Posted
from annotate.assignment import next_for
from annotate.judging import judge, judge_posted
from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Judgment,
    Membership,
    Preference,
    Purpose,
    Rule,
)


def ask(project, **settings):
    project.settings = {"gold_share": 0, "repeat_share": 0, **settings}
    project.save()


def judged_by(rater, project) -> Assignment | None:
    assignment = next_for(rater, project)
    if assignment is not None:
        judge(assignment, Answer(client_key=uuid4(), positions=[[1], [2]]))
    return assignment


def gold(comparison: Comparison) -> Comparison:
    comparison.purpose, comparison.wanted, comparison.places_left = Purpose.GOLD, 0, 0
    comparison.gold = [[comparison.response_ids[0]], [comparison.response_ids[1]]]
    comparison.save()
    return comparison


def test_known_answers_come_at_their_share_look_alike_and_never_twice(project, new_comparison, alice):
    ask(project, gold_share=0.25)
    golds = {gold(new_comparison(number)).pk for number in range(1, 11)}
    for number in range(11, 131):
        new_comparison(number)

    seen = [judged_by(alice, project) for _ in range(60)]

    met = [one.comparison_id for one in seen if one.rule == Rule.GOLD]
    assert set(met) <= golds
    assert len(set(met)) == len(met)
    assert 4 <= len(met) <= 10
    assert {one.probability for one in seen if one.rule == Rule.GOLD} == {0.25}
    assert not any(one.holds_place for one in Assignment.objects.filter(rule=Rule.GOLD))


def test_with_nothing_in_the_queue_no_known_answer_is_left_to_give(project, new_comparison, alice):
    ask(project, gold_share=0.5)
    gold(new_comparison(1))

    assert next_for(alice, project) is None


def test_a_swapped_repeat_comes_after_its_gap_with_its_sides_exchanged(project, new_comparison, alice):
    ask(project, repeat_share=0.5, repeat_gap=5)
    for number in range(1, 40):
        new_comparison(number)

    seen = []
    while (assignment := judged_by(alice, project)) is not None:
        seen.append(assignment)

    repeats = [one for one in seen if one.rule == Rule.REPEAT]
    assert repeats
    first = {one.comparison_id: (place, one) for place, one in enumerate(seen) if one.rule == Rule.QUEUE}
    for place, one in enumerate(seen):
        if one.rule == Rule.REPEAT:
            before, shown_before = first[one.comparison_id]
            assert place - before >= 5
            assert one.shown == shown_before.shown[::-1]
    assert max(Counter(one.comparison_id for one in repeats).values()) == 1
    assert len([one for one in seen if one.rule == Rule.QUEUE]) == 39


def test_known_answers_and_repeats_are_received_and_not_used(project, new_comparison, alice):
    ask(project, repeat_share=0.3, repeat_gap=3, gold_share=0.2)
    gold(new_comparison(1))
    for number in range(2, 30):
        new_comparison(number)
    while judged_by(alice, project) is not None:
        pass

    received = Judgment.objects.of_project(project).with_reason()

    reasons = Counter(received.values_list("left_out", flat=True))
    assert reasons[""] == 28 == Judgment.objects.used().count()
    assert reasons["swapped repeat"] == Assignment.objects.filter(rule=Rule.REPEAT).count() > 0
    assert reasons["known answer"] <= 1
    assert sum(reasons.values()) == received.count()
    assert Preference.objects.used().count() == 28


def test_who_wrote_a_response_never_judges_it(project, new_comparison, alice, bob):
    comparison = new_comparison(1)
    comparison.responses.filter(text__startswith="good").update(author=alice)

    assert next_for(alice, project) is None
    assert next_for(bob, project).comparison == comparison


def test_a_tag_that_routes_is_met_by_raters_who_have_it(project, new_comparison, alice, bob):
    ask(project, routes=["lang:"])
    german = new_comparison(1)
    Comparison.objects.filter(pk=german.pk).update(route="lang:de")
    Membership.objects.filter(user=bob).update(tags=["lang:de", "skill:law"])

    assert next_for(alice, project) is None
    assert next_for(bob, project).comparison == german


def test_an_hour_holds_as_many_judgments_as_the_project_allows(project, new_comparison, alice, bob):
    ask(project, hourly_limit=3)
    for number in range(1, 10):
        new_comparison(number)
    for _ in range(3):
        assert judged_by(alice, project)

    assert next_for(alice, project) is None
    assert next_for(bob, project) is not None
    Assignment.objects.filter(rater=alice).update(closed_at=timezone.now() - timedelta(minutes=61))
    assert next_for(alice, project) is not None


def test_a_batch_holds_as_many_of_one_raters_judgments_as_allowed(project, new_comparison, alice):
    ask(project, round_limit=2)
    for number in range(1, 6):
        new_comparison(number, batch="round-1")
    other = new_comparison(6, batch="round-2")

    seen = [judged_by(alice, project) for _ in range(3)]

    assert [one.comparison.batch for one in seen] == ["round-1", "round-1", "round-2"]
    assert seen[2].comparison == other
    assert next_for(alice, project) is None


def test_how_often_a_prompt_was_met_is_kept(project, new_comparison, alice):
    new_comparison(1)
    new_comparison(1, texts=("fine", "bad"))

    assert [judged_by(alice, project).exposure for _ in range(2)] == [0, 1]


@pytest.fixture
def in_queue(project, new_comparison, alice):
    Membership.objects.filter(user=alice).update(qualified_at=timezone.now())
    for number in range(1, 8):
        new_comparison(number)
    return project


def post(rater, assignment, *held):
    posted = Posted(client_key=uuid4(), order="1>2")
    return judge_posted(rater, assignment.key, posted, held=[one.key for one in held])


def test_a_browser_holds_two_and_each_answer_brings_one_more(in_queue, alice):
    first = next_for(alice, in_queue)
    second = next_for(alice, in_queue, held=[first.key])

    third = post(alice, first, second).following
    fourth = post(alice, second, third).following

    assert len({one.comparison_id for one in (first, second, third, fourth)}) == 4
    assert [one.since_break for one in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert set(leases.open_assignments(alice, in_queue)) == {third, fourth}


def test_a_second_tab_gets_what_is_open_and_not_more(in_queue, alice):
    first = next_for(alice, in_queue)
    second = next_for(alice, in_queue, held=[first.key])

    assert next_for(alice, in_queue) == first
    assert next_for(alice, in_queue, held=[first.key]) == second
    assert post(alice, first).following == second


def test_what_goes_back_unseen_does_not_count_in_the_sitting(in_queue, alice):
    first = next_for(alice, in_queue)
    second = next_for(alice, in_queue, held=[first.key])

    leases.release(second, AssignmentState.EXPIRED)

    assert next_for(alice, in_queue, held=[first.key]).since_break == second.since_break == 1


def test_a_known_answer_with_a_tag_goes_to_raters_who_have_it(project, new_comparison, alice, bob):
    ask(project, routes=["lang:"], gold_share=0.5)
    german = gold(new_comparison(1))
    Comparison.objects.filter(pk=german.pk).update(route="lang:de")
    for number in range(2, 30):
        new_comparison(number)
        new_comparison(number + 100)
    Comparison.objects.filter(prompt__name__in=[f"p{n}" for n in range(102, 130)]).update(route="lang:de")
    Membership.objects.filter(user=bob).update(tags=["lang:de"])

    met = {rater: [judged_by(rater, project) for _ in range(28)] for rater in (alice, bob)}

    assert german.pk not in {one.comparison_id for one in met[alice]}
    assert german.pk in {one.comparison_id for one in met[bob]}


def test_a_known_answer_is_not_put_to_who_made_it_or_who_judged_its_prompt(
    project, new_comparison, alice, bob
):
    ask(project)
    known = gold(new_comparison(1))
    Comparison.objects.filter(pk=known.pk).update(gold_by=alice)
    twin = new_comparison(1, texts=("fine", "bad"), place=0.0)
    for number in range(2, 40):
        new_comparison(number)
    assert next_for(bob, project).comparison == twin
    ask(project, gold_share=0.5)

    seen = [judged_by(rater, project) for rater in (alice, bob) for _ in range(18)]

    assert known.pk not in {one.comparison_id for one in seen}
