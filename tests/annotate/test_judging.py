from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotate import judging
from annotate.answers import Answer, JudgingError, parse_order
from annotate.assignment import expire_leases, next_for
from annotate.judging import AlreadyJudgedError, judge, preferences, withdraw
from annotate.models import Assignment, AssignmentState, Judgment, Preference, Response


def answer(positions=((1,), (2,)), **values) -> Answer:
    return Answer(**{"client_key": uuid4(), "positions": positions, **values})


def lapse(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(leased_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("shown_first", ["good", "poor"])
def test_the_winner_is_stored_by_response_whichever_side_it_was_on(assignment, shown_first):
    by_text = {response.text.split()[0]: response.pk for response in Response.objects.all()}
    other = "poor" if shown_first == "good" else "good"
    Assignment.objects.filter(pk=assignment.pk).update(shown=[by_text[shown_first], by_text[other]])
    good_position = 1 if shown_first == "good" else 2

    judgment, _ = judge(assignment, answer([[good_position], [3 - good_position]]))

    assert judgment.order == [[by_text["good"]], [by_text["poor"]]]
    preference = judgment.preferences.get()
    assert (preference.chosen.text, preference.rejected.text) == ("good 1", "poor 1")


def test_the_same_client_key_again_gives_the_stored_judgment(assignment):
    posted = answer()

    first = judge(assignment, posted)
    again = judge(assignment, posted)

    assert first == (Judgment.objects.get(), True)
    assert again == (first[0], False)


def test_another_answer_on_a_judged_assignment_is_refused(assignment):
    stored, _ = judge(assignment, answer())

    with pytest.raises(AlreadyJudgedError):
        judge(assignment, answer([[2], [1]]))

    assert Judgment.objects.get() == stored


def test_an_answer_that_names_the_judgment_it_corrects_supersedes_it(assignment):
    stored, _ = judge(assignment, answer([[1], [2]]))

    corrected, new = judge(assignment, answer([[2], [1]], supersedes=stored.client_key))

    assert new
    assert corrected.supersedes == stored
    assert list(Judgment.objects.standing()) == [corrected]
    assert Preference.objects.get().chosen_id == assignment.shown[1]


def test_a_tie_is_one_tied_preference_and_an_all_bad_one_is_marked(
    assignment, new_comparison, alice, project
):
    tied, _ = judge(assignment, answer([[1, 2]]))
    new_comparison(2)
    bad, _ = judge(next_for(alice, project), answer([], all_bad=True))

    assert tied.preferences.get().tie
    assert not tied.all_bad
    assert bad.preferences.get().tie
    assert bad.all_bad
    assert len(bad.order) == 1


def test_a_ranking_of_four_gives_each_of_its_six_pairs_a_third(new_comparison, alice, project):
    new_comparison(texts=("a", "b", "c", "d"))
    assignment = next_for(alice, project)

    judgment, _ = judge(assignment, answer([[3], [1, 4], [2]]))

    first, second, third, fourth = assignment.shown
    ordered = {(p.chosen_id, p.rejected_id, p.tie) for p in judgment.preferences.all()}
    assert ordered == {
        (third, first, False),
        (third, fourth, False),
        (third, second, False),
        (first, fourth, True),
        (first, second, False),
        (fourth, second, False),
    }
    assert {preference.weight for preference in judgment.preferences.all()} == {1 / 3}


@given(ranks=st.lists(st.integers(0, 8), min_size=2, max_size=9), top=st.integers(0, 9))
def test_an_order_gives_each_pair_once_as_a_slow_count_does(ranks, top):
    size, shown = len(ranks), list(range(100, 100 + len(ranks)))
    rank = dict(zip(shown, ranks, strict=True))
    order = [[r for r in shown if rank[r] == place] for place in sorted(set(ranks))]
    judgment = Judgment(order=order, top=top)

    found = preferences(judgment, shown)

    said = {(one.chosen_id, one.rejected_id, one.tie) for one in found}
    last = set(order[-1]) if top and len(order) > 1 else set()
    expected = set()
    for place, one in enumerate(shown):
        for other in shown[place + 1 :]:
            if not {one, other} <= last:
                better, worse = (one, other) if rank[one] <= rank[other] else (other, one)
                expected.add((better, worse, rank[one] == rank[other]))
    assert said == expected
    assert len(found) == len(expected)
    assert {one.weight for one in found} <= {1 / (size - 1)}


def test_undo_keeps_the_judgment_and_opens_the_assignment_again(assignment, alice, project):
    stored, _ = judge(assignment, answer())

    assert withdraw(assignment)

    assert not Preference.objects.exists()
    assert not Judgment.objects.standing().exists()
    assert stored.superseded_by.withdrawn
    assert next_for(alice, project) == assignment


def test_a_judgment_after_undo_supersedes_the_withdrawn_one(assignment):
    judge(assignment, answer([[1], [2]]))
    withdraw(assignment)

    again, _ = judge(assignment, answer([[2], [1]]))

    assert again.supersedes.withdrawn
    assert list(Judgment.objects.standing()) == [again]
    assert Judgment.objects.count() == 3
    assignment.comparison.refresh_from_db()
    assert assignment.comparison.places_left == 0


def test_there_is_nothing_to_undo_twice(assignment):
    judge(assignment, answer())

    assert withdraw(assignment)
    assert not withdraw(assignment)
    assert Judgment.objects.count() == 2


def test_a_judgment_after_its_lease_counts_while_its_place_is_free(assignment, project):
    lapse(assignment)
    expire_leases(project)

    judgment, _ = judge(assignment, answer())

    assert judgment.late
    assert judgment.counted
    assignment.comparison.refresh_from_db()
    assert assignment.comparison.places_left == 0


def test_a_judgment_after_its_lease_is_kept_uncounted_where_another_has_the_place(assignment, bob, project):
    lapse(assignment)
    taken = next_for(bob, project)
    assert taken is not None
    assert taken.comparison == assignment.comparison

    judgment, _ = judge(assignment, answer())

    assert judgment.late
    assert not judgment.counted
    assert not judgment.preferences.exists()
    counted, _ = judge(taken, answer())
    assert counted.counted


def test_taking_back_an_uncounted_judgment_gives_no_place_away(assignment, bob, project):
    lapse(assignment)
    judge(next_for(bob, project), answer())
    judge(assignment, answer())
    withdraw(assignment)
    lapse(assignment)

    expire_leases(project)

    assignment.comparison.refresh_from_db()
    assert assignment.comparison.places_left == 0


def test_a_skipped_comparison_takes_no_answer(assignment):
    judging.skip(assignment, "not my language")

    with pytest.raises(AlreadyJudgedError):
        judge(assignment, answer())


@pytest.mark.parametrize("text", ["", "1", "1>1", "1>3", "1>2>2", "a>b", "1>2,", "0>1", "1==2"])
def test_an_order_that_does_not_name_each_response_once_is_refused(text):
    with pytest.raises(JudgingError, match="no order of the responses 1 to 2"):
        parse_order(text, 2)


def test_an_order_is_read_best_first_with_ties():
    assert parse_order("2>1", 2) == [[2], [1]]
    assert parse_order("3>1=4>2", 4) == [[3], [1, 4], [2]]


def test_judgments_are_never_changed_or_deleted(assignment):
    judgment, _ = judge(assignment, answer())

    for change in (
        judgment.save,
        judgment.delete,
        Judgment.objects.all().delete,
        lambda: Judgment.objects.update(all_bad=True),
    ):
        with pytest.raises(TypeError, match="supersedes"):
            change()


def test_the_database_refuses_a_second_first_judgment(assignment):
    stored, _ = judge(assignment, answer())

    with pytest.raises(IntegrityError), transaction.atomic():
        Judgment.objects.create(assignment=assignment, client_key=uuid4(), order=stored.order)


def test_the_database_refuses_a_client_key_twice(assignment):
    stored, _ = judge(assignment, answer())

    with pytest.raises(IntegrityError), transaction.atomic():
        Judgment.objects.create(
            assignment=assignment, client_key=stored.client_key, order=stored.order, supersedes=stored
        )


def test_a_judgment_points_at_the_guideline_shown_and_marks_robots(assignment, alice):
    alice.simulated = True
    alice.save()

    judgment, _ = judge(assignment, answer())

    assert judgment.guideline == assignment.guideline
    assert judgment.guideline.version == 1
    assert judgment.simulated
    assert assignment.state == AssignmentState.OPEN  # the caller's copy is not the truth
    assignment.refresh_from_db()
    assert assignment.state == AssignmentState.JUDGED
