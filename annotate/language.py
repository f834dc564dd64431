"""The language of raters' pages: the rater's own, else the browser's; all other pages are English."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext_noop, ngettext_lazy

SPOKEN = (
    "annotate.views.account",
    "annotate.views.doors",
    "annotate.views.joining",
    "annotate.views.quality",  # what adjudicators see of a disagreement
    "annotate.views.rating",
    "annotate.views.writing",
    "config.sign_on",
)
FROM_ELSEWHERE = (  # what raters read and our pages don't spell out: roles, and Django's own words
    gettext_noop("rater"),
    gettext_noop("writer"),
    gettext_noop("adjudicator"),
    gettext_noop("researcher"),
    gettext_noop("admin"),
    gettext_noop("username"),
    gettext_noop("Enter a valid value."),
    gettext_noop("Enter a whole number."),
    gettext_noop(
        "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters."
    ),
    ngettext_lazy(
        "Ensure this value has at most %(limit_value)d character (it has %(show_value)d).",
        "Ensure this value has at most %(limit_value)d characters (it has %(show_value)d).",
        "limit_value",
    ),
    ngettext_lazy(
        "This password is too short. It must contain at least %d character.",
        "This password is too short. It must contain at least %d characters.",
    ),
)


class RaterLanguage:
    """Put a request's language in place before its view, and take it away after."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer in English until a view of raters says otherwise."""
        with translation.override("en"):
            return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> None:
        """Speak the person's language on raters' pages; inside a project, `project_for` knows the role."""
        speak(request, own=view.__module__ in SPOKEN)


def speak(request: HttpRequest, *, own: bool) -> None:
    """Go on in the person's own language, or in English."""
    language = "en"
    if own:
        chosen = getattr(request.user, "language", "")
        language = chosen or translation.get_language_from_request(request)
    translation.activate(language)
    request.LANGUAGE_CODE = language  # as Django's own middleware does
