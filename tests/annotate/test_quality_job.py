"""What the job hands to the program that measures, what becomes of its result, and when it is due."""

import tracemalloc
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from annotate import quality_job, rater_actions, withdrawing
from annotate.assignment import lease_known
from annotate.models import (
    Judgment,
    Membership,
    Preference,
    Purpose,
    QualityFigures,
    Role,
    Rule,
)
from runs.models import Run, State
from tests.annotate.quality_parts import carry_out, lines, measured, vote


@pytest.fixture(autouse=True)
def runs_dir(settings, tmp_path):
    settings.RUNS_DIR = tmp_path


@pytest.fixture
def carla(person):
    return person("carla", Role.RATER)


@pytest.fixture
def known_answer(new_comparison):
    """A comparison whose answer is known: the good one."""

    def make(number):
        comparison = new_comparison(number, purpose=Purpose.GOLD, gold=[])
        comparison.gold = [[one] for one in comparison.response_ids]
        comparison.save()
        return comparison

    return make


def rows(project, **options):
    return dict(quality_job.judged(project, **options))


def test_a_line_says_all_that_is_known_of_a_judgment(project, new_comparison, alice):
    project.settings = {"scheme": "strength", "rationale": "optional"}
    project.save()
    Membership.objects.filter(user=alice).update(group="shoppers")
    comparison = new_comparison(1, texts=("good", "a long poor one"))
    judgment = vote(alice, comparison, "tie", since_break=7, minutes=12, rationale="as good", active_ms=4200)

    row = rows(project)[judgment.pk]

    first, second = comparison.response_ids
    assert (row.rater, row.group, row.comparison) == (project.pseudonym(alice.pk), "shoppers", comparison.pk)
    assert (row.shown, row.order, row.length) == ((first, second), ((first, second),), (6, 17))
    assert (row.since_break, row.active_ms, row.rationale_length) == (7, 4200, 7)
    assert row.minutes_since_break == pytest.approx(12, abs=0.1)
    assert (row.counted, row.reason, row.gold, row.repeats) == (True, "", None, None)
    assert "alice" not in row.to_line().decode()


def test_known_answers_and_repeats_are_measured_and_nothing_is_learned_from_them(
    project, new_comparison, known_answer, alice
):
    asked, gold = new_comparison(1), known_answer(2)
    vote(alice, asked)
    known, again = vote(alice, gold, rule="gold"), vote(alice, asked, rule="repeat")
    trained = vote(alice, new_comparison(3), rule="training")

    found = rows(project)

    assert (found[known.pk].counted, found[known.pk].reason) == (True, "known answer")
    assert found[known.pk].gold == tuple((one,) for one in gold.response_ids)
    assert (found[again.pk].counted, found[again.pk].reason) == (True, "swapped repeat")
    assert found[again.pk].repeats == found[again.pk].comparison == asked.pk
    assert (found[trained.pk].counted, found[trained.pk].reason) == (False, "training")


def test_an_adjudicators_word_is_used_and_not_measured(project, new_comparison, person):
    judge = person("judy", Role.ADJUDICATOR)
    comparison = new_comparison(1)
    lease_known(judge, comparison, Rule.ADJUDICATION)
    judgment = vote(judge, comparison, rule="adjudication")

    row = rows(project)[judgment.pk]

    assert (row.reason, row.counted) == ("", False)
    assert Preference.objects.used().filter(judgment=judgment).exists()


def test_every_way_to_be_left_out_has_its_reason_and_the_counts_close(
    project, new_comparison, alice, bob, carla, admin
):
    comparisons = [new_comparison(number) for number in range(1, 8)]
    for comparison in comparisons:
        vote(alice, comparison)
    voided = vote(bob, comparisons[0], rule="gold")  # a second one on the same comparison needs no place
    withdrawing.leave_out(voided, "a slip", admin)
    withdrawing.leave_out(
        Judgment.objects.get(assignment__rater=alice, assignment__comparison=comparisons[1]), "odd", admin
    )
    withdrawing.withdraw_response(comparisons[2].responses.first(), "private", admin)
    late = new_comparison(20)
    vote(carla, late)
    assert Judgment.objects.get(assignment__rater=carla).counted
    rater_actions.exclude(
        Membership.objects.get(user=carla), admin, "robot", timezone.now() - timedelta(days=1)
    )

    figures = measured(project)

    reasons = {row.left_out for row in Judgment.objects.of_project(project).with_reason()}
    assert reasons == {"", "known answer", "left out by an admin", "text withdrawn", "rater excluded"}
    counts = figures.values["counts"]
    assert counts["left_out"] == {
        "excluded": 1,
        "known answer": 1,
        "left out by an admin": 1,
        "text withdrawn": 1,
    }
    assert counts["received"] == counts["used"] + sum(counts["left_out"].values()) == 9
    assert counts["used"] == Judgment.objects.of_project(project).used().count() == 5
    assert counts["measured"] == 5, "the known answer was left out by an admin, so no figure counts it"


def test_what_an_excluded_rater_answered_to_known_answers_leaves_the_projects_figures(
    project, known_answer, alice, admin
):
    gold = known_answer(1)
    vote(alice, gold, rule="gold")
    rater_actions.exclude(Membership.objects.get(user=alice), admin, "x", timezone.now() - timedelta(hours=1))

    row = next(iter(rows(project).values()))

    assert (row.reason, row.counted) == ("excluded", False)


def test_what_was_taken_back_is_received_and_not_used(project, new_comparison, alice):
    from annotate.judging import withdraw

    judgment = vote(alice, new_comparison(1))
    withdraw(judgment.assignment)

    (row,) = rows(project).values()

    assert (row.reason, row.counted) == ("taken back", False)


def test_a_batch_is_measured_with_the_known_answers_of_its_time(
    project, new_comparison, known_answer, alice, bob
):
    gold = known_answer(9)
    vote(alice, new_comparison(1))
    mine = [vote(alice, new_comparison(2, batch="round 1")), vote(alice, gold, rule="gold")]
    mine.append(vote(alice, new_comparison(3, batch="round 1")))
    vote(bob, gold, rule="gold")

    assert list(rows(project, batch="round 1")) == [one.pk for one in mine]


def test_the_order_of_the_best_few_leaves_out_what_was_not_put_in_order(project, new_comparison, alice):
    comparison = new_comparison(1, texts=("good", "fair", "poor", "worst"))
    judgment = vote(alice, new_comparison(2))
    a, b, c, d = comparison.response_ids
    assignment = lease_known(alice, comparison, Rule.ADJUDICATION)
    Judgment.objects.create(
        assignment=assignment, client_key=judgment.client_key, order=[[a], [b], [c, d]], top=2
    )

    found = {row.comparison: row for row in rows(project).values()}

    assert found[comparison.pk].order == ((a,), (b,))


def test_the_figures_are_kept_and_every_rater_gets_a_weight(project, new_comparison, alice, bob, carla):
    for number in range(1, 31):
        comparison = new_comparison(number)
        for rater in (alice, bob):
            vote(rater, comparison, "good", rule="queue" if rater == alice else "gold")

    figures = measured(project)

    assert figures.judgments == 60
    assert figures.values["last"] == Judgment.objects.latest("pk").pk
    assert figures.run == Run.objects.get()
    weights = dict(Membership.objects.values_list("user__username", "weight"))
    assert 0 < weights["alice"] <= 1
    assert weights["carla"] is None, "nothing is known of who judged nothing"
    assert {one["rater"]: one["weight"] for one in figures.values["raters"]}[
        project.pseudonym(alice.pk)
    ] == pytest.approx(weights["alice"])


def test_figures_of_a_batch_change_no_weight(project, new_comparison, alice):
    vote(alice, new_comparison(1, batch="round 1"))

    measured(project, batch="round 1")

    assert Membership.objects.get(user=alice).weight is None


def test_old_figures_are_dropped(project, new_comparison, alice):
    vote(alice, new_comparison(1))
    for number in range(quality_job.KEPT + 3):
        at = timezone.now() - timedelta(days=number + 1)
        QualityFigures.objects.create(project=project, computed_at=at, values={})

    newest = measured(project)

    assert QualityFigures.objects.count() == quality_job.KEPT
    assert quality_job.latest(project) == newest


def test_two_asks_start_one_job(project, new_comparison, alice):
    vote(alice, new_comparison(1))

    assert quality_job.start(project) == quality_job.start(project)
    assert quality_job.start(project, batch="round 1") != quality_job.start(project)
    assert Run.objects.count() == 2


def test_the_job_is_due_when_figures_are_old_and_there_is_news(project, new_comparison, alice, admin):
    assert quality_job.start_if_due(project) is None, "nothing was judged"
    vote(alice, new_comparison(1))
    run = quality_job.start_if_due(project)
    assert quality_job.start_if_due(project) == run, "it is under way"
    carry_out(run)
    judgment = vote(alice, new_comparison(2))
    assert quality_job.since(quality_job.latest(project)) == 1
    assert quality_job.start_if_due(project) is None, "the figures are fresh"

    def age():
        QualityFigures.objects.update(computed_at=timezone.now() - timedelta(minutes=11))

    age()
    carry_out(quality_job.start_if_due(project))
    age()
    assert quality_job.start_if_due(project) is None, "there is no news"
    withdrawing.leave_out(judgment, "odd", admin)
    assert quality_job.start_if_due(project) is not None
    assert Run.objects.filter(kind="quality").count() == 3


def test_a_job_that_fails_is_not_started_at_every_look(project, new_comparison, alice):
    vote(alice, new_comparison(1))
    run = quality_job.start_if_due(project)
    Run.objects.filter(pk=run.pk).update(state=State.FAILED, finished_at=timezone.now())

    assert quality_job.start_if_due(project) is None
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(minutes=11))
    assert quality_job.start_if_due(project) is not None


def test_an_archived_project_is_measured_no_more(project, new_comparison, alice):
    vote(alice, new_comparison(1))
    project.archived_at = timezone.now()
    project.save()

    assert quality_job.start_if_due(project) is None
    assert not Run.objects.exists()


def test_skips_are_counted_by_rater(project, new_comparison, alice):
    from annotate.assignment import next_for
    from annotate.judging import skip

    vote(alice, new_comparison(1))
    new_comparison(2)
    skip(next_for(alice, project), "broken")

    figures = measured(project)

    (one,) = figures.values["raters"]
    assert (one["skip_share"]["value"], one["skip_share"]["n"]) == (0.5, 2)
    assert Counter(row["rater"] for row in lines(figures.run)) == {project.pseudonym(alice.pk): 1}


def test_memory_does_not_grow_with_the_number_of_judgments(project, new_comparison, person, monkeypatch):
    monkeypatch.setattr(quality_job, "CHUNK", 20)
    for number in range(1, 7):
        comparison = new_comparison(number, texts=("good" * 500, "poor" * 500))
        for place in range(20):
            vote(person(f"r{number}-{place}", Role.RATER), comparison, rule="gold")

    def peak(project):
        tracemalloc.start()
        count = sum(1 for _ in quality_job.judged(project))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return count, most

    peak(project)  # what is loaded once
    count, most = peak(project)
    assert count == 120
    assert most < 2_000_000


def test_statements_grow_by_a_few_for_each_chunk(
    project, new_comparison, alice, django_assert_max_num_queries
):
    for number in range(1, 41):
        vote(alice, new_comparison(number))

    with django_assert_max_num_queries(8):
        assert len(rows(project)) == 40
