"""Fills a database for `bench.judging`: so many comparisons, so many raters; prints their sign-in links."""

import os
import random
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import transaction

from annotate.management.commands.signin_link import link_for
from annotate.models import ComparedResponse, Comparison, Guideline, Project, Prompt, Response

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
            project=project, prompt=prompt, probability=1, place=chance.random(), wanted=3, places_left=3
        )
        for prompt in prompts
    )
    responses = Response.objects.bulk_create(
        Response(prompt=prompt, text=f"{side} {TEXT}", content_hash=side)
        for prompt in prompts
        for side in "ab"
    )
    ComparedResponse.objects.bulk_create(
        ComparedResponse(comparison=comparison, response=responses[2 * number + side], position=side)
        for number, comparison in enumerate(made)
        for side in (0, 1)
    )


if __name__ == "__main__":
    seed(int(sys.argv[1]))
    for number in range(int(sys.argv[2])):
        print(link_for(f"rater{number}", "bench", "rater"))
