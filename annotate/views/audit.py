"""The audit log and the pay of a project, to read and to keep."""

from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotate import audit, pay, spreadsheet
from annotate.access import PersonRequest, project_for
from annotate.models import AuditEvent, Project, Role

PAGE = 100


@never_cache
@require_GET
@project_for(Role.ADMIN)
def audit_log(request: PersonRequest, project: Project) -> HttpResponse:
    """Who did what, the latest first."""
    actions, people = audit.actions(project), audit.people(project)
    events = _chosen(request, project, actions, people)
    before = request.GET.get("before", "")
    if before:
        events = events.filter(pk__lt=_number("before", before))
    page = list(events[: PAGE + 1])
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "project": project,
        "events": [(event, audit.words(event.action), audit.detail(event)) for event in page[:PAGE]],
        "next": page[PAGE - 1].pk if len(page) > PAGE else None,
        "actions": actions,
        "people": [(str(pk), name) for pk, name in people],
        "action": query.get("action", ""),
        "person": query.get("person", ""),
        "before": before,
        "query": query.urlencode(),
    }
    return render(request, "annotate/audit.html", context)


@never_cache
@require_GET
@project_for(Role.ADMIN)
def audit_file(request: PersonRequest, project: Project) -> HttpResponseBase:
    """The log as CSV."""
    events = _chosen(request, project, audit.actions(project), audit.people(project))
    AuditEvent.record("downloaded", request.user, project, file="audit.csv")
    header = ("number", "at", "person", "action", "detail")
    return spreadsheet.download(f"{project.slug}-audit.csv", header, audit.table(events))


def _chosen(
    request: HttpRequest, project: Project, actions: list[tuple[str, str]], people: list[tuple[int, str]]
) -> QuerySet[AuditEvent]:
    """The events of one action or person; what the log does not hold is refused."""
    events = audit.of_project(project)
    action, person = request.GET.get("action", ""), request.GET.get("person", "")
    if action:
        if action not in dict(actions):
            raise BadRequest(f"action={action}")
        events = events.filter(action=action)
    if person:
        if _number("person", person) not in dict(people):
            raise BadRequest(f"person={person}")
        events = events.filter(actor=int(person))
    return events


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"{name}={text}")
    return int(text)


@never_cache
@require_GET
@project_for(Role.ADMIN)
def pay_page(request: PersonRequest, project: Project) -> HttpResponse:
    """What each rater is owed, for the project or for one batch."""
    batch = _batch(request, project)
    owed = pay.of_project(project, batch=batch)
    context = {
        "project": project,
        "rules": project.rules,
        "owed": owed,
        "total": pay.total(owed),
        "judgments": sum(one.judgments for one in owed),
        "hours": sum(one.hours for one in owed),
        "batches": pay.batches(project),
        "batch": batch or "",
    }
    return render(request, "annotate/pay.html", context)


@never_cache
@require_GET
@project_for(Role.ADMIN)
def pay_file(request: PersonRequest, project: Project) -> HttpResponseBase:
    """The same as CSV."""
    batch = _batch(request, project)
    AuditEvent.record("downloaded", request.user, project, file="pay.csv", batch=batch or "")
    header = ("rater", "judgments", "active hours", "for time", "for judgments", "total", "currency")
    rows = (
        (
            one.rater,
            one.judgments,
            round(one.hours, 4),
            float(one.for_time),
            float(one.for_judgments),
            float(one.total),
            project.rules.currency,
        )
        for one in pay.of_project(project, batch=batch)
    )
    return spreadsheet.download(f"{project.slug}-pay.csv", header, rows)


def _batch(request: HttpRequest, project: Project) -> str | None:
    name = request.GET.get("batch", "")
    if name and name not in pay.batches(project):
        raise BadRequest(f"batch={name}")
    return name or None
