"""Codes and passwords that are asked for once more: counted in the database, and each code used once."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ReauthenticateForm as PasswordForm
from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.mfa.utils import decrypt
from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from annotate import sessions
from annotate.models import SignInFailure


def admit(name: str) -> None:
    """Let one more be tried, or say how long to wait."""
    if not SignInFailure.admit(name, sessions.address_of(context.request)):
        minutes = int(SignInFailure.WINDOW.total_seconds() // 60)
        raise ValidationError(_("Too many tries. Wait %(minutes)s minutes.") % {"minutes": minutes})


class Counted:
    """What both forms share: allauth counts tries and used codes for each process alone, we for all."""

    user: Any
    cleaned_data: dict[str, Any]

    def clean_code(self) -> str:
        """The code, if it is right, new and not the sixth try in a quarter of an hour."""
        code = "".join(self.cleaned_data["code"].split())
        name = f"code {self.user.pk}"
        admit(name)
        with transaction.atomic():
            for authenticator in Authenticator.objects.select_for_update().filter(user=self.user):
                if _accepts(authenticator, code):
                    authenticator.user = self.user
                    self.authenticator = authenticator
                    SignInFailure.forget(name)
                    return code
        raise get_adapter().validation_error("incorrect_code")


def _accepts(authenticator: Any, code: str) -> bool:
    if authenticator.type != Authenticator.Type.TOTP:
        return bool(authenticator.wrap().validate_code(code))
    secret = decrypt(authenticator.data["secret"])
    last = authenticator.data.get("counter", -1)
    fitting = (
        one for one in yield_hotp_counters_from_time() if format_hotp_value(hotp_value(secret, one)) == code
    )
    counter = next((one for one in fitting if one > last), None)
    if counter is None:
        return False
    authenticator.data["counter"] = counter
    authenticator.save(update_fields=["data"])
    return True


class SignInCodeForm(Counted, AuthenticateForm):  # type: ignore[misc]
    """The code that signing in asks for."""

    code = forms.CharField(max_length=20)


class ConfirmCodeForm(Counted, ReauthenticateForm):  # type: ignore[misc]
    """The code that is asked for again before something is changed."""

    code = forms.CharField(max_length=20)


class ConfirmPasswordForm(PasswordForm):  # type: ignore[misc]
    """The password that is asked for again before something is changed."""

    def clean_password(self) -> str:
        """Counted like a password at the door."""
        admit(self.user.get_username())
        password: str = super().clean_password()
        SignInFailure.forget(self.user.get_username())
        return password
