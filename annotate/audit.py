"""The audit log of a project: who did what, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Q, QuerySet

from annotate.models import AuditEvent, Membership, Project

WORDS = {
    "account-closed": "closed an account",
    "account-reopened": "opened an account again",
    "downloaded": "downloaded",
    "email-changed": "changed an e-mail address",
    "guideline-written": "wrote guidelines",
    "invitation-revoked": "took an invitation back",
    "invited": "made an invitation",
    "joined": "joined",
    "link-made": "made a sign-in link",
    "member-changed": "changed a member",
    "name-changed": "changed their name",
    "password-changed": "changed their password",
    "question-asked": "asked a question again",
    "question-retired": "retired a question",
    "question-saved": "wrote a question",
    "role-changed": "changed a role",
    "second-factor-removed": "removed a second factor",
    "second-factor-set": "set up a second factor",
    "signed-in": "signed in",
    "signed-out-everywhere": "signed out everywhere",
    "simulated": "let simulated raters judge",
}


def words(action: str) -> str:
    """An action as the page says it; one without words of its own by its name."""
    return WORDS.get(action, action.replace("-", " "))


def of_project(project: Project) -> QuerySet[AuditEvent]:
    """What was done in a project, and how its members signed in; the latest first."""
    members = Membership.objects.filter(project=project).values("user")
    seen = Q(project=project) | Q(project=None, actor__in=members)
    return AuditEvent.objects.filter(seen).select_related("actor").order_by("-pk")


def actions(project: Project) -> list[tuple[str, str]]:
    """The actions that the log holds, to choose from."""
    found = of_project(project).order_by().values_list("action", flat=True).distinct()
    return sorted(((action, words(action)) for action in found), key=lambda pair: pair[1])


def people(project: Project) -> list[tuple[int, str]]:
    """The people that the log holds, to choose from."""
    rows = of_project(project).exclude(actor=None).order_by()
    return sorted(set(rows.values_list("actor", "actor__username")), key=lambda pair: pair[1])


def detail(event: AuditEvent) -> str:
    """The particulars in one line."""
    return ", ".join(
        f"{name} {_plain(value)}" for name, value in event.detail.items() if value not in ("", [], None)
    )


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def table(events: QuerySet[AuditEvent]) -> Iterator[tuple[object, ...]]:
    """Rows for a file, oldest detail last."""
    for event in events.iterator(chunk_size=2000):
        who = event.actor.username if event.actor else ""
        yield event.pk, event.at.isoformat(timespec="seconds"), who, event.action, detail(event)
