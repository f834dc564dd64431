"""The versions of what raters are told, and what changed between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.db import IntegrityError, transaction
from django.db.models import Count, Max

from annotate.models import AuditEvent, Guideline, Judgment, Project, User

CONTEXT = 3  # unchanged lines kept around a change


class OutdatedError(Exception):
    """Somebody else wrote a version meanwhile."""


def versions(project: Project) -> list[tuple[Guideline, int]]:
    """Every version, the newest first, with the judgments that it was shown to."""
    standing = Judgment.objects.standing().filter(guideline__project=project)
    counts = dict(standing.order_by().values_list("guideline").annotate(Count("pk")))
    rows = Guideline.objects.filter(project=project).order_by("-version")
    return [(guideline, counts.get(guideline.pk, 0)) for guideline in rows]


def write(project: Project, by: User, text: str, *, after: int) -> Guideline:
    """Add the version after the one that its writer had before them; an unchanged text adds none."""
    try:
        with transaction.atomic():
            last = Guideline.objects.filter(project=project).aggregate(last=Max("version"))["last"] or 0
            former = project.guideline
            if former is not None and former.text == text:
                return former
            if last != after:
                raise OutdatedError(
                    f"Version {last} was written meanwhile. Look at it, then save yours again."
                )
            guideline = Guideline.objects.create(project=project, version=last + 1, text=text)
            AuditEvent.record("guideline-written", by, project, version=guideline.version)
    except IntegrityError as error:
        raise OutdatedError(
            "Another version was written at this moment. Look at it, then save again."
        ) from error
    return guideline


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a comparison of two texts."""

    sign: str  # "+" is new, "-" is gone, " " stays, "…" is a gap
    text: str


def changes(before: str, after: str) -> Iterator[Line]:
    """The lines that changed, each with a few around it."""
    old, new = before.splitlines(), after.splitlines()
    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT)
    for number, group in enumerate(groups):
        if number:
            yield Line("…", "")
        for kind, old_from, old_to, new_from, new_to in group:
            if kind == "equal":
                yield from (Line(" ", text) for text in old[old_from:old_to])
            else:
                yield from (Line("-", text) for text in old[old_from:old_to])
                yield from (Line("+", text) for text in new[new_from:new_to])
