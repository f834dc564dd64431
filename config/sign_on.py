"""Addresses of the second factor and of single sign-on; their views are loaded when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotate import people
from annotate.access import PersonRequest, project_for
from annotate.models import AuditEvent, Membership, Project, Role
from config.accounts import INVITED

View = Callable[..., HttpResponseBase]


def later(name: str) -> View:
    """A view of allauth that is imported by its first request, for few need it and it is large."""

    @never_cache
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        found: HttpResponseBase = import_string(name)(request, *args, **kwargs)
        return found

    return view


def single_sign_on(view: View) -> View:
    """A view that is there where a provider is set, for people who are not signed in."""

    @login_not_required
    @never_cache
    @wraps(view)
    def found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.SINGLE_SIGN_ON:
            raise Http404
        return view(request, *args, **kwargs)

    return found


@single_sign_on
@require_GET
def oidc_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """To the provider, from where the person comes back to the callback."""
    return _openid_view("OAuth2LoginView", request, provider_id)


@single_sign_on
@require_GET
def oidc_callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from the provider with a code, which is exchanged for who the person is."""
    return _openid_view("OAuth2CallbackView", request, provider_id)


def _openid_view(name: str, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    from allauth.socialaccount.providers.oauth2 import views  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    from config.openid import Adapter  # noqa: PLC0415

    try:
        response: HttpResponseBase = getattr(views, name).adapter_view(Adapter(request, provider_id))(request)
    except (RequestException, KeyError, ValueError) as error:
        words = _("%(name)s does not answer as it should (%(error)s).")
        named = {"name": settings.SINGLE_SIGN_ON, "error": type(error).__name__}
        return refuse(request, words % named, 502)
    return response


def refuse(request: HttpRequest, reason: str, status: int) -> HttpResponse:
    """Say why single sign-on did not work, and the ways that are left."""
    return render(request, "annotate/sign_on_failed.html", {"reason": reason}, status=status)


@single_sign_on
@require_GET
def oidc_join(request: HttpRequest, token: str) -> HttpResponseBase:
    """Follow an invitation by way of the provider."""
    invitation = people.find_invitation(token)
    if invitation is None or invitation.id_parameter:
        raise Http404
    request.session[INVITED] = token
    return redirect("openid_connect_login")


@single_sign_on
@require_GET
def sign_on_cancelled(request: HttpRequest) -> HttpResponse:
    """The person went back at the provider."""
    return redirect("annotate:sign-in")


@login_not_required
@require_GET
def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Where allauth sends who has to begin anew."""
    return redirect("annotate:sign-in")


@login_not_required
@require_GET
def closed(request: HttpRequest) -> HttpResponse:
    """The account may not sign in any more."""
    return render(request, "annotate/join_dead.html", {"reason": _("This account is closed.")}, status=403)


@require_GET
def to_account(request: HttpRequest) -> HttpResponse:
    """The second factor has its place on the account's page."""
    return redirect("annotate:account")


@require_POST
@project_for(Role.ADMIN, archived=True)
def remove_second_factor(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Take a lost second factor away, so that the person gets in and sets up another."""
    from allauth.mfa.models import Authenticator  # noqa: PLC0415

    membership = get_object_or_404(Membership.objects.select_related("user"), project=project, pk=pk)
    if not people.in_charge_of(request.user, membership.user):
        raise PermissionDenied(f"{membership.user} also belongs to a project that you don’t administer.")
    if Authenticator.objects.filter(user=membership.user).delete()[0]:
        AuditEvent.record("second-factor-removed", request.user, project, person=membership.user.username)
    return redirect(reverse("annotate:person", args=[project.slug, pk]))


MFA = "allauth.mfa"
urlpatterns = [
    path("account/sign-in/", to_sign_in, name="account_login"),
    path("account/closed/", closed, name="account_inactive"),
    path("account/confirm/", later("allauth.account.views.reauthenticate"), name="account_reauthenticate"),
    path("account/second-factor/", to_account, name="mfa_index"),
    path(
        "account/second-factor/code/",
        login_not_required(later(f"{MFA}.base.views.authenticate")),
        name="mfa_authenticate",
    ),
    path(
        "account/second-factor/confirm/", later(f"{MFA}.base.views.reauthenticate"), name="mfa_reauthenticate"
    ),
    path("account/second-factor/set-up/", later(f"{MFA}.totp.views.activate_totp"), name="mfa_activate_totp"),
    path(
        "account/second-factor/turn-off/",
        later(f"{MFA}.totp.views.deactivate_totp"),
        name="mfa_deactivate_totp",
    ),
    path(
        "account/second-factor/recovery-codes/",
        later(f"{MFA}.recovery_codes.views.view_recovery_codes"),
        name="mfa_view_recovery_codes",
    ),
    path(
        "account/second-factor/recovery-codes/new/",
        later(f"{MFA}.recovery_codes.views.generate_recovery_codes"),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/second-factor/recovery-codes/file/",
        later(f"{MFA}.recovery_codes.views.download_recovery_codes"),
        name="mfa_download_recovery_codes",
    ),
    path("oidc/login/", oidc_login, {"provider_id": "oidc"}, name="openid_connect_login"),
    path("oidc/callback/", oidc_callback, {"provider_id": "oidc"}, name="openid_connect_callback"),
    path("oidc/cancelled/", sign_on_cancelled, name="socialaccount_login_cancelled"),
    path("oidc/join/<str:token>/", oidc_join, name="oidc-join"),
    path(
        "projects/<slug:slug>/people/<int:pk>/second-factor/",
        remove_second_factor,
        name="remove-second-factor",
    ),
]
