"""django-allauth fitted to this house: nobody signs up by it, and every session begins through it.

What people are and how they join is `annotate.people`; this adds the second factor (TOTP) and single
sign-on (OpenID Connect). The heavier half of allauth is loaded by the first request that needs it.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import (
    get_authentication_records,
    perform_login,
    record_authentication,
)
from allauth.account.models import Login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.crypto import get_random_string

from annotate import people, sessions
from annotate.models import AuditEvent, Invitation, Membership, Role, User

DUE = "second_factor_due"  # in the session of an admin who has to set one up before anything else
INVITED = "single_sign_on_invitation"  # in the session: the token of the invitation being followed
PURPOSE = b"rankloop second factor"


def open_session(request: HttpRequest, user: User, how: str, target: str) -> HttpResponse:
    """Begin a session, or ask for the second factor where the person has one."""
    if request.user.is_authenticated:
        logout(request)
    record_authentication(request, user, method=how)
    response: HttpResponse = perform_login(
        request, Login(user=user, email_verification="none", redirect_url=target)
    )
    return response


def has_second_factor(user: User) -> bool:
    """Whether signing in asks a person for a code."""
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists())


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Sessions as `annotate.sessions` notes them, and no way to sign up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """People come by invitation."""
        return False

    def login(self, request: HttpRequest, user: User) -> None:
        """The one backend, whoever checked the person."""
        user.backend = settings.AUTHENTICATION_BACKENDS[0]
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Note how the session began, and whether a second factor has to be set up first."""
        records = get_authentication_records(request, user)
        names = {"socialaccount": "single-sign-on", "mfa": "code"}
        how = "+".join(dict.fromkeys(names.get(record["method"], record["method"]) for record in records))
        sessions.begun(request, user, how)
        if must_set_up(user):
            request.session[DUE] = True
        return redirect(kwargs["redirect_url"] or "/")

    def get_client_ip(self, request: HttpRequest) -> str:
        """As counted everywhere."""
        return sessions.address_of(request) or ""

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Home knows where each person begins."""
        return "/"

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """We send no mail."""


def must_set_up(user: User) -> bool:
    """Whether this person may do nothing before they have a second factor."""
    if settings.REQUIRE_SECOND_FACTOR != "admins" or has_second_factor(user):
        return False
    return user.is_superuser or Membership.objects.filter(user=user, role=Role.ADMIN).exists()


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets are encrypted in the database, under a key that follows from the server's secret."""

    def get_totp_label(self, user: User) -> str:
        """The name people sign in with."""
        return user.get_username()

    def encrypt(self, text: str) -> str:
        """For the database."""
        return str(_cipher().encrypt(text.encode()).decode())

    def decrypt(self, encrypted_text: str) -> str:
        """From the database; what another secret wrote fits no code any more."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415, a heavy library that few requests need

        try:
            return str(_cipher().decrypt(encrypted_text.encode()).decode())
        except InvalidToken:
            return base64.b32encode(get_random_string(20).encode()).decode()


def _cipher() -> Any:
    from cryptography.fernet import Fernet  # noqa: PLC0415

    key = hmac.digest(settings.SECRET_KEY.encode(), PURPOSE, "sha256")
    return Fernet(base64.urlsafe_b64encode(key))


@receiver(authenticator_added)
def _set_up(sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    if authenticator.type == Authenticator.Type.TOTP:
        request.session.pop(DUE, None)
        AuditEvent.record("second-factor-set", user)


@receiver(authenticator_removed)
def _removed(sender: Any, request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    if authenticator.type == Authenticator.Type.TOTP:
        if must_set_up(user):
            request.session[DUE] = True
        AuditEvent.record("second-factor-removed", user, person=user.get_username())


class SingleSignOnAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Single sign-on is for people we know, and for those who follow an invitation."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """People come by invitation."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find the person by what the provider verified; a stranger is turned away."""
        email = next((one.email.lower() for one in sociallogin.email_addresses if one.verified is True), "")
        if not sociallogin.is_existing and email:
            known = User.objects.filter(email__iexact=email, is_active=True)
            if known.count() == 1:
                sociallogin.connect(request, known.get())
        token = request.session.pop(INVITED, "")
        invitation = people.find_invitation(token) if token else None
        if invitation is not None:
            self._join(request, sociallogin, invitation, email)
        elif not sociallogin.is_existing:
            context = {"email": email, "name": settings.SINGLE_SIGN_ON}
            raise ImmediateHttpResponse(render(request, "annotate/sign_on_refused.html", context, status=403))

    def _join(self, request: HttpRequest, sociallogin: Any, invitation: Invitation, email: str) -> None:
        try:
            if not sociallogin.is_existing:
                name = _free_name(sociallogin.account.extra_data, email)
                sociallogin.connect(request, people.join_anew(invitation, name, email=email))
            elif not Membership.objects.filter(user=sociallogin.user, project=invitation.project).exists():
                people.join(invitation, sociallogin.user)
        except people.PeopleError as error:
            page = render(request, "annotate/join_dead.html", {"reason": str(error)}, status=410)
            raise ImmediateHttpResponse(page) from error
        sociallogin.state["next"] = people.first_page(invitation)

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """We send no mail."""


def _free_name(claims: dict[str, Any], email: str) -> str:
    """A name out of what the provider says, with a number where it is taken."""
    said = {**claims.get("id_token", {}), **claims.get("userinfo", {})}
    base = str(said.get("preferred_username") or email.partition("@")[0] or "member").partition("@")[0]
    base = "".join(letter for letter in base if letter.isalnum() or letter in "._-")[:60] or "member"
    for ending in ("", *(f"-{number}" for number in range(2, 100))):
        try:
            return people.check_name(base + ending)
        except ValidationError:
            continue
    return f"member-{get_random_string(8).lower()}"
