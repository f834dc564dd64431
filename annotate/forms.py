"""What people post at the rater's screen and at the door."""

import json
import re
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.translation import gettext as _

from annotate.answers import Posted
from annotate.models import FlagKind

CLIENT = {  # what a browser may say of how a comparison was shown
    **dict.fromkeys(("device", "input", "theme", "locale", "build"), str),
    **dict.fromkeys(("width", "height", "hidden_ms", "changes", "pastes", "offset_ms"), int),
    "zoom": float,
    "scrolled": list,
    "offline": bool,
}
NUMBERED = re.compile(r"(rank|score|criterion|label)_([1-9])")


class PostedForm(forms.Form):
    """A form whose faults fit on one line."""

    @property
    def faults(self) -> str:
        """Every fault in one line, with the field it is in."""
        found = [
            (f"{field}: " if field != "__all__" else "") + str(message)
            for field, messages in self.errors.items()
            for message in messages
        ]
        return " ".join(found)


class ClientField(forms.JSONField):
    """What the browser says of itself; only what we ask for, and not much of it."""

    def clean(self, value: Any) -> dict[str, Any] | None:
        """Refuse unknown names and long texts."""
        found = super().clean(value)
        if found in (None, ""):
            return None
        if not isinstance(found, dict) or len(str(value)) > 2000:
            raise ValidationError(_("must be a small JSON object."))
        for name, item in found.items():
            kind = CLIENT.get(name)
            numbers = kind is float and isinstance(item, int | float)
            if (
                kind is None
                or isinstance(item, bool) != (kind is bool)
                or not (numbers or isinstance(item, kind))
            ):
                words = _("%(name)s is %(given)s, which is not known.")
                raise ValidationError(words % {"name": name, "given": json.dumps(item)[:40]})
        return found


class JudgmentForm(PostedForm):
    """A rater's answer, by the positions in which the responses were shown."""

    client_key = forms.UUIDField()
    supersedes = forms.UUIDField(required=False)
    order = forms.CharField(required=False, max_length=50, strip=False)
    all_bad = forms.BooleanField(required=False)
    confidence = forms.IntegerField(required=False)
    rationale = forms.CharField(required=False, max_length=10_000)
    opened = forms.RegexField(r"^([1-9](,[1-9])*)?$", required=False, empty_value=None)
    client = ClientField(required=False)
    shown_at = forms.DateTimeField(required=False)
    first_input_at = forms.DateTimeField(required=False)
    submitted_at = forms.DateTimeField(required=False)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1)

    data: QueryDict

    def clean(self) -> dict[str, Any]:
        """Gather the fields that there are as many of as responses or criteria."""
        values: dict[str, Any] = super().clean() or {}
        rows: dict[str, dict[int, Any]] = {"rank": {}, "score": {}, "criterion": {}, "label": {}}
        for name in self.data:
            match = NUMBERED.fullmatch(name)
            if match is None:
                continue
            kind, number = match[1], int(match[2])
            text = self.data.get(name, "")
            if kind == "label":
                rows[kind][number] = [str(one)[:60] for one in self.data.getlist(name)]
            elif kind == "criterion":
                rows[kind][number] = str(text)[:50]
            elif text:
                if not re.fullmatch("[0-9]{1,2}", str(text)):
                    words = _("%(name)s: %(given)r is no number.")
                    raise ValidationError(words % {"name": name, "given": str(text)[:20]})
                rows[kind][number] = int(text)
        opened = values.get("opened")
        return {
            **values,
            "opened": frozenset(map(int, opened.split(","))) if opened else None,
            "ranks": rows["rank"],
            "scores": rows["score"],
            "criteria": rows["criterion"],
            "labels": rows["label"],
        }

    def posted(self) -> Posted:
        """The valid form."""
        return Posted(**self.cleaned_data)


def held_keys(data: QueryDict) -> list[UUID]:
    """The assignments that the browser has in hand already; what is no key is passed over."""
    found = []
    for text in data.getlist("held")[:9]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


class SkipForm(PostedForm):
    """Why a comparison is given back."""

    reason = forms.CharField(required=False, max_length=40)
    note = forms.CharField(required=False, max_length=150)

    @property
    def text(self) -> str:
        """The reason and the note in one line."""
        parts = (self.cleaned_data["reason"], self.cleaned_data["note"])
        return ": ".join(part for part in parts if part)


class FlagForm(PostedForm):
    """What is wrong with a response, or with the whole."""

    client_key = forms.UUIDField()
    kind = forms.ChoiceField(choices=FlagKind.choices)
    position = forms.IntegerField(required=False, min_value=0, max_value=9)
    note = forms.CharField(required=False, max_length=500)


class SignInForm(forms.Form):
    """Name and password."""

    username = forms.CharField(max_length=150)
    password = forms.CharField(max_length=1000, strip=False, widget=forms.PasswordInput)
