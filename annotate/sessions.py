"""How a session begins, how far it is trusted, and how all of a person's sessions end."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from annotate.models import AuditEvent, SignInLink, User

Opener = Callable[[HttpRequest, User, str, str], HttpResponse]


def open_at_once(request: HttpRequest, user: User, how: str, target: str) -> HttpResponse:
    """Begin the session without asking for more."""
    login(request, user)
    begun(request, user, how)
    return redirect(target)


_ways: dict[str, Any] = {"open": open_at_once, "second_factor": lambda user: False}


def open_with(opener: Opener, second_factor: Callable[[User], bool]) -> None:
    """Let something else begin sessions, which asks for a second factor and knows who has one."""
    _ways.update(open=opener, second_factor=second_factor)


def has_second_factor(user: User) -> bool:
    """Whether a person shows more than a password or a link when they sign in."""
    return bool(_ways["second_factor"](user))


def begin(request: HttpRequest, user: User, how: str, target: str = "") -> HttpResponse:
    """Sign a person in who has shown a first factor, and go where they wanted to."""
    wanted = target or request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    response: HttpResponse = _ways["open"](request, user, how, wanted if safe else "/")
    return response


def begun(request: HttpRequest, user: User, how: str) -> None:
    """Note how the session began: in the session, and in the audit log."""
    request.session["signed_in_by"] = how
    request.session["started"] = int(timezone.now().timestamp())
    AuditEvent.record("signed-in", user, how=how)


def by_link(request: HttpRequest) -> bool:
    """Whether a one-time link began this session just now; it counts for as much as the old password."""
    age = timezone.now().timestamp() - request.session.get("started", 0)
    ways = request.session.get("signed_in_by", "").split("+")
    return "link" in ways and age < SignInLink.LIFE.total_seconds()


def end_all(user: User, *, but: str | None = None) -> int:
    """End every session of a person, or all but the one of this key; says how many."""
    ended = 0
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.session_key != but and session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()
            ended += 1
    return ended


def address_of(request: HttpRequest) -> str | None:
    """Where a request came from: behind a proxy of ours, what the proxy says, which is the last it added."""
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.BEHIND_PROXY else ""
    text = forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", "")
    try:
        return str(ip_address(text))
    except ValueError:
        return None
