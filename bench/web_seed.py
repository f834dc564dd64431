"""Fills a database for `bench.web`: so many comparisons, so many raters; prints their sign-in links.

With `count` it reads the database afterwards: the keys of stored judgments, and what there is twice.
"""

import json
import os
import random
import sys
from collections import Counter

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection, transaction

from annotate.management.commands.signin_link import link_for
from annotate.models import (
    Assignment,
    ComparedResponse,
    Comparison,
    Guideline,
    Judgment,
    Project,
    Prompt,
    Response,
)

TEXT = "It takes about an hour, and you can leave the rest to the oven. " * 8


@transaction.atomic
def seed(comparisons: int) -> None:
    chance = random.Random(1)
    project = Project.objects.create(slug="bench", name="Bench")
    Guideline.objects.create(project=project, version=1, text="Pick what is right. " * 60)
    prompts = Prompt.objects.bulk_create(
        Prompt(
            project=project,
            name=f"p{number}",
            messages=[{"role": "user", "content": f"Question {number}?"}],
            cluster=str(number),
            split="train",
            content_hash=str(number),
        )
        for number in range(comparisons)
    )
    made = Comparison.objects.bulk_create(
        Comparison(
            project=project, prompt=prompt, probability=1, place=chance.random(), wanted=1, places_left=1
        )
        for prompt in prompts
    )
    responses = Response.objects.bulk_create(
        Response(prompt=prompt, text=f"{side} {TEXT}", content_hash=side)
        for prompt in prompts
        for side in "ab"
    )
    for number, comparison in enumerate(made):
        comparison.response_ids = [response.pk for response in responses[2 * number : 2 * number + 2]]
    Comparison.objects.bulk_update(made, ["response_ids"], batch_size=500)
    ComparedResponse.objects.bulk_create(
        ComparedResponse(comparison=comparison, response=responses[2 * number + side], position=side)
        for number, comparison in enumerate(made)
        for side in (0, 1)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as a database at work does by itself


def count() -> dict[str, object]:
    """What is there, and what is there more often than it may be."""
    queue = Assignment.objects.filter(rule="queue").exclude(state="expired")
    of_comparison = Counter(queue.values_list("comparison", flat=True))
    of_rater = Counter(queue.values_list("comparison", "rater"))
    double = sum(n > 1 for n in of_comparison.values()) + sum(n > 1 for n in of_rater.values())
    keys = Judgment.objects.filter(counted=True).values_list("client_key", flat=True)
    return {"keys": [str(key) for key in keys], "double": double}


if __name__ == "__main__" and sys.argv[1] == "count":
    print(json.dumps(count()))
elif __name__ == "__main__":
    seed(int(sys.argv[1]))
    for number in range(int(sys.argv[2])):
        print(link_for(f"rater{number}", "bench", "rater"))
