"""The look's small parts as template tags: icons, scripts with integrity, model text, times."""

import base64
import hashlib
from datetime import datetime
from functools import lru_cache

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

register = template.Library()


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """A symbol of the sprite; it says nothing by itself, a word stands beside it."""
    return format_html(
        '<svg class="icon{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {classes}" if classes else "",
        static("icons.svg"),
        name,
    )


@register.simple_tag
def script(path: str) -> SafeString:
    """A script of ours that the browser runs only if it is byte for byte what we serve."""
    return format_html('<script src="{}" integrity="{}" defer></script>', static(path), _integrity(path))


@register.filter
def model_text(text: str) -> SafeString:
    """What a model or a person wrote, as harmless HTML."""
    from annotate.rendering import render  # noqa: PLC0415, the library is loaded before the apps are

    return render(text)


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago something was, in one unit."""
    if moment is None:
        return _("never")
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    if seconds < 10:
        return _("just now")
    if seconds < 60:
        return _("%(n)s s ago") % {"n": seconds}
    if seconds < 3600:
        return _("%(n)s min ago") % {"n": seconds // 60}
    if seconds < 86_400:
        return _("%(n)s h ago") % {"n": seconds // 3600}
    days = seconds // 86_400
    return ngettext("%(n)s d ago", "%(n)s d ago", days) % {"n": days}


@register.filter
def percent(share: float | None) -> str:
    """A share as per cent; nothing where there is none."""
    return "" if share is None else f"{share * 100:.0f}%"


@lru_cache
def _integrity(path: str) -> str:
    found = finders.find(path)
    if not isinstance(found, str):
        raise template.TemplateSyntaxError(f"there is no static file {path}")
    with open(found, "rb") as file:
        return "sha384-" + base64.b64encode(hashlib.sha384(file.read()).digest()).decode()
