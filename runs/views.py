"""Pages for admins: all runs, one run as it goes, and what they may ask of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Min
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from runs import access, kinds, metrics, transitions
from runs.advice import advice
from runs.charts import charts, title
from runs.models import ENDED, RefusedError, Run, State, Worker, due
from runs.waiting import waits_for

PER_PAGE = 50
EVENTS = 50
FIGURES = 4
CONTENT_TYPES = {"metrics.jsonl": "application/x-ndjson", "log.txt": "text/plain; charset=utf-8"}


@require_GET
@never_cache
def runs(request: HttpRequest) -> HttpResponse:
    """All runs that the person administers, the active ones first."""
    if not access.scopes_of(request.user):
        raise PermissionDenied("Runs are shown to admins of a project.")
    mine = Run.objects.visible_to(request.user)
    waiting = (
        mine.filter(due()).exclude(state=State.RUNNING).aggregate(runs=Count("pk"), since=Min("created_at"))
    )
    context = {
        "active": [{"run": run, "left": _time_left(run)} for run in mine.active()],
        "ended": Paginator(mine.filter(state__in=ENDED), PER_PAGE).get_page(request.GET.get("page")),
        "workers": Worker.objects.all(),
        "waiting": waiting,
    }
    return render(request, "runs/runs.html", context)


@require_GET
@never_cache
@vary_on_headers("HX-Request")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """One run; htmx asks for its part again every two seconds as long as it is active."""
    found = _find(request, pk)
    template = "runs/_run.html" if request.headers.get("HX-Request") else "runs/run.html"
    return render(request, template, _facts(found))


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """End a run."""
    return _act(request, pk, transitions.cancel)


@require_POST
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Put a running run aside after its step."""
    return _act(request, pk, transitions.request_pause)


@require_POST
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Queue a paused, failed or cancelled run again."""
    return _act(request, pk, transitions.resume)


@require_GET
def download(request: HttpRequest, pk: int, name: str) -> FileResponse:
    """A file of the run as it is now; names are fixed by the addresses."""
    path = _find(request, pk).directory.path / name
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise Http404(f"run {pk} has no {name} yet") from None
    return FileResponse(
        file, as_attachment=True, filename=f"run-{pk}-{name}", content_type=CONTENT_TYPES[name]
    )


def lasting(duration: timedelta | None) -> str:
    """A duration in at most two units: 48 s, 43 min, 1 h 02, 3 d 4 h."""
    if duration is None:
        return ""
    seconds = max(int(duration.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02}"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def _find(request: HttpRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.visible_to(request.user), pk=pk)


def _act(request: HttpRequest, pk: int, act: Callable[..., None]) -> HttpResponse:
    found = _find(request, pk)
    try:
        act(found, by=str(request.user))
    except RefusedError as error:
        return render(request, "runs/refused.html", {"run": found, "reason": str(error)}, status=409)
    return redirect("runs:run", pk)


def _facts(run: Run) -> dict[str, Any]:
    """All that the page of a run shows."""
    path = run.directory.path
    rows = metrics.sample(path / "metrics.jsonl")
    drawn = charts(rows, run.total)
    what, remedy = advice(run.error_code)
    phases = [
        {"name": phase.name, "lasting": lasting(phase.duration), "now": False}
        for phase in metrics.phases(rows)
    ]
    if phases and run.state == State.RUNNING:
        phases[-1]["now"] = True
    queued = lasting(run.started_at - run.created_at) if run.started_at else ""
    return {
        "run": run,
        "page": kinds.page(run),
        "waits_for": waits_for(run),
        "so_far": lasting(run.active_time()),
        "left": _time_left(run, rows),
        "queued": queued,
        "phases": phases,
        "charts": drawn,
        "figures": drawn[:FIGURES],
        "checkpoint_bytes": run.directory.checkpoint_bytes() if run.checkpoint is not None else 0,
        "events": run.events.order_by("-seq")[:EVENTS],
        "config": [(title(name), _shown(value)) for name, value in run.config.items()],
        "log": [line.partition(" ") for line in metrics.log_tail(path / "log.txt")],
        "error": {"what": what, "remedy": remedy} if run.error_code else None,
    }


def _time_left(run: Run, rows: list[metrics.Row] | None = None) -> str:
    if run.state != State.RUNNING:
        return ""
    if rows is None:
        rows = metrics.sample(run.directory.path / "metrics.jsonl")
    started = run.events.filter(to_state=State.RUNNING).order_by("-seq").values_list("at", flat=True).first()
    return lasting(metrics.time_left(rows, since=started.timestamp() if started else 0))


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "left out"}[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
