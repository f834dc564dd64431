"""The pages of raters, and of those who look after a project."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.contrib.auth.decorators import login_not_required
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from annotate import assignment as leases
from annotate import exchange, judging, panels, progress
from annotate.access import PersonRequest, project_for
from annotate.forms import JudgmentForm, SignInForm, SkipForm
from annotate.models import (
    Assignment,
    AuditEvent,
    Judgment,
    Membership,
    Project,
    Role,
    SignInFailure,
    SignInLink,
    User,
)
from annotate.simulation import NothingLeftError, start_simulation
from runs.models import Run

TOAST = 10  # seconds after a judgment during which the page offers to take it back
LETTERS = "ABCDEFGHI"


# Signing in


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with name and password; raters come by a link and need none."""
    form = SignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["username"]
        if not SignInFailure.admit(name, _address(request)):
            minutes = int(SignInFailure.WINDOW.total_seconds() // 60)
            form.add_error(None, f"Too many tries. Wait {minutes} minutes, or sign in with a one-time link.")
            return render(request, "annotate/sign_in.html", {"form": form}, status=429)
        user = authenticate(request, **form.cleaned_data)
        if user is not None:
            SignInFailure.forget(name)
            return _signed_in(request, user, "password")
        form.add_error(None, "Name and password don’t match.")
    status = 400 if form.errors else 200
    return render(request, "annotate/sign_in.html", {"form": form}, status=status)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def follow_link(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in by a one-time link; opening it changes nothing, so a mail scanner can't use it up."""
    link = SignInLink.find(token)
    if link is None or (request.method == "POST" and not link.use()):
        return render(request, "annotate/link_dead.html", status=410)
    if request.method == "POST":
        return _signed_in(request, link.user, "link")
    roles = Membership.objects.filter(user=link.user).select_related("project").order_by("project__name")
    return render(request, "annotate/link.html", {"person": link.user, "roles": roles, "token": token})


def _address(request: HttpRequest) -> str | None:
    """Where a request came from: behind a proxy of ours, what the proxy says, which is the last it added."""
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.BEHIND_PROXY else ""
    text = forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", "")
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _signed_in(request: HttpRequest, user: Any, how: str) -> HttpResponse:
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    AuditEvent.record("signed-in", user, how=how)
    target = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return redirect(target if safe else settings.LOGIN_REDIRECT_URL)


# Judging


@never_cache
@require_GET
@vary_on_headers("HX-Request")
@project_for(Role.RATER)
def compare(request: PersonRequest, project: Project) -> HttpResponse:
    """Show the rater the next comparison, or say that none is left."""
    assignment = leases.next_for(request.user, project)
    context = {"project": project, "last": _last_judged(request.user, project)}
    if assignment is None:
        page = "annotate/_nothing_left.html" if request.htmx else "annotate/nothing_left.html"
        return render(request, page, {**context, "figures": progress.of_rater(request.user, project)})
    page = "annotate/_comparison.html" if request.htmx else "annotate/compare.html"
    return render(request, page, {**context, **_comparison(assignment, project)})


def _comparison(assignment: Assignment, project: Project) -> dict[str, Any]:
    """What the page shows of an assignment: texts and positions, no id but the assignment's key."""
    messages = assignment.comparison.prompt.messages
    withdrawn = assignment.judgment
    return {
        "assignment": assignment,
        "client_key": uuid4(),
        "earlier": messages[:-1],
        "fold": sum(len(message["content"]) for message in messages[:-1]) > 1200,
        "asked": messages[-1],
        "sides": [
            {"position": place, "letter": LETTERS[place - 1], "text": response.text}
            for place, response in enumerate(leases.shown_responses(assignment), 1)
        ],
        "before": _as_shown(assignment, withdrawn) if withdrawn else "",
        "rules": project.rules,
        "number": assignment.since_break + 1,
        "share": progress.share_judged(project),
    }


def _last_judged(rater: User, project: Project) -> dict[str, Any] | None:
    """The rater's last judgment, which can be taken back: in words and as a form."""
    mine = Judgment.objects.standing().filter(
        assignment__rater=rater, assignment__comparison__project=project
    )
    last = mine.select_related("assignment").order_by("-pk").first()
    if last is None:
        return None
    words = {"1>2": "A is better", "2>1": "B is better", "1=2": "Tie", "bad": "Both bad"}
    fresh = (timezone.now() - last.received_at).total_seconds() < TOAST
    return {
        "key": last.assignment.key,
        "words": words.get(_as_shown(last.assignment, last), "Judged"),
        "fresh": fresh,
    }


def _as_shown(assignment: Assignment, judgment: Judgment) -> str:
    """A judgment by positions, as the buttons post it."""
    if judgment.all_bad:
        return "bad"
    place = {response: position for position, response in enumerate(assignment.shown, 1)}
    return ">".join("=".join(str(one) for one in sorted(place[r] for r in group)) for group in judgment.order)


@never_cache
@require_POST
def judge(request: PersonRequest, key: UUID) -> HttpResponse:
    """Store the rater's answer and go on to the next comparison."""
    assignment = _own_assignment(request, key)
    form = JudgmentForm(request.POST, assignment=assignment)
    if not form.is_valid():
        return _refusal(request, assignment, form.reason, status=400)
    try:
        judging.judge(assignment, form.answer())
    except judging.AlreadyJudgedError as error:
        return _refusal(request, assignment, str(error), status=409)
    return redirect("annotate:compare", assignment.comparison.project.slug)


@never_cache
@require_POST
def undo(request: PersonRequest, key: UUID) -> HttpResponse:
    """Take the judgment back; the comparison opens again."""
    assignment = _own_assignment(request, key)
    if not judging.withdraw(assignment):
        return _refusal(request, assignment, "This judgment was taken back already.", status=409)
    return redirect("annotate:compare", assignment.comparison.project.slug)


@never_cache
@require_POST
def skip(request: PersonRequest, key: UUID) -> HttpResponse:
    """Give the comparison back; it does not return to this rater."""
    assignment = _own_assignment(request, key)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _refusal(request, assignment, "reason: at most 200 characters.", status=400)
    judging.skip(assignment, form.cleaned_data["reason"])
    return redirect("annotate:compare", assignment.comparison.project.slug)


def _own_assignment(request: PersonRequest, key: UUID) -> Assignment:
    """The rater's assignment of this key; anybody else's is not found."""
    rows = Assignment.objects.select_related("rater", "comparison__project")
    return get_object_or_404(
        rows,
        key=key,
        rater=request.user.pk,
        comparison__project__in=Project.objects.for_user(request.user, Role.RATER),
    )


def _refusal(request: PersonRequest, assignment: Assignment, reason: str, *, status: int) -> HttpResponse:
    page = "annotate/_refusal.html" if request.htmx else "annotate/refusal.html"
    return render(request, page, {"reason": reason, "project": assignment.comparison.project}, status=status)


# Looking after a project


@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def project_page(request: PersonRequest, project: Project) -> HttpResponse:
    """How far a project is, who judges, and the way to its data."""
    members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
    raters = members.filter(role=Role.RATER).annotate(
        judgments=Count(
            "user__assignments",
            filter=Q(user__assignments__comparison__project=project, user__assignments__state="judged"),
        ),
        last=Max(
            "user__assignments__closed_at",
            filter=Q(user__assignments__comparison__project=project, user__assignments__state="judged"),
        ),
    )
    simulation = Run.objects.filter(kind="simulated-raters", scope=project.scope).order_by("-pk").first()
    context = {
        "project": project,
        "figures": progress.of_project(project),
        "raters": raters.order_by("user__simulated", "-judgments"),
        "guideline": project.guideline,
        "simulation": simulation,
        "panels": panels.of_project(request, project),
    }
    return render(request, "annotate/project.html", context)


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


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme in a cookie and go back to the page."""
    wanted = request.POST.get("theme", "")
    back = urlsplit(request.META.get("HTTP_REFERER", "")).path or "/"
    response = redirect(back if back.startswith("/") and not back.startswith("//") else "/")
    if wanted in ("auto", "light", "dark"):
        response.set_cookie(
            "theme",
            wanted,
            max_age=365 * 24 * 3600,
            samesite="Lax",
            httponly=True,
            secure=settings.SESSION_COOKIE_SECURE,
        )
    return response
