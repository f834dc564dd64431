"""Bring checked rows into a project, some hundred in a transaction, so that raters can judge meanwhile.

Every row is looked up before it is stored: a file that comes twice, or a second time after it was stopped
half way, adds what is missing and nothing else.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate import bulk
from annotate.comparisons import KNOWN, Draft, add_comparisons, drawn_for_overlap
from annotate.import_records import parse_order
from annotate.models import Comparison, Project, Prompt, Purpose, Response, content_hash
from annotate.retries import retried

BATCH = 500  # rows of one transaction
CONFLICTS = 20  # kept to be shown

Row = dict[str, Any]
Rows = Iterable[tuple[int, Row]]


@dataclass(slots=True)
class Tally:
    """What became of the rows: each is counted once, as new, known, identical or refused."""

    rows: int = 0
    new: int = 0
    known: int = 0  # was there already
    identical: int = 0  # says the same text twice: there is nothing to compare
    refused: int = 0  # names a prompt_id that is taken
    held_back: int = 0  # of the new ones: near-identical, so never served
    prompts: int = 0  # new ones
    responses: int = 0  # new ones
    splits: Counter[str] = field(default_factory=Counter)  # of the new prompts
    conflicts: list[dict[str, Any]] = field(default_factory=list)  # the first of the refused

    def refuse(self, line: int, name: str) -> None:
        """Count a row whose prompt can't be stored."""
        self.refused += 1
        problem = f"{name!r} is taken by another prompt of the project"
        self.conflicts.append({"line": line, "field": "prompt_id", "problem": problem})

    def add(self, other: Tally) -> None:
        """Count what a transaction did that went through."""
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.splits += other.splits
        self.conflicts += other.conflicts[: CONFLICTS - len(self.conflicts)]

    def to_json(self) -> dict[str, Any]:
        """As it is kept and shown."""
        counts = {name: getattr(self, name) for name in COUNTED}
        return {**counts, "splits": dict(self.splits), "conflicts": self.conflicts}


COUNTED = ("rows", "new", "known", "identical", "refused", "held_back", "prompts", "responses")


@dataclass(frozen=True, slots=True)
class Way:
    """How some rows are stored."""

    project: Project
    batch: str
    chance: random.Random


@dataclass(slots=True)
class Text:
    """A stored response, as light as an import of many needs it."""

    pk: int
    text: str
    content_hash: str


@dataclass(slots=True)
class Asked:
    """The prompts and responses of some rows, stored; rows that can't be compared are not among them."""

    rows: list[tuple[int, Row]]
    prompts: dict[int, Prompt]  # by line
    responses: dict[int, list[Text]]  # by line, as the row has them
    known: dict[tuple[object, ...], int]  # comparisons of these prompts by `key`


def read_rows(path: Path, *, skip: int = 0) -> Iterator[tuple[int, Row]]:
    """The good rows that `import_check` wrote."""
    with path.open("rb") as file:
        for text in islice(file, skip, None):
            line, row = json.loads(text)
            yield line, row


def conflicts(project: Project, rows: Rows) -> list[dict[str, Any]]:
    """The first rows whose prompt_id another prompt of the project has; nothing is stored."""
    for some in _some(rows):
        tally = Tally()
        _prompts_of(project, some, tally)
        if tally.conflicts:
            return tally.conflicts[:CONFLICTS]
    return []


def take_in(
    project: Project, kind: str, rows: Rows, *, batch: str = "", seed: int = 0, first: int = 0
) -> Iterator[Tally]:
    """Store the rows, from the batch of this number on; gives what each transaction did."""
    from annotate.import_judgments import store_judgments  # noqa: PLC0415, it builds on this module

    stores = {"prompts": store_prompts, "comparisons": store_comparisons, "judgments": store_judgments}
    for number, some in enumerate(_some(rows), start=first):
        chance = random.Random(f"{project.slug} {seed} {number}")  # noqa: S311, a draw that can be repeated
        yield _stored(stores[kind], some, Way(project, batch, chance))


@retried
def _stored(
    store: Callable[[list[tuple[int, Row]], Way, Tally], None], rows: list[tuple[int, Row]], way: Way
) -> Tally:
    tally = Tally(rows=len(rows))
    with transaction.atomic():
        store(rows, way, tally)
    return tally


def store_prompts(rows: list[tuple[int, Row]], way: Way, tally: Tally) -> None:
    """Add the prompts that are new."""
    prompts = _prompts_of(way.project, rows, tally)
    _save_prompts(prompts, tally)
    tally.new = tally.prompts
    tally.known = len(prompts) - tally.new


def store_comparisons(rows: list[tuple[int, Row]], way: Way, tally: Tally) -> None:
    """Queue the comparisons that are new."""
    asked = stored(rows, way.project, tally)
    rules = way.project.rules
    drafts = []
    for line, row in asked.rows:
        prompt, responses = asked.prompts[line], asked.responses[line]
        purpose = Purpose(row["purpose"] or (Purpose.GOLD if row["gold"] else Purpose.UNIFORM))
        same = key(prompt.pk, [one.pk for one in responses], purpose)
        if same in asked.known:
            tally.known += 1
            continue
        asked.known[same] = 0  # stored below
        drafts.append(
            Draft(
                prompt=prompt,
                responses=responses,
                probability=row["probability"] or 1,  # left out, the file is the pool and all of it is queued
                stratum=row["stratum"] or "",
                place=way.chance.random(),
                purpose=purpose,
                batch=way.batch,
                overlap=drawn_for_overlap(rules, way.chance),
                judgments=row["judgments"],
                gold=by_response(row["gold"], responses) if row["gold"] else None,
                explanation=row["explanation"],
                score=row["score"],
            )
        )
    add_comparisons(way.project, drafts)
    tally.new = len(drafts)
    tally.held_back = sum(bool(draft.held_back) for draft in drafts)


def stored(rows: list[tuple[int, Row]], project: Project, tally: Tally) -> Asked:
    """Store the prompts and responses of rows that ask for a comparison."""
    different = [(line, row) for line, row in rows if len(set(row["responses"])) == len(row["responses"])]
    tally.identical = len(rows) - len(different)
    prompts = _prompts_of(project, different, tally)
    old = [prompt.pk for prompt in prompts.values() if prompt.pk]
    _save_prompts(prompts, tally)
    asked = [(line, row) for line, row in different if line in prompts]
    hashed = {
        line: [(prompts[line].pk, content_hash(text), text) for text in row["responses"]]
        for line, row in asked
    }
    there = {
        (prompt, digest): pk
        for pk, prompt, digest in Response.objects.filter(prompt__in=old).values_list(
            "pk", "prompt", "content_hash"
        )
    }
    fresh = {
        (prompt, digest): text
        for texts in hashed.values()
        for prompt, digest, text in texts
        if (prompt, digest) not in there
    }
    there.update(zip(fresh, _save_responses(fresh), strict=True))
    responses = {
        line: [Text(there[prompt, digest], text, digest) for prompt, digest, text in texts]
        for line, texts in hashed.items()
    }
    tally.responses = len(fresh)
    compared = Comparison.objects.filter(prompt__in=old)
    known = {
        key(prompt, ids, purpose): pk
        for pk, prompt, ids, purpose in compared.values_list("pk", "prompt", "response_ids", "purpose")
    }
    return Asked(asked, prompts, responses, known)


def _save_responses(fresh: Mapping[tuple[int, str], str]) -> Sequence[int]:
    rows = [(prompt, text, digest) for (prompt, digest), text in fresh.items()]
    return bulk.insert_values(Response, ("prompt_id", "text", "content_hash"), rows)


def key(prompt: int, responses: Iterable[int], purpose: str) -> tuple[object, ...]:
    """What makes two comparisons the same: one with a known answer is another than the one in the queue."""
    return prompt, frozenset(responses), purpose if purpose in KNOWN else ""


def by_response(order: str, responses: Sequence[Text]) -> list[list[int]]:
    """An order such as 2>1 as lists of response ids."""
    return [[responses[position - 1].pk for position in group] for group in parse_order(order)]


def _prompts_of(project: Project, rows: list[tuple[int, Row]], tally: Tally) -> dict[int, Prompt]:
    """The prompt of each row by its line; the new ones are not saved yet, those of a taken name left out."""
    wanted = [(line, row, _conversation(row)) for line, row in rows]
    hashed = [(line, row, messages, content_hash(messages)) for line, row, messages in wanted]
    digests = {digest for _, _, _, digest in hashed}
    known = {one.content_hash: one for one in project.prompts.filter(content_hash__in=digests)}
    names = {row["prompt_id"] for _, row, _, digest in hashed if digest not in known}
    taken = set(project.prompts.filter(name__in=names).values_list("name", flat=True))
    found: dict[int, Prompt] = {}
    now = timezone.now()
    for line, row, messages, digest in hashed:
        if digest not in known:
            name = row["prompt_id"] or digest[:16]
            if name in taken:
                tally.refuse(line, name)
                continue
            taken.add(name)
            known[digest] = Prompt(
                project_id=project.pk,
                created_at=now,
                name=name,
                messages=messages,
                tags=row["tags"],
                cluster=digest,
                split=project.split_of(digest),
                content_hash=digest,
            )
        found[line] = known[digest]
    return found


def _save_prompts(prompts: dict[int, Prompt], tally: Tally) -> None:
    fresh = list({id(prompt): prompt for prompt in prompts.values() if not prompt.pk}.values())
    bulk.insert(fresh)
    tally.prompts = len(fresh)
    tally.splits = Counter(prompt.split for prompt in fresh)


def _conversation(row: Row) -> list[dict[str, str]]:
    system = [{"role": "system", "content": row["system"]}] if row["system"] is not None else []
    return [*system, *row["messages"]]


def _some(rows: Rows) -> Iterator[list[tuple[int, Row]]]:
    left = iter(rows)
    while some := list(islice(left, BATCH)):
        yield some
