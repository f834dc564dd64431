"""Finding prompts, responses and judgments: closed filters, pages by key, and search within bounds.

Pages go by the primary key, the newest first, so the hundredth costs what the first one does. A list reads
windows of keys, wider ones while they are quick, until its page is full or its time is up; then it says how
far it came and goes on from there. It needs no index, works alike on both databases and in every script,
and no query of it reads more than a window, however many rows there are.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django import forms
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.models import (
    LABELING,
    ComparedResponse,
    Comparison,
    Flag,
    Judgment,
    Membership,
    Project,
    Prompt,
    Purpose,
    Response,
)
from annotate.models.projects import SPLITS

PAGE = 50  # rows of a page
WINDOW, WIDEST = 1_000, 64_000  # keys that the first query of a list looks at, and the most for a later one
QUICK = 0.1  # seconds; a query that took less is followed by one of twice the width
PATIENCE = 2.0  # seconds of one list
WORDS = 8  # of a search
NAMES = 2_000  # newest prompts whose tags are offered, and names of batches
FRESH = 60  # seconds for which offered tags and batches may be old
ANY = ("", "Any")
NO_BATCH = "-"  # in addresses: comparisons that belong to no batch

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and where the next ones begin."""

    rows: Sequence[Row]
    before: int | None = None  # key that the next page lies before; None at the end
    unfinished: bool = False  # a search whose time was up before the page was full


def page(rows: QuerySet[Row], before: int | None, conditions: Sequence[Q | None] = ()) -> Page[Row]:
    """The rows below a key, newest first, that meet all conditions."""
    rows = rows.filter(*(condition for condition in conditions if condition is not None)).order_by("-pk")
    top = before or (rows.model._base_manager.aggregate(last=Max("pk"))["last"] or 0) + 1
    until = time.monotonic() + PATIENCE
    found: list[Row] = []
    size = WINDOW
    while top > 1:
        began, low = time.monotonic(), max(1, top - size)
        found += list(rows.filter(pk__gte=low, pk__lt=top)[: PAGE + 1 - len(found)])
        if len(found) > PAGE:
            break
        top = low
        if top > 1 and time.monotonic() > until:
            return Page(found, before=top, unfinished=True)
        if time.monotonic() - began < QUICK:
            size = min(2 * size, WIDEST)
    return _cut(found)


def _cut(found: list[Row]) -> Page[Row]:
    return Page(found[:PAGE], before=found[PAGE - 1].pk if len(found) > PAGE else None)


def matching(words: str, texts: Sequence[str], as_json: Sequence[str] = ()) -> Q | None:
    """Every word must stand in one of the texts; “several words” in quotes stand together."""
    found = None
    for word in _words(words):
        one = Q()
        for form in _forms_of(word):
            for name in texts:
                one |= Q(**{f"{name}__icontains": form})
            for name in as_json:
                one |= Q(**{f"{name}__icontains": _escaped(form)})
        found = one if found is None else found & one
    return found


def _words(text: str) -> list[str]:
    words = []
    for number, part in enumerate(text.replace("“", '"').replace("”", '"').split('"')):
        words += [part.strip()] if number % 2 else part.split()
    return [word for word in words if word][:WORDS]


def _forms_of(word: str) -> list[str]:
    """How a word may be written: SQLite, and PostgreSQL in the locale C, tell ``Ö`` from ``ö``."""
    if word.isascii():
        return [word]
    return list(dict.fromkeys((word, word.lower(), word.upper(), word.capitalize())))


def _escaped(word: str) -> str:
    """A word as it stands within JSON in this database."""
    return json.dumps(word, ensure_ascii=connection.vendor == "sqlite")[1:-1]


# What is looked for


class Search(forms.Form):
    """Words, and where the page begins."""

    q = forms.CharField(required=False, max_length=200, label="Words")
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def clean(self) -> dict[str, Any]:
        """Refuse what is no filter."""
        for name in self.data:
            if name not in self.fields:
                raise ValidationError(f"There is no filter “{name}”.")
        return super().clean() or {}

    def filters(self) -> list[forms.BoundField]:
        """The choices, for the page."""
        return [self[name] for name in self.fields if name not in ("q", "before")]

    def chosen(self) -> bool:
        """Whether anything narrows the list."""
        return any(value for name, value in self.cleaned_data.items() if name != "before")


class Prompts(Search):
    """Which prompts."""

    split = forms.ChoiceField(required=False, choices=[ANY, *((name, name) for name, _ in SPLITS)])
    tag = forms.ChoiceField(required=False)
    state = forms.ChoiceField(required=False, choices=[ANY, ("in use", "In use"), ("withdrawn", "Withdrawn")])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _offer(self, "tag", [(tag, tag) for tag in tags(self.project)])

    def page(self) -> Page[Prompt]:
        """The prompts that are asked for."""
        values = self.cleaned_data
        rows = Prompt.objects.filter(project=self.project).annotate(
            text=Cast("messages", TextField()), all_tags=Cast("tags", TextField())
        )
        conditions = [matching(values["q"], ["name"], ["text"])]
        if values["split"]:
            conditions.append(Q(split=values["split"]))
        if values["state"]:
            conditions.append(Q(withdrawn_at__isnull=values["state"] == "in use"))
        if values["tag"]:
            conditions.append(Q(all_tags__contains=f'"{_escaped(values["tag"])}"'))
        return page(rows, values["before"], conditions)


class Responses(Search):
    """Which responses."""

    split = forms.ChoiceField(required=False, choices=[ANY, *((name, name) for name, _ in SPLITS)])
    state = forms.ChoiceField(
        required=False,
        choices=[
            ANY,
            ("in use", "In use"),
            ("withdrawn", "Withdrawn"),
            ("flagged", "Flagged"),
            ("compared", "In a comparison"),
        ],
    )

    def page(self) -> Page[Response]:
        """The responses that are asked for."""
        values = self.cleaned_data
        rows = Response.objects.filter(prompt__project=self.project).select_related("prompt")
        conditions = [matching(values["q"], ["text"])]
        if values["split"]:
            conditions.append(Q(prompt__split=values["split"]))
        if values["state"] == "flagged":
            conditions.append(Q(Exists(Flag.objects.filter(response=OuterRef("pk")))))
        elif values["state"] == "compared":
            conditions.append(Q(Exists(ComparedResponse.objects.filter(response=OuterRef("pk")))))
        elif values["state"]:
            conditions.append(Q(withdrawn_at__isnull=values["state"] == "in use"))
        return page(rows, values["before"], conditions)


REASONS = (  # as `Judgment.with_reason` names them
    "taken back",
    "training",
    "qualification",
    "known answer",
    "swapped repeat",
    "left out by an admin",
    "rater excluded",
    "text withdrawn",
    "place taken",
    "not all opened",
)


class Judgments(Search):
    """Which judgments."""

    rater = forms.ChoiceField(required=False)
    batch = forms.ChoiceField(required=False)
    purpose = forms.ChoiceField(required=False, choices=[ANY, *Purpose.choices])
    state = forms.ChoiceField(
        required=False,
        choices=[
            ANY,
            ("used", "Used"),
            ("left out", "Left out, for any reason"),
            *((reason, f"Left out: {reason}") for reason in REASONS),
        ],
    )

    def __init__(self, *args: Any, named: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = list(
            Membership.objects.filter(project=self.project, role__in=LABELING)
            .order_by("user__username")
            .values_list("user_id", "user__username")
        )
        self.people = {self.project.pseudonym(key): key for key, _ in people}
        names = [(self.project.pseudonym(key), name) for key, name in people]
        _offer(self, "rater", names if named else sorted((one, one) for one in self.people))
        _offer(self, "batch", [(batch or NO_BATCH, batch or "none") for batch in batches(self.project)])

    def page(self) -> Page[Judgment]:
        """The judgments that are asked for: the last word of each rater on each comparison."""
        values = self.cleaned_data
        rows = (
            Judgment.objects.of_project(self.project)
            .with_reason()
            .select_related("assignment__rater", "assignment__comparison__prompt")
        )
        conditions = [matching(values["q"], ["rationale", "assignment__comparison__prompt__name"])]
        if values["rater"]:
            conditions.append(Q(assignment__rater=self.people[values["rater"]]))
        if values["batch"]:
            batch = "" if values["batch"] == NO_BATCH else values["batch"]
            conditions.append(Q(assignment__comparison__batch=batch))
        if values["purpose"]:
            conditions.append(Q(assignment__comparison__purpose=values["purpose"]))
        if values["state"] == "left out":
            conditions.append(~Q(left_out=""))
        elif values["state"]:
            conditions.append(Q(left_out="" if values["state"] == "used" else values["state"]))
        return page(rows, values["before"], conditions)


def _offer(form: forms.Form, name: str, choices: Sequence[tuple[str, str]]) -> None:
    form.fields[name] = forms.ChoiceField(required=False, choices=[ANY, *choices])


def tags(project: Project) -> list[str]:
    """Tags of the newest prompts."""

    def find() -> list[str]:
        rows = project.prompts.order_by("-pk").values_list("tags", flat=True)[:NAMES]
        return sorted({tag for found in rows for tag in found})[:NAMES]

    return _kept(f"tags-{project.secret}", find)


def batches(project: Project) -> list[str]:
    """The batches of a project's comparisons."""

    def find() -> list[str]:
        rows = Comparison.objects.filter(project=project).order_by("batch")
        return list(rows.values_list("batch", flat=True).distinct()[:NAMES])

    return _kept(f"batches-{project.secret}", find)


def _kept(key: str, find: Callable[[], list[str]]) -> list[str]:
    found: list[str] | None = cache.get(key)
    if found is None:
        found = find()
        if found:
            cache.set(key, found, FRESH)
    return found
