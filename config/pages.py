"""The pages that belong to no app: home, errors, and the frame around all others."""

import logging
import secrets
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_GET
from django_htmx.http import HttpResponseClientRedirect

from annotate import progress
from annotate.language import speak
from annotate.models import LABELING, Membership, Project, Role
from runs.models import Run, Worker

logger = logging.getLogger(__name__)


def frame(request: HttpRequest) -> dict[str, Any]:
    """What the frame of a page shows; asked of the database only by pages that show it."""
    theme = request.COOKIES.get("theme", "auto")

    def navigation() -> dict[str, Any]:
        memberships = Membership.objects.filter(user=request.user.pk).exclude(role__in=LABELING)
        mine = list(memberships.select_related("project").order_by("project__name"))
        return {
            "projects": [membership.project for membership in mine],
            "admin": any(membership.role == Role.ADMIN for membership in mine),
            "running": Run.objects.visible_to(request.user).active().count(),
        }

    return {
        "theme": theme if theme in ("light", "dark") else "auto",
        "navigation": SimpleLazyObject(navigation),
    }


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """To the comparisons for who only labels; else an overview of projects, runs and workers."""
    memberships = (
        Membership.objects.filter(user=request.user.pk).select_related("project").order_by("project__name")
    )
    rated = [
        membership.project
        for membership in memberships
        if membership.role in LABELING and membership.project.archived_at is None
    ]
    kept = [membership.project for membership in memberships if membership.role not in LABELING]
    if not kept:
        if len(rated) == 1:
            return redirect("annotate:compare", rated[0].slug)
        speak(request, own=True)
        return render(request, "home_rater.html", {"projects": rated})
    runs = Run.objects.visible_to(request.user)
    context = {
        "rows": [
            {"project": project, **progress.of_project(project)}
            for project in kept
            if project.archived_at is None
        ],
        "rated": rated,
        "active": runs.active().order_by("-pk")[:10],
        "failed": runs.filter(state="failed").order_by("-pk")[:5],
        "workers": Worker.objects.order_by("host", "pk"),
        "is_admin": Project.objects.for_user(request.user, Role.ADMIN).exists(),
    }
    return render(request, "home.html", context)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: the request can't be read."""
    return render(request, "400.html", status=400)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is older than the session it was made in; to sign in where that session has ended."""
    if request.user.is_authenticated or request.path.startswith(resolve_url(settings.LOGIN_URL)):
        return render(request, "403_csrf.html", status=403)
    page = urlencode({"next": urlsplit(request.headers.get("Referer", "")).path or "/"})
    address = f"{resolve_url(settings.LOGIN_URL)}?{page}"
    return HttpResponseClientRedirect(address) if "HX-Request" in request.headers else redirect(address)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: signed in, but not for this."""
    return render(request, "403.html", {"reason": str(exception or "")}, status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: the same words for what is missing and for what is somebody else's."""
    return render(request, "404.html", status=404)


def broken(request: HttpRequest) -> HttpResponse:
    """500: with a number that leads to the log; needs neither database nor session."""
    number = f"{secrets.token_hex(2)}-{secrets.token_hex(2)}"
    logger.error("error page %s for %s %s", number, request.method, request.path)
    return render(None, "500.html", {"number": number}, status=500)
