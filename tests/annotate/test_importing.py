"""Files into the database, by command: every row once, all or the good ones, whatever comes in between."""

import json
from collections import Counter

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from annotate import importing
from annotate.assignment import next_for
from annotate.comparisons import draw_pairs, held_back
from annotate.models import (
    Assignment,
    AuditEvent,
    Comparison,
    Judgment,
    Membership,
    Preference,
    Prompt,
    Response,
    User,
)

LONG = "It takes about an hour, and you can leave the rest to the oven while you set the table. " * 4
TABLES = (Prompt, Response, Comparison, Assignment, Judgment, Preference, User)


@pytest.fixture
def bring(project, tmp_path, capsys):
    """Import rows by the command and give what it says."""

    def run(kind: str, *rows: dict | str, **options) -> str:
        file = tmp_path / "rows.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        file.write_text("\n".join(lines), encoding="utf-8")
        capsys.readouterr()
        call_command(f"import_{kind}", file, project="shop", **options)
        return capsys.readouterr().out.strip()

    return run


def asked(number: int, *texts: str, **more) -> dict:
    return {
        "prompt_id": f"q{number}",
        "prompt": f"Question {number}?",
        "responses": texts or ("a", "b"),
        **more,
    }


def counts() -> list[int]:
    return [table.objects.count() for table in TABLES]


def test_comparisons_come_in_and_are_asked(bring, project, alice):
    said = bring("comparisons", *[asked(number, tags=["lang:de"]) for number in range(3)], batch="first")

    assert said == "3 new comparisons in shop"
    comparison = Comparison.objects.first()
    assert (comparison.batch, comparison.stratum, comparison.probability) == ("first", "uniform", 1)
    assert comparison.prompt.split == project.split_of(comparison.prompt.cluster)
    assert comparison.prompt.tags == ["lang:de"]
    assert sorted(comparison.responses.values_list("text", flat=True)) == ["a", "b"]
    assert next_for(alice, project) is not None
    assert AuditEvent.objects.get(action="imported").detail["new"] == 3


@pytest.mark.parametrize("kind", ["prompts", "comparisons", "judgments"])
def test_the_same_file_twice_adds_nothing(bring, kind):
    fields = {"prompts": ("prompt",), "comparisons": ("prompt", "responses")}
    rows = [asked(number, order="2>1", rater=f"r{number % 2}") for number in range(120)]
    if kind in fields:
        rows = [{name: row[name] for name in fields[kind]} for row in rows]
    assert bring(kind, *rows, *rows) == f"120 new {kind} in shop, 120 known already"
    before = counts()

    assert bring(kind, *rows) == f"0 new {kind} in shop, 120 known already"
    assert counts() == before


def test_an_import_that_is_cut_off_goes_on_where_it_was(project, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    row = {"system": None, "tags": [], "purpose": None, "gold": None, "explanation": "", "judgments": None}
    rows = [
        (
            number,
            {
                **row,
                "score": None,
                "stratum": None,
                "probability": None,
                "prompt_id": "",
                "messages": [{"role": "user", "content": str(number)}],
                "responses": ["a", "b"],
            },
        )
        for number in range(35)
    ]
    steps = importing.take_in(project, "comparisons", rows)
    next(steps), next(steps)
    steps.close()
    assert Comparison.objects.count() == 20

    again = list(importing.take_in(project, "comparisons", rows))

    assert (sum(step.new for step in again), sum(step.known for step in again)) == (15, 20)
    assert Comparison.objects.count() == 35


ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.text("abc", min_size=1, max_size=2)), max_size=12
)


@tuned(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=25,
    deadline=None,
)
@given(rows=ROWS)
def test_with_skip_bad_exactly_the_good_lines_come_in(bring, project, rows):
    Comparison.objects.all().delete()
    lines = [
        asked(number, text, f"{text} other", **({} if good else {"score": "high"}))
        for good, number, text in rows
    ]

    bring("comparisons", *lines, skip_bad=True)

    expected = {(f"q{number}", text) for good, number, text in rows if good}
    found = {
        (comparison.prompt.name, min(comparison.responses.values_list("text", flat=True), key=len))
        for comparison in Comparison.objects.select_related("prompt")
    }
    assert found == expected
    assert Comparison.objects.count() == len(expected)


def test_one_bad_line_keeps_the_whole_file_out(bring):
    with pytest.raises(CommandError, match=r"line 2: responses: must hold two to nine texts"):
        bring("comparisons", asked(1), asked(2, "one"), asked(3))

    assert not Prompt.objects.exists()


def test_a_name_that_is_taken_is_an_error_of_its_line(bring):
    bring("prompts", {"prompt_id": "q2", "prompt": "Another question?"})

    with pytest.raises(CommandError, match=r"line 2: prompt_id: 'q2' is taken by another prompt"):
        bring("comparisons", asked(1), asked(2))
    assert not Comparison.objects.exists()

    said = bring("comparisons", asked(1), asked(2), skip_bad=True)
    assert said == "1 new comparisons in shop, 1 whose prompt_id is taken"


def test_near_identical_and_identical_responses_are_held_back_and_counted(bring, project, alice):
    said = bring(
        "comparisons",
        asked(1, f"{LONG} Very tasty.", f"{LONG} Very nice."),
        asked(2, f"{LONG} It takes 42 minutes.", f"{LONG} It takes 43 minutes."),
        asked(3, "same", "same"),
    )

    assert said == "2 new comparisons in shop, 1 with the same text twice, 1 held back as near-identical"
    assert held_back(project) == 1
    assert next_for(alice, project).comparison.prompt.name == "q2"


def test_a_known_answer_is_stored_by_response_and_leaves_the_queue_alone(bring, project, alice):
    bring(
        "comparisons",
        asked(1, "wrong", "right", gold="2>1"),
        asked(1, "wrong", "right"),
        asked(2, "x", "y", "z", gold="3>1=2", purpose="training", explanation="It says why."),
    )

    gold = Comparison.objects.get(purpose="gold")
    assert [[Response.objects.get(pk=pk).text for pk in group] for group in gold.gold] == [
        ["right"],
        ["wrong"],
    ]
    training = Comparison.objects.get(purpose="training")
    assert [[Response.objects.get(pk=pk).text for pk in group] for group in training.gold] == [
        ["z"],
        ["x", "y"],
    ]
    assert training.explanation == "It says why."
    assert {(one.wanted, one.places_left) for one in (gold, training)} == {(0, 0)}
    assert Comparison.objects.get(purpose__in=["uniform", "overlap"]).prompt == gold.prompt


def test_a_row_may_ask_for_more_judgments_and_carry_a_score(bring):
    bring("comparisons", asked(1, judgments=5), asked(2, purpose="active", score=0.25))

    assert Comparison.objects.get(prompt__name="q1").wanted == 5
    active = Comparison.objects.get(prompt__name="q2")
    assert (active.purpose, active.stratum, active.score) == ("active", "active", 0.25)


def test_what_was_drawn_elsewhere_keeps_its_stratum_and_chance(bring):
    bring(
        "comparisons",
        asked(1, probability=0.02),
        asked(2, purpose="active", stratum="sampled", probability=0.4, score=0.2),
        asked(3, purpose="active", stratum="active", probability=1, score=0.1),
    )

    found = Comparison.objects.order_by("prompt__name").values_list("stratum", "probability")
    assert list(found) == [("uniform", 0.02), ("sampled", 0.4), ("active", 1)]


def test_judgments_from_elsewhere_are_preferences_of_closed_accounts(bring, project):
    at = "2025-03-01T12:30:00+00:00"
    bring(
        "judgments",
        asked(1, order="2>1", rater="Ännä", at=at, strength=2, rationale="Clearer.", scores=[2, 5]),
        asked(1, order="1=2", rater="bob"),
        asked(2, "x", "y", "z", order="3>1=2", rater="bob"),
        {"prompt": "Why?", "chosen": "yes", "rejected": "no"},
    )

    judgment = Judgment.objects.get(strength=2)
    shown = judgment.assignment.shown
    assert [Response.objects.get(pk=pk).text for pk in shown] == ["a", "b"]
    assert judgment.order == [[shown[1]], [shown[0]]]
    assert judgment.scores == [2, 5]
    assert judgment.received_at.isoformat() == at
    assert Preference.objects.used().count() == 1 + 1 + 3 + 1
    people = User.objects.filter(memberships__tags=["imported"])
    assert {person.first_name for person in people} == {"Ännä", "bob", "import"}
    assert not any(person.is_active or person.has_usable_password() for person in people)
    both = Comparison.objects.get(prompt__name="q1")
    assert (both.wanted, both.places_left, both.stratum) == (2, 0, "imported")
    pair = Judgment.objects.get(assignment__rater__first_name="import")
    assert pair.client["order_shown"] is False
    assert Preference.objects.get(judgment=pair).chosen.text == "yes"


def test_a_judgment_of_a_comparison_in_the_queue_takes_no_place(bring, project, alice):
    bring("comparisons", asked(1, judgments=1))

    bring("judgments", asked(1, order="1>2", rater="bob"))

    comparison = Comparison.objects.get()
    assert (comparison.wanted, comparison.places_left, comparison.stratum) == (2, 1, "uniform")
    assert next_for(alice, project).comparison == comparison


def test_which_side_was_first_is_drawn_where_it_is_not_known(bring):
    bring(
        "judgments",
        *[{"prompt": f"{n}?", "chosen": f"good {n}", "rejected": f"poor {n}"} for n in range(200)],
    )

    first = Counter(
        Response.objects.get(pk=judgment.assignment.shown[0]).text[:4]
        for judgment in Judgment.objects.select_related("assignment")
    )
    assert 70 < first["good"] < 130


def test_our_own_pairs_come_back_as_they_were(bring, project, tmp_path):
    rows = [
        asked(1, "x", "y", "z", order="3>1=2", rater="bob"),
        asked(2, "a", "b", order="2>1", strength=3, rater="eve"),
        asked(3, "a", "b", all_bad=True, rater="eve"),
    ]
    bring("judgments", *rows)
    call_command("export_preferences", tmp_path / "pairs.jsonl", project="shop")
    exported = (tmp_path / "pairs.jsonl").read_text()
    before = _said(project)
    for table in (Preference, Assignment, Comparison, Prompt):
        table.objects.all().delete() if table is not Assignment else _forget_judgments()

    said = bring("judgments", *exported.splitlines())

    assert said == "3 new judgments in shop"
    assert _said(project) == before


def _forget_judgments() -> None:
    Judgment.objects.all()._raw_delete("default")
    Assignment.objects.all().delete()


def _said(project) -> set:
    rows = Preference.objects.filter(judgment__assignment__comparison__project=project)
    return {
        (
            one.judgment.assignment.comparison.prompt.name,
            frozenset([one.chosen.text, one.rejected.text])
            if one.tie
            else (one.chosen.text, one.rejected.text),
            one.weight,
            one.judgment.strength,
            one.judgment.all_bad,
        )
        for one in rows.select_related("judgment__assignment__comparison__prompt", "chosen", "rejected")
    }


def test_drawing_pairs_leaves_what_was_imported_alone(bring, project):
    bring("comparisons", asked(1, "a", "b", "c"), asked(1, "a", "b"))

    made = draw_pairs(project, Prompt.objects.all(), per_prompt=9, seed=1, batch="b")

    assert made == 2  # a with c, b with c


def test_nobody_joins_by_an_import(bring, project):
    bring("judgments", asked(1, order="1>2", rater="bob"))

    assert Membership.objects.get(user__first_name="bob").user.is_active is False
