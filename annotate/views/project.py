"""A project's own page: how far it is, who judges, and the way to its data."""

import csv
from collections.abc import Iterator
from io import StringIO

from django.db.models import Count, Max, Q, QuerySet
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotate import charts, exchange, pace, panels, progress, queue
from annotate.access import PersonRequest, project_for
from annotate.models import LABELING, AssignmentState, AuditEvent, Membership, Project, Role
from annotate.simulation import NothingLeftError, start_simulation
from runs.models import Run

RATERS = 12  # on the page; the page of people has all


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def project_page(request: PersonRequest, project: Project) -> HttpResponse:
    """How far a project is, who judges, and the way to its data."""
    figures = progress.of_project(project)
    simulation = Run.objects.filter(kind="simulated-raters", scope=project.scope).order_by("-pk").first()
    came, forecast = pace.lately(project, figures["left"] + figures["leased"])
    context = {
        "project": project,
        "figures": figures,
        "forecast": forecast,
        "pace": came,
        "charts": charts.bars_of(came),
        "waits": queue.waits(project),
        "raters": _raters(project)[:RATERS],
        "labeling": Membership.objects.filter(project=project, role__in=LABELING).count(),
        "guideline": project.guideline,
        "simulation": simulation,
        "panels": panels.of_project(request, project),
    }
    return render(request, "annotate/project.html", context)


def _raters(project: Project) -> QuerySet[Membership]:
    """Those who label, the busiest first."""
    mine = Q(user__assignments__comparison__project=project, user__assignments__state=AssignmentState.JUDGED)
    return (
        Membership.objects.filter(project=project, role__in=LABELING)
        .select_related("user", "project")
        .annotate(
            judgments=Count("user__assignments", filter=mine),
            last=Max("user__assignments__closed_at", filter=mine),
        )
        .order_by("user__simulated", "-judgments", "user__username")
    )


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def pace_table(request: PersonRequest, project: Project) -> HttpResponse:
    """The judgments of the chart as a table for spreadsheets."""
    table = StringIO()
    rows = csv.writer(table)
    rows.writerow(["since", "judgments", "simulated"])
    for count in pace.pace(project).counts:
        rows.writerow([count.since.isoformat(), count.judgments, count.simulated])
    answer = HttpResponse(table.getvalue(), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{project.slug}-pace.csv"'
    return answer


@require_POST
@project_for(Role.ADMIN)
def simulate(request: PersonRequest, project: Project) -> HttpResponse:
    """Let simulated raters judge what is open in a demo project."""
    if not project.demo:
        reason = "Simulated raters judge demo projects only; this one holds people’s judgments."
        return _not_done(request, project, reason)
    try:
        run = start_simulation(project, started_by=request.user.get_username())
    except NothingLeftError as error:
        return _not_done(request, project, str(error))
    return redirect("runs:run", run.pk)


def _not_done(request: PersonRequest, project: Project, reason: str) -> HttpResponse:
    return render(request, "annotate/not_done.html", {"project": project, "reason": reason}, status=409)


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def pairs(request: PersonRequest, project: Project) -> HttpResponseBase:
    """Every preference of the project as pairs.jsonl."""
    AuditEvent.record("downloaded", request.user, project, file="pairs.jsonl")
    lines: Iterator[bytes] = (pair.to_line() + b"\n" for pair in exchange.pairs(project))
    response = StreamingHttpResponse(lines, content_type="application/x-ndjson; charset=utf-8")
    name = f"{project.slug}-pairs.jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
