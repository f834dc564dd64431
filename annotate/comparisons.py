"""Making comparisons: which responses are put side by side, with what probability, for how many raters.

What is drawn when a comparison is made, and kept on it:

- `stratum` and `probability`. Of a pool, "uniform" ones are drawn at random and their probability is exact,
  so whatever is to hold for the pool is estimated from them, each weighted by 1 / probability. "active" ones
  have the highest scores: that is no draw, their probability is written as 1 and is no weight. "sampled" ones
  were drawn elsewhere with a chance that grows with the score; it is exact too, and by itself a weight.
- `wanted`. `overlap` raters, and on a random share of the uniform ones `overlap_judgments`, to measure
  agreement. Those have the purpose "overlap" and stay in the stratum "uniform" with their probability, as the
  coin that chose them looks at nothing.
- `place` in the queue, drawn at random. The "active" ones hand their places round among themselves, so that
  the highest score is asked first; all others keep theirs, and stay in random order.

Comparisons with a known answer (gold, training, qualification) are served by rule: they want no judgments
from the queue. Twins (see `similarity`) are made closed, so that it can be said how many were held back; only
what the queue is for is held back, for a win rate without the twins would be another one.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any, Protocol

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate import bulk
from annotate.models import ComparedResponse, Comparison, Judgment, Project, Prompt, Purpose, Response
from annotate.settings import ProjectSettings
from annotate.similarity import twins

KNOWN = (Purpose.GOLD, Purpose.TRAINING, Purpose.QUALIFICATION)  # their answer is known
ORDINARY = (Purpose.UNIFORM, Purpose.ACTIVE, Purpose.OVERLAP)  # what the queue is for
NEAR_IDENTICAL = "near-identical"
ACTIVE = "active"  # the stratum whose order the scores decide

Score = Callable[[Response, Response], float]


class Worded(Protocol):
    """What is needed of a stored response."""

    pk: Any
    text: Any
    content_hash: Any


@dataclass(slots=True, kw_only=True)
class Draft:
    """A comparison about to be queued."""

    prompt: Prompt
    responses: Sequence[Worded]
    probability: float
    place: float
    purpose: Purpose = Purpose.UNIFORM
    stratum: str = ""  # left out, the purpose
    batch: str = ""
    overlap: bool = False  # more raters judge it, to measure agreement
    judgments: int | None = None  # wanted; left out, by the project's rules
    gold: Sequence[Sequence[int]] | None = None  # response ids, best first; equals share a list
    explanation: str = ""
    score: float | None = None
    held_back: bool | None = None  # left out, it is looked at

    def check(self) -> None:
        """Refuse what raters could not be shown, or what figures could not be computed from."""
        different = {response.content_hash for response in self.responses}
        if len(different) < len(self.responses) or not 2 <= len(self.responses) <= 9:
            raise ValueError("a comparison has two to nine different responses")
        if not (0 < self.probability <= 1 and math.isfinite(self.place)):
            raise ValueError(f"probability {self.probability} must be above 0 and at most 1")
        if self.purpose in KNOWN and self.gold is None:
            raise ValueError(f"a comparison for {self.purpose} needs its known answer")


@transaction.atomic
def draw_pairs(
    project: Project,
    prompts: Iterable[Prompt],
    *,
    per_prompt: int,
    seed: int,
    batch: str,
    score: Score | None = None,
) -> int:
    """Queue pairs of each prompt's responses, without those that are queued already; returns how many.

    Without a score all are drawn uniformly. With one, each of a prompt's places goes to a uniform draw with
    the project's `uniform_share`, the others go to the highest scores; below `uniform_below` judgments all
    are uniform.
    """
    rules = project.rules
    chance = random.Random(seed)  # noqa: S311, a draw that can be repeated
    if score is not None and _judgments(project) < rules.uniform_below:
        share = 1.0
    else:
        share = 1.0 if score is None else rules.uniform_share
    drafts: list[Draft] = []
    for prompt in prompts:
        drafts += _drawn_of(prompt, per_prompt, share, score, rules, chance)
    for draft in drafts:
        draft.batch = batch
    add_comparisons(project, drafts)
    return sum(not draft.held_back for draft in drafts)


def _drawn_of(
    prompt: Prompt,
    per_prompt: int,
    share: float,
    score: Score | None,
    rules: ProjectSettings,
    chance: random.Random,
) -> list[Draft]:
    """The pairs of one prompt: drawn at random, by score, and the twins that were met on the way."""
    responses = list(prompt.responses.filter(withdrawn_at=None).order_by("pk"))
    queued = set(map(frozenset, prompt.comparisons.values_list("response_ids", flat=True)))
    pool = [pair for pair in combinations(responses, 2) if {one.pk for one in pair} not in queued]
    alike = {pair for pair in pool if twins(pair[0].text, pair[1].text, rules.near_identical)}
    count = min(per_prompt, len(pool) - len(alike))
    uniform = count if share == 1 else sum(chance.random() < share for _ in range(count))
    shuffled = chance.sample(pool, len(pool))
    drafts: list[Draft] = []
    taken: set[tuple[Response, ...]] = set()
    for place, pair in enumerate(shuffled):
        held_back = pair in alike  # noted where it would have been drawn
        if len(taken) == uniform and not (held_back and place < per_prompt):
            continue
        if not held_back:
            taken.add(pair)
        drafts.append(
            Draft(
                prompt=prompt,
                responses=pair,
                probability=1 if held_back else count * share / (len(pool) - len(alike)),
                place=chance.random(),
                overlap=drawn_for_overlap(rules, chance),
                score=score and score(*pair),
                held_back=held_back,
            )
        )
    if score is not None:
        rest = sorted(
            (pair for pair in shuffled if pair not in taken | alike), key=lambda pair: -score(*pair)
        )
        drafts += [
            Draft(
                prompt=prompt,
                responses=pair,
                probability=1,
                place=chance.random(),
                purpose=Purpose.ACTIVE,
                score=score(*pair),
                held_back=False,
            )
            for pair in rest[: count - uniform]
        ]
    return drafts


def drawn_for_overlap(rules: ProjectSettings, chance: random.Random) -> bool:
    """Toss the coin that lets more raters judge a uniformly drawn comparison."""
    return chance.random() < rules.overlap_share


def add_comparison(
    project: Project,
    prompt: Prompt,
    responses: Iterable[Response],
    *,
    probability: float,
    place: float,
    purpose: Purpose = Purpose.UNIFORM,
    batch: str = "",
    overlap: bool = False,
    gold: Sequence[Sequence[int]] | None = None,
    explanation: str = "",
    score: float | None = None,
) -> Comparison:
    """Queue one comparison of these responses."""
    draft = Draft(
        prompt=prompt,
        responses=list(responses),
        probability=probability,
        place=place,
        purpose=purpose,
        batch=batch,
        overlap=overlap,
        gold=gold,
        explanation=explanation,
        score=score,
    )
    return Comparison.objects.get(pk=add_comparisons(project, [draft])[0])


@transaction.atomic
def add_comparisons(project: Project, drafts: Iterable[Draft]) -> Sequence[int]:
    """Queue many; their keys, in the order given."""
    rules, now = project.rules, timezone.now()
    rows = [_row(project, draft, rules, now) for draft in drafts]
    scored = [row for row in rows if row["stratum"] == ACTIVE and row["score"] is not None]
    for row, place in zip(scored, by_score([(row["score"], row["place"]) for row in scored]), strict=True):
        row["place"] = place
    if not rows:
        return []
    keys = bulk.insert_values(Comparison, tuple(rows[0]), [tuple(row.values()) for row in rows])
    bulk.insert_values(
        ComparedResponse,
        ("comparison_id", "response_id", "position"),
        [
            (key, response, place)
            for key, row in zip(keys, rows, strict=True)
            for place, response in enumerate(row["response_ids"])
        ],
    )
    return keys


def _row(project: Project, draft: Draft, rules: ProjectSettings, now: datetime) -> dict[str, Any]:
    """A comparison's attributes."""
    draft.check()
    purpose, wanted = draft.purpose, rules.overlap
    stratum = draft.stratum or purpose
    if purpose in KNOWN:
        wanted = 0
    elif draft.judgments is not None:
        wanted = draft.judgments
    elif draft.overlap and purpose == Purpose.UNIFORM and rules.overlap_judgments > wanted:
        purpose, wanted = Purpose.OVERLAP, rules.overlap_judgments
    if draft.held_back is None:
        draft.held_back = purpose in ORDINARY and all_alike(
            [response.text for response in draft.responses], rules.near_identical
        )
    return {
        "project_id": project.pk,
        "prompt_id": draft.prompt.pk,
        "route": "\n".join(sorted(tag for tag in draft.prompt.tags if tag.startswith(rules.routes))),
        "response_ids": sorted(response.pk for response in draft.responses),
        "purpose": str(purpose),
        "stratum": str(stratum),
        "probability": draft.probability,
        "place": draft.place,
        "batch": draft.batch,
        "wanted": wanted,
        "places_left": wanted,
        "gold": draft.gold,
        "explanation": draft.explanation,
        "score": draft.score,
        "closed_at": now if draft.held_back else None,
        "closed_reason": NEAR_IDENTICAL if draft.held_back else "",
    }


def by_score(scored: Sequence[tuple[float, float]]) -> list[float]:
    """The places of scored comparisons, given as (score, place), handed round: the highest gets the first."""
    order = sorted(range(len(scored)), key=lambda number: -scored[number][0])
    found = [0.0] * len(scored)
    for number, place in zip(order, sorted(place for _, place in scored), strict=True):
        found[number] = place
    return found


def scores_decide(project: Project) -> bool:
    """Whether the project asks by score: not where all is drawn at random, nor while judgments are few."""
    return project.rules.uniform_share < 1 and _judgments(project) >= project.rules.uniform_below


def waiting_for_scores(project: Project) -> QuerySet[Comparison]:
    """What waits for raters in the stratum "active"."""
    return project.comparisons.filter(
        purpose=Purpose.ACTIVE, stratum=ACTIVE, closed_at=None, places_left__gt=0
    )


@transaction.atomic
def rescore(project: Project, scores: Mapping[int, float]) -> int:
    """Store new scores of those that still wait, and let the highest be asked first; returns how many."""
    waiting = waiting_for_scores(project).select_for_update().order_by("pk")
    rows = [(pk, place) for pk, place in waiting.values_list("pk", "place") if pk in scores]
    places = by_score([(scores[pk], place) for pk, place in rows])
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE annotate_comparison SET score = %s, place = %s WHERE id = %s",
            [(scores[pk], place, pk) for (pk, _), place in zip(rows, places, strict=True)],
        )
    return len(rows)


def all_alike(texts: Sequence[str], threshold: float) -> bool:
    """Whether there is nothing to choose: every two of the texts are twins."""
    return all(twins(one, other, threshold) for one, other in combinations(texts, 2))


def held_back(project: Project) -> int:
    """How many comparisons never reach the queue as their responses are near-identical."""
    return project.comparisons.filter(closed_reason=NEAR_IDENTICAL).count()


def _judgments(project: Project) -> int:
    return Judgment.objects.standing().filter(assignment__comparison__project=project).count()
