import random

import pytest

from annotate import bulk
from annotate.assignment import next_for
from annotate.comparisons import (
    Draft,
    add_comparison,
    add_comparisons,
    draw_pairs,
    held_back,
    rescore,
    scores_decide,
)
from annotate.exchange import add_prompt
from annotate.models import Comparison, Judgment, Purpose, Response, content_hash
from lm import records

LONG = "It takes about an hour, and you can leave the rest to the oven while you set the table. " * 4


@pytest.fixture
def prompt_with(project):
    """Make a prompt with these responses."""

    def make(number: int, *texts: str, tags: tuple[str, ...] = ()):
        message = records.Message(role="user", content=f"Question {number}?")
        line = records.Prompt(prompt_id=f"p{number}", messages=(message,), tags=tags)
        prompt, _ = add_prompt(project, line)
        for text in texts:
            Response.objects.create(prompt=prompt, text=text, content_hash=content_hash(text))
        return prompt

    return make


def settings(project, **values):
    project.settings = values
    project.save()


def test_a_comparison_keeps_its_responses_ids_in_order(comparison):
    members = comparison.comparedresponse_set.values_list("response_id", flat=True)

    assert comparison.response_ids == sorted(comparison.response_ids) == list(members)


def test_near_identical_responses_never_reach_the_queue_and_are_counted(project, prompt_with, alice):
    prompt = prompt_with(1, f"{LONG} Very tasty.", f"{LONG} Very nice.")

    assert draw_pairs(project, [prompt], per_prompt=1, seed=1, batch="b") == 0

    assert held_back(project) == 1
    assert next_for(alice, project) is None
    assert Comparison.objects.get().closed_reason == "near-identical"


def test_the_probability_of_a_pair_is_that_among_those_that_are_not_twins(project, prompt_with):
    prompt = prompt_with(1, f"{LONG} Very tasty.", f"{LONG} Very nice.", "Short.", "Another.")

    draw_pairs(project, [prompt], per_prompt=2, seed=1, batch="b")

    drawn = Comparison.objects.filter(closed_at=None)
    assert [one.probability for one in drawn] == pytest.approx([2 / 5] * 2)


def test_uniform_draws_are_as_likely_as_they_say(project, prompt_with):
    settings(project, uniform_share=0.4, uniform_below=0)
    counts = dict.fromkeys(range(6), 0)
    for number in range(300):
        prompt = prompt_with(number, "a", "b", "c", "d")
        draw_pairs(project, [prompt], per_prompt=2, seed=number, batch="b", score=lambda one, other: 1.0)
        ids = sorted(prompt.responses.values_list("pk", flat=True))
        pairs = [(one, other) for place, one in enumerate(ids) for other in ids[place + 1 :]]
        for comparison in prompt.comparisons.filter(stratum="uniform"):
            assert comparison.probability == pytest.approx(2 * 0.4 / 6)
            counts[pairs.index(tuple(comparison.response_ids))] += 1

    assert sum(counts.values()) / 300 == pytest.approx(0.8, abs=0.12)
    assert all(count / 300 == pytest.approx(2 * 0.4 / 6, abs=0.06) for count in counts.values())


def test_what_is_not_uniform_has_the_highest_scores(project, prompt_with):
    settings(project, uniform_share=0, uniform_below=0)
    prompt = prompt_with(1, "a", "bb", "ccc", "dddd")

    draw_pairs(
        project,
        [prompt],
        per_prompt=2,
        seed=1,
        batch="b",
        score=lambda one, other: len(one.text + other.text),
    )

    found = Comparison.objects.order_by("-score")
    assert [one.score for one in found] == [7, 6]
    assert {(one.purpose, one.stratum) for one in found} == {("active", "active")}


def test_all_is_uniform_while_there_are_few_judgments(project, prompt_with):
    settings(project, uniform_share=0, uniform_below=1)
    prompt = prompt_with(1, "a", "b", "c")

    draw_pairs(project, [prompt], per_prompt=2, seed=1, batch="b", score=lambda one, other: 1.0)

    assert not Judgment.objects.exists()
    assert set(Comparison.objects.values_list("stratum", "probability")) == {("uniform", 2 / 3)}


def test_a_random_share_is_judged_by_more_raters_and_stays_uniform(project, prompt_with):
    settings(project, overlap_share=0.3, overlap_judgments=3)
    prompts = [prompt_with(number, "a", "b") for number in range(400)]

    draw_pairs(project, prompts, per_prompt=1, seed=1, batch="b")

    shared = Comparison.objects.filter(purpose=Purpose.OVERLAP)
    assert shared.count() / 400 == pytest.approx(0.3, abs=0.07)
    assert set(shared.values_list("stratum", "probability", "wanted", "places_left")) == {
        ("uniform", 1, 3, 3)
    }
    assert set(Comparison.objects.exclude(pk__in=shared).values_list("wanted", flat=True)) == {1}
    places = list(Comparison.objects.values_list("place", flat=True))
    assert len(set(places)) == 400
    assert sum(places) / 400 == pytest.approx(0.5, abs=0.05)


def test_a_known_answer_wants_no_judgments_from_the_queue(project, prompt_with, alice):
    prompt = prompt_with(1, "a", "b")
    one, other = prompt.responses.all()

    gold = add_comparison(
        project,
        prompt,
        [one, other],
        probability=1,
        place=0,
        purpose=Purpose.GOLD,
        gold=[[other.pk], [one.pk]],
    )

    assert (gold.wanted, gold.places_left, gold.gold) == (0, 0, [[other.pk], [one.pk]])
    with pytest.raises(ValueError, match="needs its known answer"):
        add_comparison(project, prompt, [one, other], probability=1, place=0, purpose=Purpose.GOLD)


def test_a_comparison_is_routed_by_its_prompts_tags(project, prompt_with):
    settings(project, routes=["lang:", "skill:"])
    prompt = prompt_with(1, "a", "b", tags=("skill:code", "lang:de", "topic:food"))

    draw_pairs(project, [prompt], per_prompt=1, seed=1, batch="b")

    assert Comparison.objects.get().route == "lang:de\nskill:code"


def test_withdrawn_responses_are_not_compared(project, prompt_with):
    from django.utils import timezone

    prompt = prompt_with(1, "a", "b", "c")
    prompt.responses.filter(text="c").update(withdrawn_at=timezone.now())

    assert draw_pairs(project, [prompt], per_prompt=9, seed=1, batch="b") == 1


def test_many_at_once_are_stored_as_one_by_one(project, prompt_with):
    chance = random.Random(1)
    prompts = [prompt_with(number, "a", "b") for number in range(bulk.FEW + 10)]
    drafts = [
        Draft(
            prompt=prompt,
            responses=list(prompt.responses.all()),
            probability=1,
            place=chance.random(),
            batch="many",
        )
        for prompt in prompts
    ]

    many = add_comparisons(project, drafts)
    one = add_comparison(project, prompts[0], drafts[0].responses, probability=1, place=0.5, batch="many")

    assert list(many) == sorted(many)
    assert one.pk > many[-1]
    stored = Comparison.objects.get(pk=many[0])
    fields = [
        field.attname
        for field in Comparison._meta.concrete_fields
        if field.attname not in ("id", "place", "created_at")
    ]
    assert {name: getattr(stored, name) for name in fields} == {name: getattr(one, name) for name in fields}
    assert list(stored.responses.order_by("pk")) == drafts[0].responses


@pytest.fixture
def scored(project, prompt_with):
    """Queue comparisons at these places with these scores, in a stratum."""

    def queue(stratum: str, *places_and_scores):
        prompt = prompt_with(Comparison.objects.count(), *(f"{stratum} {n}" for n in range(20)))
        texts = list(prompt.responses.order_by("pk"))
        purpose = Purpose.UNIFORM if stratum == "uniform" else Purpose.ACTIVE
        drafts = [
            Draft(
                prompt=prompt,
                responses=texts[2 * number : 2 * number + 2],
                probability=1,
                place=place,
                purpose=purpose,
                stratum=stratum,
                score=score,
            )
            for number, (place, score) in enumerate(places_and_scores)
        ]
        return list(add_comparisons(project, drafts))

    return queue


def test_of_active_ones_the_highest_score_gets_the_first_of_their_places(scored):
    scored("uniform", (0.5, 0.1), (0.2, 0.0), (0.3, None))
    scored("sampled", (0.9, 9.0), (0.8, 8.0))
    active = scored("active", (0.1, 1.0), (0.7, 3.0), (0.4, 2.0), (0.6, None))

    places = dict(Comparison.objects.filter(stratum="active").values_list("pk", "place"))
    assert [places[pk] for pk in active] == [0.7, 0.1, 0.4, 0.6]
    rest = Comparison.objects.exclude(stratum="active").order_by("pk").values_list("place", flat=True)
    assert list(rest) == [0.5, 0.2, 0.3, 0.9, 0.8]


def test_new_scores_move_only_what_still_waits(project, scored, alice, bob):
    uniform = scored("uniform", (0.5, None))
    active = scored("active", (0.1, 4.0), (0.2, 3.0), (0.3, 2.0), (0.4, 1.0))
    leased = next_for(alice, project)
    assert leased.comparison_id == active[0]
    Comparison.objects.filter(pk=active[3]).update(closed_at=leased.offered_at)

    moved = rescore(project, {pk: float(number) for number, pk in enumerate([*active, *uniform])})

    assert moved == 2
    assert next_for(bob, project).comparison_id == active[2]
    found = dict(Comparison.objects.values_list("pk", "place"))
    assert [found[pk] for pk in (*active, *uniform)] == [0.1, 0.3, 0.2, 0.4, 0.5]
    scores = dict(Comparison.objects.values_list("pk", "score"))
    assert [scores[pk] for pk in (*active, *uniform)] == [4.0, 1.0, 2.0, 1.0, None]


@pytest.mark.parametrize(
    ("rules", "decide"),
    [
        ({"uniform_below": 0}, True),
        ({"uniform_below": 1}, False),
        ({"uniform_below": 0, "uniform_share": 1}, False),
    ],
)
def test_scores_decide_once_there_are_judgments_and_not_all_is_random(project, rules, decide):
    settings(project, **rules)
    assert scores_decide(project) is decide
