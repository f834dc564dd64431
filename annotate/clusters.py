"""Clusters of near-duplicate prompts, each in one split, so that nothing is tested on what was learned.

A prompt that was judged stays in its split, for its judgments may have been learned from; its twins come to
it. Where two judged twins are in different splits there is nothing to be done but to say so.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Exists, OuterRef

from annotate.models import Assignment, AssignmentState, Project, Prompt
from annotate.twins_config import TwinsConfig
from runs.models import Run

KIND = "prompt-twins"


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done about near-duplicates."""

    clusters: int  # of two prompts and more
    prompts: int  # in them
    moved: int  # to another split
    stuck: list[str]  # prompts judged in another split than their twins


def start(project: Project, *, started_by: str) -> Run:
    """Queue the search for near-duplicates; RefusedError where one is under way."""
    return Run.objects.start(
        KIND,
        config=TwinsConfig(project=project.slug),
        scope=project.scope,
        slot=f"{KIND}:{project.slug}",
        started_by=started_by,
    )


def write_prompts(project: Project, file: Path) -> None:
    """Write every prompt's words for the program that compares them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = project.prompts.order_by("pk").values_list("pk", "messages")
    with file.open("wb") as out:
        for pk, messages in rows.iterator(chunk_size=2000):
            text = "\n".join(message["content"] for message in messages)
            out.write(json.dumps([pk, text]).encode() + b"\n")


def apply(project: Project, clusters: Iterable[Sequence[int]]) -> Moved:
    """Give the prompts of a cluster one name and one split; called in a transaction."""
    judgments = Assignment.objects.filter(comparison__prompt=OuterRef("pk"), state=AssignmentState.JUDGED)
    prompts_of = project.prompts.annotate(judged=Exists(judgments))
    count = prompts = moved = 0
    stuck: list[str] = []
    for group in clusters:
        members = list(prompts_of.filter(pk__in=group).order_by("created_at", "pk"))
        if len(members) < 2:
            continue
        count, prompts = count + 1, prompts + len(members)
        judged = [prompt for prompt in members if prompt.judged]
        first = (judged or members)[0]
        for prompt in members:
            stays = prompt in judged
            if stays and prompt.split != first.split:
                stuck.append(prompt.name)
            split = prompt.split if stays else first.split
            moved += split != prompt.split
            if (prompt.cluster, prompt.split) != (first.cluster, split):
                Prompt.objects.filter(pk=prompt.pk).update(cluster=first.cluster, split=split)
    return Moved(count, prompts, moved, stuck)
