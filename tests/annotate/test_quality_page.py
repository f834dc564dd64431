"""The page of quality: what it shows to whom, and that a number never stands alone."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from annotate import charts, checks, intervals, measured, quality_job, rater_actions
from annotate.assignment import next_for
from annotate.models import (
    Assignment,
    ComparedResponse,
    Judgment,
    Membership,
    Prompt,
    QualityFigures,
    Response,
    Role,
)
from runs.models import Run
from tests.annotate.quality_parts import carry_out, vote
from tests.annotate.quality_parts import measured as measure

PAGE = "/projects/shop/quality/"


@pytest.fixture(autouse=True)
def runs_dir(settings, tmp_path):
    settings.RUNS_DIR = tmp_path


@pytest.fixture
def boss(admin, signed_in):
    return signed_in(admin)


def words(answer) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return re.sub(r"\s+", " ", text)


def judged(project, new_comparison, alice, bob, *, count=12, disagree=3):
    """Pairs that both raters judge; on the first few they differ."""
    project.settings = {"overlap": 2}
    project.save()
    for number in range(1, count + 1):
        comparison = new_comparison(number, batch="round 1" if number <= 6 else "")
        vote(alice, comparison, active_ms=9000)
        vote(bob, comparison, "poor" if number <= disagree else "good", active_ms=9000)


def test_opening_the_page_starts_the_job_and_says_so(boss, project, new_comparison, alice):
    assert "nothing to measure" in words(boss.get(PAGE))
    assert not Run.objects.exists()
    vote(alice, new_comparison(1))

    page = words(boss.get(PAGE))
    boss.get(PAGE)

    assert "The first figures are on their way" in page
    assert "Waits to be measured" in page
    assert Run.objects.filter(kind="quality", scope="project:shop", queue="light").count() == 1


def test_the_page_shows_the_figures_with_interval_and_number_and_what_came_since(
    boss, project, new_comparison, alice, bob
):
    judged(project, new_comparison, alice, bob)
    figures = measure(project)
    vote(alice, new_comparison(99))

    page = words(boss.get(PAGE))

    raw = figures.values["agreement"]["raw"]
    assert (raw["value"], raw["n"]) == (0.75, 12)
    low, high = (f"{100 * raw[end]:.1f}%" for end in ("low", "high"))
    assert f"Agreement 75% {low} to {high} 12 comparisons" in page
    assert "from 24 judgments by 2 raters; 1 came since." in page
    assert figures.computed_at.strftime("%-d %B %Y, %H:%M UTC") in page
    assert "Median active time 9.0 s 9.0 s to 9.0 s 24 judgments" in page
    assert "The counts close." in page


def test_counts_on_the_page_close(boss, project, new_comparison, alice, bob, admin):
    judged(project, new_comparison, alice, bob)
    rater_actions.exclude(Membership.objects.get(user=bob), admin, "x", timezone.now() - timedelta(days=1))
    figures = measure(project)

    page = words(boss.get(PAGE))

    assert "Received 24 Rater excluded −12 Used 12" in page
    assert measured.counts(figures.values)["closes"]


def test_every_figure_on_the_page_has_interval_and_number_or_says_that_it_is_not_known(
    boss, project, new_comparison, alice, bob
):
    judged(project, new_comparison, alice, bob)
    figures = measure(project)
    shown = [one for section in measured.sections(figures.values) for one in section.figures]

    assert len(shown) > 12
    for one in shown:
        assert bool(one.value) == bool(one.interval), one
        assert one.count, one
    assert words(boss.get(PAGE)).count("not known yet") >= sum(not one.value for one in shown)


def test_a_batch_has_figures_of_its_own(boss, project, new_comparison, alice, bob):
    judged(project, new_comparison, alice, bob)
    boss.get(PAGE + "?batch=round+1")
    run = Run.objects.get()
    assert run.config["batch"] == "round 1"
    carry_out(run)

    page = words(boss.get(PAGE + "?batch=round+1"))

    assert "from 12 judgments by 2 raters of round 1; 0 came since." in page
    assert "Agreement 50%" in page
    assert boss.get(PAGE + "?batch=none").status_code == 404
    assert boss.post(f"{PAGE}refresh/", {"batch": "none"}).status_code == 404


def test_measure_now_starts_one_job_however_often_it_is_pressed(boss, project, new_comparison, alice):
    vote(alice, new_comparison(1, batch="round 1"))

    first = boss.post(f"{PAGE}refresh/", {"batch": "round 1"})
    boss.post(f"{PAGE}refresh/", {"batch": "round 1"})

    assert first.url == f"{PAGE}?batch=round+1"
    assert Run.objects.get().started_by == "ada"


def test_a_researcher_sees_figures_and_no_rater(
    project, new_comparison, alice, bob, researcher, signed_in, boss
):
    judged(project, new_comparison, alice, bob)
    measure(project)
    client = signed_in(researcher)

    page = client.get(PAGE).content.decode()

    assert "75%" in page
    for name in ("alice", "bob", project.pseudonym(alice.pk)):
        assert name not in page
    assert "alice" in boss.get(PAGE).content.decode()
    member = Membership.objects.get(user=alice)
    assert client.get(f"/projects/shop/raters/{member.pk}/").status_code == 403


def test_raters_and_strangers_see_nothing(project, new_comparison, alice, bob, signed_in, person):
    measured_by = [signed_in(alice), signed_in(person("judy", Role.ADJUDICATOR))]

    for client in measured_by:
        for address in (PAGE, "/projects/shop/disagreements/"):
            assert client.get(address).status_code == 403
        assert client.post(f"{PAGE}refresh/").status_code == 403


def test_a_different_taste_is_shown_as_one_and_suggests_nothing(boss, project, new_comparison, alice, bob):
    judged(project, new_comparison, alice, bob)
    figures = measure(project)
    for one in figures.values["raters"]:
        if one["rater"] == project.pseudonym(alice.pk):
            one.update(reading="different taste", action="none")
        else:
            one.update(reading="not reading", action="pause")
    figures.save()

    rows = boss.get(PAGE).context["raters"]

    assert [(row["member"].user.username, row["reading"], row["suggestion"]) for row in rows] == [
        ("bob", "Not reading", "Look, then maybe pause"),
        ("alice", "Different taste", ""),
    ]
    page = words(boss.get(f"/projects/shop/raters/{rows[1]['member'].pk}/"))
    assert "That is a taste and no fault: nothing to do." in page
    assert "Suggested" not in page


def test_every_reading_and_action_of_the_program_has_words():
    from typing import get_args

    from annotate.quality.reliability import ACTIONS, Reading

    assert set(measured.READINGS) == set(get_args(Reading))
    assert set(measured.SUGGESTIONS) == {*ACTIONS.values(), "watch"}


def test_the_page_takes_as_many_statements_however_many_raters_there_are(
    boss, project, new_comparison, person, django_assert_max_num_queries
):
    for number in range(1, 13):
        vote(person(f"r{number}", Role.RATER), new_comparison(number))
    measure(project)

    with django_assert_max_num_queries(22):
        assert boss.get(PAGE).status_code == 200


# Pictures


def slope(value, low, high, n=90):
    return {"value": value, "low": low, "high": high, "n": n}


def test_the_chart_of_fatigue_puts_values_where_they_are():
    figures = [("Known answers right", slope(-0.04, -0.08, 0.0)), ("Together", slope(None, None, None, 3))]

    wide, narrow = intervals.changes(figures, "It falls.")

    (row,) = wide.rows
    left, right = wide.marks[0].at, wide.marks[2].at
    assert wide.marks[0].text == "−10"
    per_point = (right - left) / 20
    assert row.x == pytest.approx(wide.zero - 4 * per_point, abs=0.1)
    assert (row.low, row.high) == pytest.approx((wide.zero - 8 * per_point, wide.zero), abs=0.1)
    assert [mark.text for mark in wide.unknown] == ["Together"]
    assert (wide.width, narrow.width, narrow.finding) == (charts.WIDE, charts.NARROW, "It falls.")
    assert intervals.changes([("x", slope(None, None, None))], "") == []


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (
            slope(-0.04, -0.07, -0.01),
            "Quality falls during a sitting: −4.0 points an hour, probably −7.0 to −1.0, from 90 judgments.",
        ),
        (slope(0.01, -0.02, 0.04), "No change during a sitting that chance could not make: +1.0"),
        (slope(None, None, None), "Too little to tell"),
    ],
)
def test_the_finding_is_said_in_words(figure, says):
    values = {"fatigue": {"together": {"per_hour": figure}}}

    assert measured.tired(values).startswith(says)


def test_the_effect_of_length_is_said_as_a_share():
    """Of two responses the one twice as long wins with sigma(slope ln 2); a slope of 1 makes that 2 : 1."""
    found = measured.twice_as_long(slope(1.0, 0.0, 2.0, 400))

    assert (found.value, found.interval, found.warns) == ("66.7%", "50% to 80%", False)
    assert measured.twice_as_long(slope(1.0, 0.5, 2.0)).warns


# Checks


def by_name(project):
    return {check.name: check for check in checks.of_project(project)}


def test_all_checks_hold_for_what_raters_do(project, new_comparison, alice, bob):
    project.settings = {"overlap": 2, "gold_share": 0, "repeat_share": 0}
    project.save()
    for number in range(1, 31):
        new_comparison(number)
    for rater in (alice, bob):
        while (assignment := next_for(rater, project)) is not None:
            now = timezone.now()
            vote(rater, assignment.comparison, shown_at=assignment.offered_at, submitted_at=now)

    found = by_name(project)

    assert all(check.holds for check in found.values()), found
    assert "of 60 pairs" in found["Sides are drawn by lot"].words
    assert "0 of 60 judgments" in found["Raters’ clocks fit the server’s"].words


def test_sides_that_were_never_swapped_are_found(project, new_comparison, alice, person):
    for number in range(1, 21):
        vote(alice, new_comparison(number))  # always as the comparison has them

    check = by_name(project)["Sides are drawn by lot"]

    assert not check.holds
    assert check.words == (
        "The response that was made first stood first in 100.0% of 20 pairs, 4.5 standard errors from a half."
    )


def test_imported_judgments_say_nothing_of_our_lots(project, new_comparison, alice):
    for number in range(1, 21):
        vote(alice, new_comparison(number))
    Assignment.objects.update(leased_until=timezone.now(), offered_at=timezone.now() + timedelta(seconds=1))

    assert by_name(project)["Sides are drawn by lot"].holds


def test_each_check_finds_what_it_looks_for(project, new_comparison, alice, bob):
    one, two = new_comparison(1), new_comparison(2)
    judgment = vote(alice, one, shown_at=timezone.now() - timedelta(hours=2), submitted_at=timezone.now())
    vote(alice, one, rule="repeat")  # not swapped, and at once
    Prompt.objects.filter(name="p2").update(cluster=one.prompt.cluster)
    Prompt.objects.filter(name="p2").update(split="train")
    Prompt.objects.filter(name="p1").update(split="rm_holdout")
    Response.objects.filter(pk=one.response_ids[0]).update(text="changed")
    ComparedResponse.objects.filter(comparison=two, position=1).update(response=one.response_ids[1])
    Assignment.objects.filter(pk=judgment.assignment_id).update(shown=two.response_ids)
    assert Judgment.objects.count() == 2

    held = {name for name, check in by_name(project).items() if check.holds}

    assert held == {"Sides are drawn by lot", "Nobody judges the same responses twice"}


def test_the_same_responses_in_two_comparisons_judged_by_one_rater_are_found(project, new_comparison, alice):
    from annotate.comparisons import add_comparison

    one = new_comparison(1)
    again = add_comparison(project, one.prompt, one.responses.all(), probability=1, place=0.5)
    vote(alice, one)
    vote(alice, again)

    check = by_name(project)["Nobody judges the same responses twice"]

    assert not check.holds
    assert check.words.startswith("Once")


def test_what_does_not_hold_is_said_on_the_page(boss, project, new_comparison, alice):
    for number in range(1, 21):
        vote(alice, new_comparison(number))
    measure(project)

    page = words(boss.get(PAGE))

    assert "Not so: Sides are drawn by lot" in page
    assert "Not so: No cluster" not in page
    assert QualityFigures.objects.get().values["checks"][0]["holds"] is False
    assert quality_job.latest(project).values["checks"][0]["words"] in page
