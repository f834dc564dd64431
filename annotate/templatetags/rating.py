"""What the rater's screen needs of its templates: keys as they are printed, and how a comparison is asked."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from annotate.settings import ProjectSettings

register = template.Library()

CAPS = {
    "ArrowLeft": "←",
    "ArrowRight": "→",
    "ArrowUp": "↑",
    "ArrowDown": "↓",
    "Enter": "↵",
    "Backspace": "⌫",
    "Escape": "Esc",
}


@register.simple_tag
def asked_as(rules: ProjectSettings, sides: Sequence[object]) -> str:
    """The scheme as this comparison is asked: one key decides between two; of more there is an order."""
    return "ranking" if rules.scheme in ("choice", "strength") and len(sides) > 2 else rules.scheme


@register.simple_tag
def minutes_left(median_ms: int | str | None, number: int, total: int) -> int | None:
    """How long the rest of the sitting takes at the rater's own pace; nothing while that is unknown."""
    if not isinstance(median_ms, int):
        return None
    return max(1, round((total - number + 1) * median_ms / 60_000))


@register.filter
def keycap(keys: str) -> SafeString:
    """The first of the keys, as it is printed on its button."""
    return _cap(keys.split(maxsplit=1)[0]) if keys else format_html("{}", "")


@register.filter
def keycaps(keys: str) -> SafeString:
    """All the keys of an action."""
    return format_html_join(" ", "{}", ((_cap(key),) for key in keys.split()))


@register.filter
def at(mapping: object, key: Any) -> Any:
    """The value of a key that is itself a variable, else nothing."""
    return mapping.get(key, "") if isinstance(mapping, Mapping) else ""


@register.filter
def place_of(order: str | None, position: int) -> int | str:
    """The place of a position in an order such as `2>1=3`, for the form of a ranking."""
    for place, group in enumerate(re.split(">+", order or ""), start=1):
        if str(position) in group.split("="):
            return place
    return ""


def _cap(key: str) -> SafeString:
    # An arrow along the line turns with the page: A is on the side where reading begins.
    cap = CAPS.get(key, key.upper() if len(key) == 1 else key)
    turned = key in ("ArrowLeft", "ArrowRight")
    return format_html('<kbd class="turns">{}</kbd>' if turned else "<kbd>{}</kbd>", cap)
