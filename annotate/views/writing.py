"""The screens on which people write and review, and the admin's pages of what they wrote."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotate import demonstrations as files
from annotate import reviewing, stages, writing
from annotate.access import PersonRequest, project_for
from annotate.differences import difference
from annotate.masking import mask
from annotate.models import (
    AuditEvent,
    Demonstration,
    DemonstrationState,
    DemonstrationVersion,
    Membership,
    Project,
    Role,
)
from annotate.writing_forms import (
    REASONS,
    AskForm,
    DraftForm,
    ReviewForm,
    SendForm,
    SkipForm,
    WithdrawForm,
    faults,
    faults_of,
)

PAGE = 50  # rows of a list
SENT = 10  # of what waits for a review, and can be taken back
FOLDED = 1200  # letters of earlier turns beyond which they are folded
TITLES = {
    DemonstrationState.OPEN: "Being written",
    DemonstrationState.SUBMITTED: "Waits for review",
    DemonstrationState.SENT_BACK: "With its author again",
    DemonstrationState.ACCEPTED: "Accepted",
    DemonstrationState.REJECTED: "Rejected",
    DemonstrationState.GIVEN_UP: "Given up",
}


# Writing


@never_cache
@require_GET
@project_for(*writing.WRITERS)
def write(request: PersonRequest, project: Project) -> HttpResponse:
    """Show what was sent back to the writer, else what they write, else that nothing waits."""
    demonstration = writing.next_to_write(request.user, project)
    if demonstration is None:
        return render(request, "annotate/write.html", _desk(request, project, "write"))
    return _write_page(request, demonstration)


def _write_page(
    request: PersonRequest,
    demonstration: Demonstration,
    *,
    text: str | None = None,
    error: str = "",
    other: str | None = None,
    status: int = 200,
) -> HttpResponse:
    """The screen to write on; a text that could not be taken stays in it."""
    project, source = demonstration.project, demonstration.source
    started = demonstration.draft_saved_at is not None or source is None
    shown = text if text is not None else demonstration.draft if started or not source else source.text
    versions = _versions(demonstration)
    context = {
        **_desk(request, project, "write"),
        **_conversation(demonstration),
        "demonstration": demonstration,
        "client_key": uuid4(),
        "seen": writing.draft_version(demonstration),
        "text": shown,
        "changes": difference(source.text, shown) if source else None,
        "guideline": project.guideline,
        "returned": versions[-1]["review"] if versions else None,
        "versions": versions,
        "error": error,
        "other": other,
        "reasons": REASONS,
    }
    return render(request, "annotate/write.html", context, status=status)


@never_cache
@require_POST
def draft(request: PersonRequest, key: UUID) -> HttpResponse:
    """Keep what is written so far: for the script as JSON, else back to the page."""
    demonstration = _own(request, key)
    form = DraftForm(request.POST)
    for_script = "application/json" in request.headers.get("Accept", "")
    if not form.is_valid():
        if for_script:
            return JsonResponse({"error": faults(form)}, status=400)
        return _write_page(
            request, demonstration, text=request.POST.get("text", ""), error=_fault_of_text(form), status=400
        )
    values = form.cleaned_data
    try:
        row = writing.save_draft(demonstration, values["text"], seen=values["seen"])
    except writing.OtherDraftError as error:
        if not for_script:
            return _other_draft(request, error.demonstration, values["text"])
        stored = {"version": writing.draft_version(error.demonstration), "text": error.demonstration.draft}
        return JsonResponse({"error": str(error), **stored}, status=409)
    except writing.GoneError as error:
        if not for_script:
            return _gone(request, demonstration, str(error), values["text"])
        return JsonResponse({"error": str(error)}, status=409)
    if not for_script:
        return redirect("annotate:write", row.project.slug)
    changes = difference(row.source.text, row.draft) if values["changes"] and row.source else None
    return JsonResponse({"version": writing.draft_version(row), "changes": changes})


@never_cache
@require_POST
def send(request: PersonRequest, key: UUID) -> HttpResponse:
    """Send the text to review and go on to the next prompt."""
    demonstration = _own(request, key)
    form = SendForm(request.POST, project=demonstration.project)
    if not form.is_valid():
        text = request.POST.get("text", "")
        return _write_page(request, demonstration, text=text, error=_fault_of_text(form), status=400)
    sent = form.sent()
    try:
        writing.send(demonstration, sent)
    except writing.OtherDraftError as error:
        return _other_draft(request, error.demonstration, sent.text)
    except writing.GoneError as error:
        return _gone(request, demonstration, str(error), sent.text)
    return redirect("annotate:write", demonstration.project.slug)


@never_cache
@require_POST
def skip(request: PersonRequest, key: UUID) -> HttpResponse:
    """Give the prompt back; it does not return to this writer."""
    demonstration = _own(request, key)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _gone(request, demonstration, faults(form), "", status=400)
    writing.skip(demonstration, form.said())
    return redirect("annotate:write", demonstration.project.slug)


@never_cache
@require_POST
def take_back(request: PersonRequest, key: UUID) -> HttpResponse:
    """Give what was sent to its author again, while nobody has reviewed it."""
    demonstration = _own(request, key)
    if not writing.take_back(demonstration):
        return _gone(request, demonstration, _("Somebody reviews it now, so it can’t be taken back."), "")
    return redirect("annotate:write", demonstration.project.slug)


@never_cache
@require_POST
def hold(request: PersonRequest, key: UUID) -> HttpResponse:
    """Renew the lease of whoever has the page open."""
    demonstration = _reachable(request, key)
    return HttpResponse(status=204 if writing.hold(demonstration, request.user) else 409)


def _other_draft(request: PersonRequest, demonstration: Demonstration, text: str) -> HttpResponse:
    error = _("You changed this text in another tab or browser. Send again to keep what stands here.")
    return _write_page(request, demonstration, text=text, error=error, other=demonstration.draft, status=409)


def _gone(
    request: PersonRequest, demonstration: Demonstration, reason: str, text: str, *, status: int = 409
) -> HttpResponse:
    context = {"project": demonstration.project, "reason": reason, "text": text, "back": "annotate:write"}
    return render(request, "annotate/not_taken.html", context, status=status)


def _fault_of_text(form: DraftForm) -> str:
    return faults_of(form, "text") if set(form.errors) == {"text"} else faults(form)


# Reviewing


@never_cache
@require_GET
@project_for(*writing.WRITERS)
def review(request: PersonRequest, project: Project) -> HttpResponse:
    """Show what somebody else wrote and nobody reviews yet, or say that nothing waits."""
    demonstration = reviewing.next_to_review(request.user, project)
    if demonstration is None:
        return render(request, "annotate/review.html", _desk(request, project, "review"))
    return _review_page(request, demonstration)


def _review_page(
    request: PersonRequest, demonstration: Demonstration, *, form: ReviewForm | None = None, status: int = 200
) -> HttpResponse:
    versions = _versions(demonstration)
    context = {
        **_desk(request, demonstration.project, "review"),
        **_conversation(demonstration),
        "demonstration": demonstration,
        "client_key": uuid4(),
        "version": versions[-1],
        "versions": versions[:-1],
        "guideline": versions[-1]["guideline"] or demonstration.project.guideline,
        "note": form.data.get("note", "") if form else "",
        "error": (faults_of(form, "note") if "note" in form.errors else faults(form)) if form else "",
    }
    return render(request, "annotate/review.html", context, status=status)


@never_cache
@require_POST
def verdict(request: PersonRequest, key: UUID) -> HttpResponse:
    """Store what the reviewer said and go on to the next."""
    demonstration = _anothers(request, key)
    form = ReviewForm(request.POST)
    if not form.is_valid():
        return _review_page(request, demonstration, form=form, status=400)
    try:
        reviewing.review(demonstration, request.user, form.said())
    except writing.GoneError as error:
        context = {
            "project": demonstration.project,
            "reason": str(error),
            "text": form.cleaned_data["note"],
            "back": "annotate:review",
        }
        return render(request, "annotate/not_taken.html", context, status=409)
    return redirect("annotate:review", demonstration.project.slug)


@never_cache
@require_POST
def leave(request: PersonRequest, key: UUID) -> HttpResponse:
    """Let somebody else review it."""
    demonstration = _anothers(request, key)
    reviewing.leave(demonstration, request.user)
    return redirect("annotate:review", demonstration.project.slug)


# What both screens show


def _desk(request: PersonRequest, project: Project, here: str) -> dict[str, Any]:
    """What waits for this person here, of each kind."""
    membership = Membership.objects.select_related("project", "user").get(user=request.user, project=project)
    sent = Demonstration.objects.filter(
        project=project, author=request.user, state=DemonstrationState.SUBMITTED
    )
    return {
        "project": project,
        "here": here,
        "paused": stages.pause_reason(membership) or _("An admin has paused your work here.")
        if membership.paused_at
        else "",
        "waiting": writing.waiting(membership),
        "to_review": reviewing.waiting_for(request.user, project).count(),
        "sent": [
            {"key": one.key, "asked": mask(one.prompt.messages[-1]["content"], project.rules.masks)}
            for one in sent.select_related("prompt").order_by("-pk")[:SENT]
        ],
    }


def _conversation(demonstration: Demonstration) -> dict[str, Any]:
    """The turns as raters see them: the project's setting first, masked words masked."""
    rules = demonstration.project.rules
    system = [{"role": "system", "content": rules.system_prompt}] if rules.system_prompt else []
    messages = system + [
        {**message, "content": mask(message["content"], rules.masks)}
        for message in demonstration.prompt.messages
    ]
    return {
        "warning": rules.content_warning,
        "earlier": messages[:-1],
        "fold": sum(len(message["content"]) for message in messages[:-1]) > FOLDED,
        "asked": messages[-1],
    }


def _versions(demonstration: Demonstration) -> list[dict[str, Any]]:
    """Each version with what was said of it, and its difference from what came before."""
    found: list[dict[str, Any]] = []
    rows = demonstration.versions.select_related("guideline", "review__reviewer").order_by("number")
    for row in rows:
        before = found[-1]["text"] if found else None
        found.append(
            {
                "number": row.number,
                "text": row.text,
                "written_at": row.written_at,
                "guideline": row.guideline,
                "active_minutes": round(row.active_ms / 60_000) if row.active_ms is not None else None,
                "review": _review_of(row),
                "edited": row.difference,
                "changed": None if before is None else difference(before, row.text),
            }
        )
    return found


def _review_of(version: DemonstrationVersion) -> Any:
    return getattr(version, "review", None)


def _reachable(request: PersonRequest, key: UUID) -> Demonstration:
    """The demonstration of this key in a project where the person writes or reviews."""
    rows = Demonstration.objects.select_related("project", "prompt", "source")
    projects = Project.objects.for_user(request.user, *writing.WRITERS)
    return get_object_or_404(rows, key=key, project__in=projects)


def _own(request: PersonRequest, key: UUID) -> Demonstration:
    """The writer's demonstration of this key; anybody else's is not found."""
    found = _reachable(request, key)
    if found.author_id != request.user.pk:
        raise Http404
    return found


def _anothers(request: PersonRequest, key: UUID) -> Demonstration:
    """A demonstration that this person may review: sent at least once, and not their own."""
    found = _reachable(request, key)
    if found.author_id == request.user.pk or not found.versions.exists():
        raise Http404
    return found


# The admin's pages


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def demonstrations(request: PersonRequest, project: Project) -> HttpResponse:
    """How many are wanted and where each stands."""
    return _list(request, project)


def _list(
    request: PersonRequest, project: Project, form: AskForm | None = None, *, status: int = 200
) -> HttpResponse:
    state = request.GET.get("state", "")
    rows = Demonstration.objects.filter(project=project).exclude(writing.PREPARED)
    if state in DemonstrationState.values:
        rows = rows.filter(state=state)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    page = list(rows.select_related("prompt", "author", "source").order_by("-pk")[: PAGE + 1])
    figures = files.figures(project)
    writers = Membership.objects.filter(project=project, role__in=writing.WRITERS, user__is_active=True)
    context = {
        "project": project,
        "figures": figures,
        "states": [(name, title, figures[name]) for name, title in TITLES.items()],
        "state": state,
        "all": sum(figures[name] for name in TITLES),
        "rows": [_row(one) for one in page[:PAGE]],
        "earlier": page[PAGE - 1].pk if len(page) > PAGE else None,
        "first": not before,
        "form": form or AskForm(),
        "free": files.free_prompts(project, edited=False).count(),
        "to_edit": files.free_prompts(project, edited=True).count(),
        "writers": writers.count(),
    }
    return render(request, "annotate/demonstrations.html", context, status=status)


def _row(demonstration: Demonstration) -> dict[str, Any]:
    return {
        "demonstration": demonstration,
        "asked": demonstration.prompt.messages[-1]["content"],
        "title": TITLES[DemonstrationState(demonstration.state)],
    }


@require_POST
@project_for(Role.ADMIN)
def ask(request: PersonRequest, project: Project) -> HttpResponse:
    """Let prompts, drawn at random, want demonstrations."""
    form = AskForm(request.POST)
    if not form.is_valid():
        return _list(request, project, form, status=400)
    values = form.cleaned_data
    try:
        files.ask_for(project, values["count"], people=values["people"], edited=values["how"] == "edit")
    except files.AskingError as error:
        form.add_error("count", str(error))
        return _list(request, project, form, status=400)
    AuditEvent.record("demonstrations-asked", request.user, project, **values)
    return redirect("annotate:demonstrations", project.slug)


@require_POST
@project_for(Role.ADMIN)
def call_off(request: PersonRequest, project: Project) -> HttpResponse:
    """Ask for no more than is begun."""
    closed = files.call_off(project)
    AuditEvent.record("demonstrations-called-off", request.user, project, places=closed)
    return redirect("annotate:demonstrations", project.slug)


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def demonstration(request: PersonRequest, project: Project, key: UUID) -> HttpResponse:
    """One demonstration with its versions, differences and reviews."""
    return _one(request, project, key)


def _one(
    request: PersonRequest, project: Project, key: UUID, *, error: str = "", status: int = 200
) -> HttpResponse:
    found = _of_project(project, key)
    context = {
        "project": project,
        "demonstration": found,
        "title": TITLES[DemonstrationState(found.state)],
        **_conversation(found),
        "versions": _versions(found)[::-1],
        "can_withdraw": found.state not in (DemonstrationState.GIVEN_UP, DemonstrationState.REJECTED),
        "error": error,
    }
    return render(request, "annotate/demonstration.html", context, status=status)


@require_POST
@project_for(Role.ADMIN)
def withdraw(request: PersonRequest, project: Project, key: UUID) -> HttpResponse:
    """Take a demonstration out, with a reason."""
    found = _of_project(project, key)
    form = WithdrawForm(request.POST)
    if not form.is_valid():
        return _one(request, project, key, error=faults_of(form, "reason"), status=400)
    reason = form.cleaned_data["reason"]
    if not files.withdraw(found, reason):
        return _one(request, project, key, error="It is out already.", status=409)
    AuditEvent.record("demonstration-withdrawn", request.user, project, key=str(key), reason=reason)
    return redirect("annotate:demonstration", project.slug, key)


def _of_project(project: Project, key: UUID) -> Demonstration:
    rows = Demonstration.objects.filter(project=project).exclude(writing.PREPARED)
    return get_object_or_404(
        rows.select_related("project", "prompt", "source", "author", "reviewer"), key=key
    )


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def download(request: PersonRequest, project: Project) -> HttpResponseBase:
    """Every accepted demonstration as demonstrations.jsonl."""
    AuditEvent.record("downloaded", request.user, project, file="demonstrations.jsonl")
    lines: Iterator[bytes] = (one.to_line() + b"\n" for one in files.demonstrations(project))
    response = StreamingHttpResponse(lines, content_type="application/x-ndjson; charset=utf-8")
    name = f"{project.slug}-demonstrations.jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
