"""The ways in: signing in by password or by link; and the theme, which strangers choose too."""

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate import sessions
from annotate.access import came_from
from annotate.forms import SignInForm
from annotate.models import Membership, SignInFailure, SignInLink, User


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with name and password; raters come by a link and need none."""
    form = SignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["username"]
        if not SignInFailure.admit(name, sessions.address_of(request)):
            minutes = int(SignInFailure.WINDOW.total_seconds() // 60)
            words = _("Too many tries. Wait %(minutes)s minutes, or sign in with a one-time link.")
            form.add_error(None, words % {"minutes": minutes})
            return _sign_in_page(request, form, status=429)
        user = authenticate(request, **form.cleaned_data)
        if isinstance(user, User):
            SignInFailure.forget(name)
            return sessions.begin(request, user, "password")
        form.add_error(None, _("Name and password don’t match."))
    return _sign_in_page(request, form, status=400 if form.errors else 200)


def _sign_in_page(request: HttpRequest, form: SignInForm, *, status: int) -> HttpResponse:
    context = {
        "form": form,
        "single_sign_on": settings.SINGLE_SIGN_ON,
        "next": request.GET.get("next", ""),
    }
    return render(request, "annotate/sign_in.html", context, status=status)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def follow_link(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in by a one-time link; opening it changes nothing, so a mail scanner can't use it up."""
    link = SignInLink.find(token)
    if link is None or (request.method == "POST" and not link.use()):
        return render(request, "annotate/link_dead.html", status=410)
    if request.method == "POST":
        return sessions.begin(request, link.user, "link")
    roles = Membership.objects.filter(user=link.user).select_related("project").order_by("project__name")
    return render(request, "annotate/link.html", {"person": link.user, "roles": roles, "token": token})


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme in a cookie and go back to the page."""
    wanted = request.POST.get("theme", "")
    response = redirect(came_from(request))
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
