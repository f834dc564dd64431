"""What every answer carries so that a browser keeps to our own pages, and how long a session lives."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

Handler = Callable[[HttpRequest], HttpResponse]

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
TOUCH = 600  # seconds after which a session in use is written again, so that it does not go idle
LONGEST = 7 * 24 * 3600  # seconds from signing in to signing in again, however busy


class SecurityHeaders:
    """Put the headers on every answer: pages, errors, files."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, then add what is missing."""
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if settings.SECURE_HSTS_SECONDS:
            response.headers.setdefault(
                "Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}"
            )
        if not request.path.startswith(f"/{settings.STATIC_URL.strip('/')}/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class SessionAge:
    """End a session a week after its start; keep one that is used from going idle."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Look at the age before the page is made, without touching the sessions of strangers."""
        if request.user.is_authenticated:
            now = int(time.time())
            started = request.session.setdefault("started", now)
            if now - started > LONGEST:
                logout(request)
            elif now - request.session.get("touched", 0) > TOUCH:
                request.session["touched"] = now
        return self.get_response(request)


class SecondFactorDue:
    """Keep who must set up a second factor at setting it up; the session alone says so."""

    FREE = ("/account/second-factor/", "/account/confirm/", "/sign-out/", "/theme/")

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Lead every other page there."""
        due = request.user.is_authenticated and request.session.get("second_factor_due")
        if due and not request.path.startswith(self.FREE):
            return redirect(reverse("mfa_activate_totp"))
        return self.get_response(request)
