"""Making comparisons: which responses are put side by side, and with what probability."""

import math
import random
from collections.abc import Iterable
from itertools import combinations

from django.db import transaction

from annotate.models import ComparedResponse, Comparison, Project, Prompt, Purpose, Response


@transaction.atomic
def draw_pairs(project: Project, prompts: Iterable[Prompt], *, per_prompt: int, seed: int, batch: str) -> int:
    """Draw pairs of each prompt's responses uniformly, without those that are queued already.

    Every pair of a prompt has the same chance, which is kept with the comparison,
    and so is its place in the queue. Returns how many comparisons were made.
    """
    chance = random.Random(seed)  # noqa: S311, a draw that can be repeated
    made = 0
    for prompt in prompts:
        responses = list(Response.objects.filter(prompt=prompt).order_by("pk"))
        queued = {
            frozenset(comparison.responses.values_list("pk", flat=True))
            for comparison in Comparison.objects.filter(prompt=prompt)
        }
        pool = [pair for pair in combinations(responses, 2) if {one.pk for one in pair} not in queued]
        drawn = chance.sample(pool, min(per_prompt, len(pool)))
        for pair in drawn:
            add_comparison(
                project, prompt, pair, probability=len(drawn) / len(pool), place=chance.random(), batch=batch
            )
        made += len(drawn)
    return made


def add_comparison(
    project: Project,
    prompt: Prompt,
    responses: Iterable[Response],
    *,
    probability: float,
    place: float,
    purpose: Purpose = Purpose.UNIFORM,
    batch: str = "",
) -> Comparison:
    """Queue one comparison of these responses."""
    responses = sorted(responses, key=lambda response: response.pk)
    if (
        len({response.content_hash for response in responses}) < len(responses)
        or not 2 <= len(responses) <= 9
    ):
        raise ValueError("a comparison has two to nine different responses")
    if not (0 < probability <= 1 and math.isfinite(place)):
        raise ValueError(f"probability {probability} must be above 0 and at most 1")
    wanted = project.rules.overlap
    comparison = Comparison.objects.create(
        project=project,
        prompt=prompt,
        purpose=purpose,
        stratum=purpose,
        probability=probability,
        place=place,
        batch=batch,
        wanted=wanted,
        places_left=wanted,
    )
    ComparedResponse.objects.bulk_create(
        ComparedResponse(comparison=comparison, response=response, position=position)
        for position, response in enumerate(responses)
    )
    return comparison
