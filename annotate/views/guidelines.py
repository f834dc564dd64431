"""The guidelines of a project: their versions, a new one, and what changed."""

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from annotate import guideline_versions
from annotate.access import PersonRequest, project_for
from annotate.models import Guideline, Project, Role
from annotate.people_forms import GuidelineForm


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def guidelines(request: PersonRequest, project: Project) -> HttpResponse:
    """The guidelines in force, and the versions before them with the judgments that saw each."""
    versions = guideline_versions.versions(project)
    context = {"project": project, "versions": versions, "guideline": versions[0][0] if versions else None}
    return render(request, "annotate/guidelines.html", context)


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def version(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """One version, and what changed since another: the one before it, if none is named."""
    shown = get_object_or_404(Guideline, project=project, version=number)
    since = request.GET.get("since", str(number - 1))
    earlier = Guideline.objects.filter(
        project=project, version=int(since) if since.isdecimal() else -1
    ).first()
    context = {
        "project": project,
        "guideline": shown,
        "earlier": earlier,
        "others": Guideline.objects.filter(project=project).exclude(pk=shown.pk).order_by("-version"),
        "changes": list(guideline_versions.changes(earlier.text, shown.text)) if earlier else [],
    }
    return render(request, "annotate/guideline.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def write(request: PersonRequest, project: Project) -> HttpResponse:
    """Write the next version, with a look at it first where that is asked."""
    former = project.guideline
    start = {"text": former.text if former else "", "after": former.version if former else 0}
    form = GuidelineForm(request.POST if request.method == "POST" else None, initial=start)
    context = {"project": project, "former": former, "form": form}
    if request.method == "GET":
        return render(request, "annotate/guideline_write.html", context)
    if not form.is_valid():
        return render(request, "annotate/guideline_write.html", context, status=400)
    text = form.cleaned_data["text"]
    if "preview" in request.POST:
        return render(request, "annotate/guideline_write.html", {**context, "preview": text})
    try:
        guideline_versions.write(project, request.user, text, after=form.cleaned_data["after"])
    except guideline_versions.OutdatedError as error:
        return render(
            request, "annotate/guideline_write.html", {**context, "problem": str(error)}, status=409
        )
    return redirect("annotate:guidelines", project.slug)
