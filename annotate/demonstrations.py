"""What an admin asks to be written, and demonstrations as files: out, in, and as responses to compare."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from annotate.differences import difference, text_before
from annotate.exchange import ImportFileError
from annotate.models import (
    Demonstration,
    DemonstrationState,
    DemonstrationVersion,
    Project,
    Prompt,
    Response,
    User,
    content_hash,
)
from annotate.writing import PREPARED, begun_count, close
from lm import records

BATCH = 500  # rows of one statement
LONGEST_NAME = 200  # of a prompt
WIDEST = 6  # bytes that a character takes in a line at most, as \u0001 does


T = TypeVar("T")


class AskingError(ValueError):
    """More was asked than there is; the message says how much there is."""


# What is asked


def figures(project: Project) -> dict[str, int]:
    """How many demonstrations are wanted, and how many stand where."""
    written = Demonstration.objects.filter(project=project).exclude(PREPARED)
    counts: dict[str, int] = written.aggregate(
        imported=Count("pk", filter=Q(imported=True)),
        **{state: Count("pk", filter=Q(state=state)) for state in DemonstrationState.values},
    )
    asked = Prompt.objects.filter(project=project, withdrawn_at=None, demonstrations_wanted__gt=0)
    wanted = asked.annotate(begun=begun_count()).aggregate(
        wanted=Sum("demonstrations_wanted"), taken=Sum("begun"), prompts=Count("pk")
    )
    free = (wanted["wanted"] or 0) - (wanted["taken"] or 0)
    return {**counts, "wanted": wanted["wanted"] or 0, "prompts": wanted["prompts"], "waiting": max(0, free)}


def free_prompts(project: Project, *, edited: bool) -> QuerySet[Prompt]:
    """Prompts to train on that neither want a demonstration nor have one; to edit, those with a response."""
    has = Demonstration.objects.filter(prompt=OuterRef("pk"), state=DemonstrationState.ACCEPTED)
    found = Prompt.objects.filter(
        ~Exists(has), project=project, split="train", withdrawn_at=None, demonstrations_wanted=0
    )
    return found.filter(Exists(_sources(project).filter(prompt=OuterRef("pk")))) if edited else found


@transaction.atomic
def ask_for(project: Project, count: int, *, people: int, edited: bool, seed: int | None = None) -> None:
    """Let so many prompts, drawn at random, each want a demonstration of so many people.

    To be edited, each is given a response of the prompt's, different ones as far as there are.
    """
    free = list(free_prompts(project, edited=edited).order_by("pk").values_list("pk", flat=True))
    if count > len(free):
        raise AskingError(
            f"{count} prompts are asked for, but {len(free)} of the training split are free"
            + (" and have a response to edit." if edited else ".")
        )
    chance = random.Random(seed)  # noqa: S311, a draw that can be repeated
    for drawn in _batches(chance.sample(free, count)):
        Prompt.objects.filter(pk__in=drawn).update(demonstrations_wanted=people)
        if edited:
            Demonstration.objects.bulk_create(_prepared(project, drawn, people, chance))


def _sources(project: Project) -> QuerySet[Response]:
    """Responses that a writer may edit: no person's words, and none in which a model names itself."""
    found = Response.objects.filter(prompt__project=project, author=None, withdrawn_at=None)
    for mask in project.rules.masks:
        found = found.exclude(text__icontains=mask)
    return found.order_by("pk")


def _prepared(
    project: Project, prompts: Iterable[int], people: int, chance: random.Random
) -> Iterator[Demonstration]:
    sources: dict[int, list[int]] = {}
    for prompt, response in _sources(project).filter(prompt__in=prompts).values_list("prompt", "pk"):
        sources.setdefault(prompt, []).append(response)
    for prompt, responses in sources.items():
        chance.shuffle(responses)
        for number in range(people):
            source = responses[number % len(responses)]
            yield Demonstration(project=project, prompt_id=prompt, source_id=source)


@transaction.atomic
def call_off(project: Project) -> int:
    """Ask for no more than people have begun; returns how many places that closes."""
    asked = Prompt.objects.filter(project=project, demonstrations_wanted__gt=0)
    open_ones = asked.annotate(begun=begun_count()).filter(demonstrations_wanted__gt=F("begun"))
    closed = 0
    changed = []
    for prompt in open_ones.select_for_update(of=("self",)):
        begun = prompt.begun
        closed += prompt.demonstrations_wanted - begun
        prompt.demonstrations_wanted = begun
        changed.append(prompt)
    Prompt.objects.bulk_update(changed, ["demonstrations_wanted"], batch_size=BATCH)
    Demonstration.objects.filter(PREPARED, project=project, state=DemonstrationState.OPEN).delete()
    return closed


@transaction.atomic
def withdraw(demonstration: Demonstration, reason: str) -> bool:
    """Take a demonstration out, wherever it stands; its place opens again. False if it was out already."""
    rows = Demonstration.objects.select_related("prompt").select_for_update(of=("self",))
    row = rows.get(pk=demonstration.pk)
    if row.state in (DemonstrationState.GIVEN_UP, DemonstrationState.REJECTED):
        return False
    close(row, DemonstrationState.GIVEN_UP, reason=f"Withdrawn: {reason}")
    return True


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, as many together as one statement takes."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


# As responses to compare


def as_response(demonstration: Demonstration) -> Response:
    """The response with an accepted demonstration's words, which its author never rates."""
    if demonstration.state != DemonstrationState.ACCEPTED:
        raise ValueError(f"{demonstration} is {demonstration.state}; only an accepted one can be compared")
    text = demonstration.versions.latest("number").text
    response, _ = Response.objects.get_or_create(
        prompt_id=demonstration.prompt_id,
        content_hash=content_hash(text),
        defaults={"text": text, "author_id": demonstration.author_id},
    )
    return response


def own_words(rater: User | int) -> QuerySet[Response]:
    """Responses with words that this person wrote: as their author, or sent as a demonstration of theirs.

    A text that was sampled too, and left as it was, has no author; so the words are compared as well.
    """
    theirs = DemonstrationVersion.objects.filter(
        demonstration__author=rater, demonstration__prompt=OuterRef("prompt"), text=OuterRef("text")
    )
    return Response.objects.filter(Q(author=rater) | Exists(theirs))


def with_own_words(rater: User | int) -> Exists:
    """Which comparisons hold words of this person, as part of a query for comparisons."""
    return Exists(own_words(rater).filter(comparisons=OuterRef("pk")))


# Out


def demonstrations(project: Project) -> Iterator[records.Demonstration]:
    """Every accepted demonstration of the project, in the order they came."""
    accepted = Demonstration.objects.filter(
        project=project, state=DemonstrationState.ACCEPTED, prompt__withdrawn_at=None
    )
    rows = accepted.select_related("prompt", "source").order_by("pk")
    for row in rows.prefetch_related("versions__guideline", "versions__review").iterator(chunk_size=BATCH):
        yield _that_fits_a_line(_record(row, project))


def _record(row: Demonstration, project: Project) -> records.Demonstration:
    versions = list(row.versions.all())
    last = versions[-1]
    return records.Demonstration(
        messages=tuple(records.Message(**message) for message in row.prompt.messages),
        response=last.text,
        prompt_id=row.prompt.name,
        split=row.prompt.split,
        source=row.source.text if row.source else text_before(last.difference) if last.difference else None,
        author=project.pseudonym(row.author_id) if row.author_id else None,
        guideline_version=last.guideline.version if last.guideline else None,
        versions=tuple(_version(version) for version in versions),
    )


def _version(version: DemonstrationVersion) -> records.Version:
    review = getattr(version, "review", None)
    return records.Version(
        text=version.text,
        written_at=version.written_at.isoformat(),
        guideline_version=version.guideline.version if version.guideline else None,
        active_ms=version.active_ms,
        verdict=review.verdict if review else None,
        note=review.note if review else "",
    )


def _that_fits_a_line(record: records.Demonstration) -> records.Demonstration:
    """Less what nobody trains on, where a line would grow beyond what readers take."""
    for less in ({}, {"versions": ()}, {"versions": (), "source": None}):
        found = replace(record, **less)
        if _characters(found.to_json()) * WIDEST < records.LINE_LIMIT:
            return found
    return found


def _characters(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_characters(key) + _characters(item) for key, item in value.items())
    return sum(map(_characters, value)) if isinstance(value, list) else len(str(value)) + 4


# In


class NumberedLines:
    """The lines of a file, and the number of the one that was given last."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.name, self.number = file, file.name, 0

    def __iter__(self) -> Iterator[bytes]:
        """Each line, never much more of it than a record may have."""
        while line := self.file.readline(records.LINE_LIMIT + 6):
            self.number += 1
            yield line


@transaction.atomic
def import_demonstrations(project: Project, path: Path) -> int:
    """Add the demonstrations of a file, accepted at once, all or none; returns how many are new.

    Known are those whose prompt has an accepted one with the same words.
    """
    with path.open("rb") as file:
        lines = NumberedLines(file)
        found = ((lines.number, record) for record in records.read(lines, records.Demonstration))
        return sum(_import(project, batch, path) for batch in _batches(found))


def _import(project: Project, batch: Iterable[tuple[int, records.Demonstration]], path: Path) -> int:
    rows = [(number, record, _prompt_row(project, record)) for number, record in batch]
    for number, record, _ in rows:
        _refuse_what_nobody_can_learn(record, f"{path}, line {number}")
    prompts = _prompts(project, [(number, prompt) for number, _, prompt in rows], path)
    known = {
        (version.demonstration.prompt_id, content_hash(version.text))
        for version in DemonstrationVersion.objects.filter(
            demonstration__prompt__in=prompts.values(), demonstration__state=DemonstrationState.ACCEPTED
        ).select_related("demonstration")
    }
    sources = {
        (response.prompt_id, response.content_hash): response
        for response in Response.objects.filter(prompt__in=prompts.values(), author=None)
    }
    fresh: list[DemonstrationVersion] = []
    for _, record, prompt_row in rows:
        prompt = prompts[prompt_row.content_hash]
        key = prompt.pk, content_hash(record.response)
        if key in known:
            continue
        known.add(key)
        source = None if record.source is None else sources.get((prompt.pk, content_hash(record.source)))
        fresh.append(_version_row(Demonstration(project=project, prompt=prompt, source=source), record))
    Demonstration.objects.bulk_create(version.demonstration for version in fresh)
    DemonstrationVersion.objects.bulk_create(fresh)
    return len(fresh)


def _version_row(demonstration: Demonstration, record: records.Demonstration) -> DemonstrationVersion:
    demonstration.state, demonstration.imported = DemonstrationState.ACCEPTED, True
    demonstration.closed_at = timezone.now()
    return DemonstrationVersion(
        demonstration=demonstration,
        number=1,
        text=record.response,
        difference=None if record.source is None else difference(record.source, record.response),
        client_key=uuid4(),
    )


def _refuse_what_nobody_can_learn(record: records.Demonstration, place: str) -> None:
    if record.messages[-1].role != "user":
        raise ImportFileError(
            f"{place}: messages: the last one is of the {record.messages[-1].role}, not the user"
        )
    if not record.response.strip():
        raise ImportFileError(f"{place}: response: is blank")
    if len(record.prompt_id or "") > LONGEST_NAME:
        raise ImportFileError(
            f"{place}: prompt_id: has {len(record.prompt_id or '')} letters, over {LONGEST_NAME}"
        )


def _prompt_row(project: Project, record: records.Demonstration) -> Prompt:
    messages = [message.to_json() for message in record.messages]
    digest = content_hash(messages)
    return Prompt(
        project=project,
        name=record.prompt_id or f"demonstration-{digest[:12]}",
        messages=messages,
        cluster=digest,
        split=project.split_of(digest),
        content_hash=digest,
    )


def _prompts(project: Project, rows: list[tuple[int, Prompt]], path: Path) -> dict[str, Prompt]:
    """The prompts of these lines by content, made where they are new."""
    same = project.prompts.filter(content_hash__in={prompt.content_hash for _, prompt in rows})
    found = {prompt.content_hash: prompt for prompt in same}
    names = set(project.prompts.filter(name__in={p.name for _, p in rows}).values_list("name", flat=True))
    fresh = {}
    for number, prompt in rows:
        if prompt.content_hash in found or prompt.content_hash in fresh:
            continue
        if prompt.name in names:
            raise ImportFileError(
                f"{path}, line {number}: "
                f"prompt_id {prompt.name!r} is taken by another prompt of {project.slug}"
            )
        names.add(prompt.name)
        fresh[prompt.content_hash] = prompt
    Prompt.objects.bulk_create(fresh.values())
    return {**found, **fresh}
