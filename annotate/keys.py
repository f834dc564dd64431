"""The keys of the rater's screen: what they do, what they are at first, and each rater's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.models import User

NAMED = (
    *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Enter", "Backspace", "Home", "End"),
    *("PageUp", "PageDown", "Insert", "Delete", "F2", "F4", "F6", "F8", "F9", "F10"),
)


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does; several keys may do it."""

    keys: str  # at first, with spaces between
    words: str | Promise


ACTIONS = {
    "first": Action("ArrowLeft", gettext_lazy("The first is better")),
    "tie": Action("ArrowDown", gettext_lazy("Tie")),
    "second": Action("ArrowRight", gettext_lazy("The second is better")),
    "all_bad": Action("0", gettext_lazy("All bad")),
    "undo": Action("u z", gettext_lazy("Undo the last judgment")),
    "skip": Action("s", gettext_lazy("Skip")),
    "flag": Action("f", gettext_lazy("Flag")),
    "rationale": Action("r", gettext_lazy("Say why")),
    "raw": Action("x", gettext_lazy("Raw text")),
    "guidelines": Action("g", gettext_lazy("Guidelines")),
    "recent": Action("l", gettext_lazy("Last judgments")),
    "help": Action("?", gettext_lazy("Keys")),
}


def of(user: User) -> dict[str, str]:
    """What each action's keys are for this person."""
    return {name: user.keys.get(name, action.keys) for name, action in ACTIONS.items()}


def save(user: User, chosen: Mapping[str, Any]) -> None:
    """Keep a person's own keys; one key does one thing, and digits stay with the answers."""
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    faults: dict[str, list[str]] = {}
    for name, action in ACTIONS.items():
        keys = str(chosen.get(name, "")).split() or action.keys.split()
        keys = [key.lower() if len(key) == 1 else key for key in keys]
        fault = _fault(name, keys, taken)
        if fault:
            faults[name] = [fault]
        taken.update(dict.fromkeys(keys, name))
        found[name] = " ".join(keys)
    if faults:
        raise ValidationError(faults)
    user.keys = {name: keys for name, keys in found.items() if keys != ACTIONS[name].keys}
    user.save(update_fields=["keys"])


def _fault(name: str, keys: list[str], taken: Mapping[str, str]) -> str:
    for key in keys:
        if len(keys) > 3 or (len(key) != 1 and key not in NAMED):
            return _("%(key)s is no key that this page can use.") % {"key": key[:20]}
        if key in taken:
            return _("%(key)s is taken: %(words)s.") % {"key": key, "words": ACTIONS[taken[key]].words}
        if key in "123456789" and len(key) == 1:
            return _("%(key)s is one of the answers’ own digits.") % {"key": key}
    return ""
