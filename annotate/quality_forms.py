"""What an admin enters about a rater."""

from datetime import UTC, date, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from annotate.models import RaterAction

MOST_LETTERS: dict[str, int] = {RaterAction.Kind.PAUSE: 500}  # as far as the rater's page has room


class ActionForm(forms.Form):
    """What is done about a rater, and why."""

    kind = forms.ChoiceField(choices=RaterAction.Kind.choices)
    text = forms.CharField(error_messages={"required": "Say it in a few words."})
    since = forms.CharField(required=False)

    def clean_text(self) -> str:
        """As many letters as there is room for."""
        text: str = self.cleaned_data["text"]
        most = MOST_LETTERS.get(self.cleaned_data.get("kind", ""), 1000)
        if len(text) > most:
            raise ValidationError(f"The text has {len(text):,} letters; there is room for {most:,}.")
        return text

    def clean_since(self) -> datetime | None:
        """The beginning of a day in UTC; only an exclusion has one, and it needs it."""
        if self.cleaned_data.get("kind") != RaterAction.Kind.EXCLUDE:
            return None
        text: str = self.cleaned_data["since"]
        if not text:
            raise ValidationError("Say from which day on.")
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise ValidationError(f"“{text[:30]}” is no day; write it as 2026-11-03.") from None
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    @property
    def problem(self) -> str:
        """Every fault in one line."""
        return " ".join(str(text) for texts in self.errors.values() for text in texts)

    @property
    def values(self) -> tuple[str, str, Any]:
        """What was entered."""
        return self.cleaned_data["kind"], self.cleaned_data["text"], self.cleaned_data["since"]
