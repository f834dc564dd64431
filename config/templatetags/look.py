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
        return "never"
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds} s ago"


@lru_cache
def _integrity(path: str) -> str:
    found = finders.find(path)
    if not isinstance(found, str):
        raise template.TemplateSyntaxError(f"there is no static file {path}")
    with open(found, "rb") as file:
        return "sha384-" + base64.b64encode(hashlib.sha384(file.read()).digest()).decode()
