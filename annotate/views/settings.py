"""A project's beginning, its settings, and its end: pages for admins."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import projects
from annotate.access import PersonRequest, project_for
from annotate.models import AuditEvent, Judgment, Membership, Project, Role
from annotate.presets import PRESETS, named
from annotate.project_forms import CopyForm, DeleteForm, NewProjectForm, SettingsForm
from annotate.projects import ProjectRefusedError

CHANGES = 5  # latest ones below the form
SCHEME = (
    "scheme",
    "tie",
    "all_bad",
    "top",
    "score_steps",
    "criteria",
)  # what a judgment's fields follow from


@never_cache
@require_GET
def all_projects(request: PersonRequest) -> HttpResponse:
    """Every project that the person keeps, the archived ones too."""
    memberships = Membership.objects.filter(user=request.user.pk, role__in=(Role.ADMIN, Role.RESEARCHER))
    mine = list(memberships.select_related("project").order_by("project__name"))
    context = {
        "current": [one for one in mine if one.project.archived_at is None],
        "archived": [one for one in mine if one.project.archived_at is not None],
        "may_make": projects.may_make(request.user),
    }
    return render(request, "annotate/projects.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def new_project(request: PersonRequest) -> HttpResponse:
    """Make a project from a preset."""
    if not projects.may_make(request.user):
        raise PermissionDenied("Projects are made by admins of a project and by staff.")
    form = NewProjectForm(request.POST or None, initial={"preset": PRESETS[0].name})
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        made = projects.make(values["slug"], values["name"], named(values["preset"]), request.user)
        return redirect("annotate:project", made.slug)
    context = {"form": form, "presets": PRESETS, "chosen": form["preset"].value()}
    return render(request, "annotate/project_new.html", context, status=400 if form.errors else 200)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def settings(request: PersonRequest, project: Project) -> HttpResponse:
    """Change how a project asks its raters."""
    form = SettingsForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        projects.change(project, form.cleaned_data["name"], form.settings(), request.user)
        return redirect("annotate:settings", project.slug)
    context = {
        "project": project,
        "form": form,
        "judgments": Judgment.objects.filter(assignment__comparison__project=project).count(),
        "changes": _changes(project),
        "superuser": request.user.is_superuser,
    }
    return render(request, "annotate/project_settings.html", context, status=400 if form.errors else 200)


def _changes(project: Project) -> list[dict[str, Any]]:
    """The latest changes of settings: who, when, and what from what."""
    events = AuditEvent.objects.filter(project=project, action="changed settings").select_related("actor")
    names = {name: field.label or "Name" for name, field in SettingsForm(project=project).fields.items()}
    return [
        {
            "event": event,
            "lines": [
                {
                    "name": names[name],
                    "before": _shown(before),
                    "after": _shown(after),
                    "scheme": name in SCHEME,
                }
                for name, (before, after) in event.detail.get("changed", {}).items()
                if name in names
            ],
        }
        for event in events.order_by("-at", "-pk")[:CHANGES]
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != "" else "nothing"


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN, archived=True)
def copy(request: PersonRequest, project: Project) -> HttpResponse:
    """Make another project like this one."""
    form = CopyForm(request.POST or None, initial={"name": f"{project.name} (copy)"})
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            made = projects.copy(
                project, values["slug"], values["name"], request.user, prompts=values["prompts"]
            )
        except ProjectRefusedError as error:
            form.add_error("prompts", str(error))
        else:
            return redirect("annotate:project", made.slug)
    context = {
        "project": project,
        "form": form,
        "prompts": project.prompts.filter(withdrawn_at=None).count(),
    }
    return render(request, "annotate/project_copy.html", context, status=400 if form.errors else 200)


@require_POST
@project_for(Role.ADMIN)
def archive(request: PersonRequest, project: Project) -> HttpResponse:
    """Put the project aside."""
    try:
        projects.archive(project, request.user)
    except ProjectRefusedError as error:
        return _not_done(request, project, str(error))
    return redirect("annotate:projects")


@require_POST
@project_for(Role.ADMIN, archived=True)
def bring_back(request: PersonRequest, project: Project) -> HttpResponse:
    """Take the project out of the archive."""
    try:
        projects.bring_back(project, request.user)
    except ProjectRefusedError as error:
        return _not_done(request, project, str(error))
    return redirect("annotate:project", project.slug)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN, archived=True)
def delete(request: PersonRequest, project: Project) -> HttpResponse:
    """Delete the project, once its address has been typed."""
    form = DeleteForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        try:
            run = projects.delete(project, request.user)
        except ProjectRefusedError as error:
            return _not_done(request, project, str(error))
        return redirect("runs:run", run.pk) if run else redirect("annotate:projects")
    context = {"project": project, "form": form, "contents": projects.contents(project)}
    return render(request, "annotate/project_delete.html", context, status=400 if form.errors else 200)


def _not_done(request: PersonRequest, project: Project, reason: str) -> HttpResponse:
    page = "annotate/not_done.html"
    return render(request, page, {"project": project, "reason": reason, "title": "Not done"}, status=409)
