"""The queue's page for admins: what waits, who holds what, what was skipped and flagged."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotate import queue as waiting
from annotate import withdrawing
from annotate.access import PersonRequest, project_for
from annotate.models import Assignment, Comparison, Flag, Project, Role
from annotate.project_forms import ReasonForm


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def queue(request: PersonRequest, project: Project) -> HttpResponse:
    """What waits and who holds it."""
    parts = waiting.parts(project)
    leases, flags = waiting.open_leases(project), waiting.open_flags(project)
    closed, skipped = waiting.closed(project), waiting.skipped(project)
    context = {
        "project": project,
        "parts": parts,
        "sums": {
            "comparisons": sum(part.comparisons for part in parts),
            "wanted": sum(part.wanted for part in parts),
            "left": sum(part.left for part in parts),
        },
        "next": waiting.next_ones(project),
        "leases": [_named(request, project, lease) for lease in leases[: waiting.SHOWN]],
        "leased": leases.count(),
        "closed": closed,
        "closed_in_all": waiting.tally(closed),
        "skipped": skipped,
        "notes": [
            {"assignment": one, "words": one.skip_reason.partition(": ")[2]} for one in waiting.notes(project)
        ],
        "skipped_in_all": waiting.tally(skipped),
        "flags": flags[: waiting.SHOWN],
        "flagged": flags.count(),
        "may_act": request.role == Role.ADMIN and project.archived_at is None,
    }
    return render(request, "annotate/queue.html", context)


def _named(request: PersonRequest, project: Project, lease: Assignment) -> dict[str, object]:
    """A lease with its rater's name, which researchers see as a pseudonym."""
    is_admin = request.role == Role.ADMIN
    return {
        "lease": lease,
        "rater": lease.rater.get_username() if is_admin else project.pseudonym(lease.rater_id),
    }


@require_POST
@project_for(Role.ADMIN)
def release(request: PersonRequest, project: Project, key: UUID) -> HttpResponse:
    """Give a lease back to the queue; one that has ended meanwhile needs nothing."""
    rows = Assignment.objects.select_related("rater", "comparison__project")
    waiting.release(get_object_or_404(rows, key=key, comparison__project=project), request.user)
    return redirect("annotate:queue", project.slug)


@require_POST
@project_for(Role.ADMIN)
def settle_flag(request: PersonRequest, project: Project, flag: int) -> HttpResponse:
    """Note what was done about a flag."""
    rows = Flag.objects.select_related("assignment__comparison__project")
    found = get_object_or_404(rows, pk=flag, assignment__comparison__project=project)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _not_done(request, project, "Say what was done about the flag, in at most 200 characters.")
    waiting.settle(found, form.cleaned_data["reason"], request.user)
    return redirect("annotate:queue", project.slug)


@require_POST
@project_for(Role.ADMIN)
def withdraw(request: PersonRequest, project: Project, comparison: int) -> HttpResponse:
    """Close a comparison, so that nobody is asked it any more."""
    found = get_object_or_404(Comparison, pk=comparison, project=project)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _not_done(request, project, "Give a reason of at most 200 characters.")
    withdrawing.withdraw_comparison(found, form.cleaned_data["reason"], request.user)
    return redirect("annotate:prompt", project.slug, found.prompt_id)


@require_POST
@project_for(Role.ADMIN)
def bring_back(request: PersonRequest, project: Project, comparison: int) -> HttpResponse:
    """Open a comparison again that a person withdrew."""
    found = get_object_or_404(Comparison, pk=comparison, project=project)
    withdrawing.bring_back_comparison(found, request.user)
    return redirect("annotate:prompt", project.slug, found.prompt_id)


def _not_done(request: PersonRequest, project: Project, reason: str) -> HttpResponse:
    page = "annotate/not_done.html"
    return render(request, page, {"project": project, "reason": reason, "title": "Not done"}, status=400)
