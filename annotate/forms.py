"""What people post."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from annotate.judging import Answer, JudgingError, parse_order
from annotate.models import Assignment


class JudgmentForm(forms.Form):
    """A rater's answer, by the positions in which the responses were shown."""

    client_key = forms.UUIDField()
    order = forms.CharField(required=False, max_length=50)
    all_bad = forms.BooleanField(required=False)
    shown_at = forms.DateTimeField(required=False)
    first_input_at = forms.DateTimeField(required=False)
    submitted_at = forms.DateTimeField(required=False)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1)

    def __init__(self, *args: Any, assignment: Assignment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assignment = assignment

    def clean(self) -> dict[str, Any]:
        """Read the order; an answer has one, or says that all are bad, or that both are as good."""
        values: dict[str, Any] = super().clean() or {}
        rules = self.assignment.comparison.project.rules
        if values.get("all_bad"):
            if not rules.all_bad:
                raise ValidationError("This project does not offer “both bad”.")
            values["positions"] = []
            return values
        try:
            values["positions"] = parse_order(values.get("order", ""), len(self.assignment.shown))
        except JudgingError as error:
            raise ValidationError(str(error)) from error
        if not rules.tie and any(len(group) > 1 for group in values["positions"]):
            raise ValidationError("This project does not offer ties.")
        return values

    def answer(self) -> Answer:
        """The valid form as an answer."""
        values = {name: value for name, value in self.cleaned_data.items() if name != "order"}
        return Answer(**values)

    @property
    def reason(self) -> str:
        """Every fault in one line, with the field it is in."""
        faults = [
            (f"{field}: " if field != "__all__" else "") + str(message)
            for field, messages in self.errors.items()
            for message in messages
        ]
        return " ".join(faults)


class SkipForm(forms.Form):
    """Why a comparison is given back."""

    reason = forms.CharField(required=False, max_length=200)


class SignInForm(forms.Form):
    """Name and password."""

    username = forms.CharField(max_length=150)
    password = forms.CharField(max_length=1000, strip=False, widget=forms.PasswordInput)
