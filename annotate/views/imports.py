"""Bringing files in: choose one, look at what it holds, let it in."""

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from annotate import clusters, comparisons, uploads
from annotate.access import PersonRequest, project_for
from annotate.import_formats import FileError
from annotate.import_forms import ImportForm, UploadForm
from annotate.models import AuditEvent, Project, Role, Upload
from annotate.spreadsheet import download
from runs.models import RefusedError, State

LISTED = 50


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def imports(request: PersonRequest, project: Project) -> HttpResponse:
    """What came in so far, and the form for more."""
    form = UploadForm(request.POST or None, request.FILES or None)
    status = 200
    if request.META.get(uploads.TOO_LARGE):
        limit = uploads.SIZE_LIMIT >> 20
        form.add_error("file", f"The file has over {limit} MB. Split it, or pack it with gzip.")
        status = 413
    elif request.method == "POST" and form.is_valid():
        try:
            upload = uploads.keep(project, form.cleaned_data["kind"], form.cleaned_data["file"], request.user)
        except FileError as error:
            form.add_error("file", f"Not taken: {error}.")
        else:
            return redirect("annotate:import", project.slug, upload.pk)
    if form.errors:
        status = max(status, 400)
    context = {
        "project": project,
        "form": form,
        "uploads": _listed(project),
        "held_back": comparisons.held_back(project),
        "clustered": AuditEvent.objects.filter(project=project, action="clustered prompts").last(),
        "limit": uploads.SIZE_LIMIT,
    }
    return render(request, "annotate/imports.html", context, status=status)


@never_cache
@require_GET
@vary_on_headers("HX-Request")
@project_for(Role.ADMIN)
def one_import(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """One file: how it would come in, how far it is, or what came of it."""
    upload = _find(project, pk)
    page = "annotate/_import.html" if request.htmx else "annotate/import.html"
    return render(request, page, _facts(upload))


@require_POST
@project_for(Role.ADMIN)
def look_again(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Look through the file with other columns."""
    return _act(request, project, pk, uploads.look_through)


@require_POST
@project_for(Role.ADMIN)
def start(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Let the rows in."""
    return _act(request, project, pk, uploads.bring_in)


@require_GET
@project_for(Role.ADMIN)
def errors(request: PersonRequest, project: Project, pk: int) -> HttpResponseBase:
    """Every faulty line with what is wrong, for a spreadsheet."""
    upload = _find(project, pk)
    return download(f"import-{upload.pk}-errors.csv", ("line", "field", "problem"), uploads.faults(upload))


@require_POST
@project_for(Role.ADMIN)
def find_twins(request: PersonRequest, project: Project) -> HttpResponse:
    """Look for near-duplicate prompts."""
    try:
        run = clusters.start(project, started_by=request.user.get_username())
    except RefusedError:
        return _refused(request, project, "A search for near-duplicate prompts is under way.")
    return redirect("runs:run", run.pk)


def _act(request: PersonRequest, project: Project, pk: int, act: Any) -> HttpResponse:
    """Do what the form asks with the chosen columns; the page again where they can't be."""
    upload = _find(project, pk)
    if _active(upload):
        return redirect("annotate:import", project.slug, upload.pk)
    form = ImportForm(request.POST, kind=upload.kind, preview=upload.preview)
    if not form.is_valid():
        return render(request, "annotate/import.html", {**_facts(upload), "form": form}, status=400)
    options = uploads.options_of(form.by_column, bad_lines=form.cleaned_data["bad_lines"])
    try:
        act(upload, options, request.user)
    except RefusedError:
        return _refused(request, project, "Another import of this project is under way; wait for it to end.")
    return redirect("annotate:import", project.slug, upload.pk)


def _refused(request: PersonRequest, project: Project, reason: str) -> HttpResponse:
    return render(request, "annotate/not_done.html", {"project": project, "reason": reason}, status=409)


def _find(project: Project, pk: int) -> Upload:
    return get_object_or_404(Upload.objects.select_related("run", "made_by"), project=project, pk=pk)


def _active(upload: Upload) -> bool:
    return upload.run is not None and upload.run.is_active


def _facts(upload: Upload) -> dict[str, Any]:
    run, preview = upload.run, upload.preview
    outcome = preview.get("outcome")
    importing = run is not None and run.kind == uploads.IMPORT
    stopped = run is not None and not run.is_active and run.state != State.SUCCEEDED
    if importing and stopped and run is not None:
        outcome = uploads.outcome_of(run.directory)
    return {
        "project": upload.project,
        "upload": upload,
        "run": run,
        "active": _active(upload),
        "importing": importing,
        "stopped": stopped,
        "preview": preview,
        "outcome": outcome if importing else None,
        "form": ImportForm(
            kind=upload.kind,
            preview=preview,
            initial={"bad_lines": upload.options.get("bad_lines", "none")},
        ),
        "rows": [_shown(row) for row in preview.get("first", [])],
        "unused": [name for name in preview.get("columns", []) if name not in preview.get("used", {})],
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A good row as the preview shows it."""
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return {**row, "turns": system + row["messages"]}


def _listed(project: Project) -> list[Upload]:
    rows = Upload.objects.filter(project=project).select_related("run", "made_by").order_by("-pk")
    return list(rows[:LISTED])
