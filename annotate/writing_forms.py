"""What writers, reviewers and admins post about demonstrations."""

from typing import Any

from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from annotate.models import Guideline, Project
from annotate.reviewing import Said, Verdict
from annotate.writing import Sent

LONGEST = 50_000  # characters of a demonstration
OTHER = "other"
REASONS = {
    "language": gettext_noop("Not my language"),
    "knowledge": gettext_noop("I don’t know enough about it"),
    "unsafe": gettext_noop("I don’t want to write this"),
    "unclear": gettext_noop("The prompt can’t be answered"),
    OTHER: gettext_noop("Something else"),
}


def faults(form: forms.Form) -> str:
    """Every fault in one line, with the field it is in."""
    return " ".join(
        (f"{field}: " if field != "__all__" else "") + str(message)
        for field, messages in form.errors.items()
        for message in messages
    )


def faults_of(form: forms.Form, field: str) -> str:
    """The faults of one field, without its name."""
    return " ".join(str(message) for message in form.errors[field])


class DraftForm(forms.Form):
    """What is written so far."""

    text = forms.CharField(required=False, strip=False)
    seen = forms.CharField(required=False, max_length=40)
    changes = forms.BooleanField(required=False)  # whether the page shows what was changed

    def clean_text(self) -> str:
        """The text with one kind of line end, which browsers post as two characters."""
        text = str(self.cleaned_data["text"]).replace("\r\n", "\n").replace("\r", "\n")
        if len(text) > LONGEST:
            words = _("This has %(has)s characters; up to %(most)s can be kept.")
            raise ValidationError(words % {"has": intcomma(len(text)), "most": intcomma(LONGEST)})
        return text


class SendForm(DraftForm):
    """A text that its author takes for finished."""

    client_key = forms.UUIDField()
    guideline = forms.IntegerField(required=False, min_value=1)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def clean_text(self) -> str:
        """Something must be written; what only surrounds it is left out."""
        text = super().clean_text().strip()
        if not text:
            raise ValidationError(_("There is nothing to send yet."))
        return text

    def clean_guideline(self) -> Guideline | None:
        """The version that the page showed."""
        version = self.cleaned_data["guideline"]
        if version is None:
            return None
        found = Guideline.objects.filter(project=self.project, version=version).first()
        if found is None:
            words = _("%(project)s has no guideline version %(version)s.")
            raise ValidationError(words % {"project": self.project, "version": version})
        return found

    def sent(self) -> Sent:
        """The valid form as what was sent."""
        return Sent(**{name: value for name, value in self.cleaned_data.items() if name != "changes"})


class SkipForm(forms.Form):
    """Why a prompt is given back."""

    reason = forms.ChoiceField(choices=list(REASONS.items()))
    words = forms.CharField(required=False, max_length=150)

    def said(self) -> str:
        """The reason in words; it is never empty."""
        reason, words = REASONS[self.cleaned_data["reason"]], self.cleaned_data["words"]
        return f"{reason}: {words}" if words else reason


class ReviewForm(forms.Form):
    """What a reviewer says of a version."""

    client_key = forms.UUIDField()
    version = forms.IntegerField(min_value=1)
    verdict = forms.ChoiceField(choices=Verdict.choices)
    note = forms.CharField(required=False, max_length=2000)

    def clean(self) -> dict[str, Any]:
        """Whoever sends back or rejects says why."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("verdict") in (Verdict.SEND_BACK, Verdict.REJECT) and values.get("note") == "":
            back = values["verdict"] == Verdict.SEND_BACK
            self.add_error(
                "note",
                _("Say why you send it back; its author reads this.")
                if back
                else _("Say why you reject it; its author reads this."),
            )
        return values

    def said(self) -> Said:
        """The valid form as what was said."""
        return Said(**self.cleaned_data)


class AskForm(forms.Form):
    """How much is to be written, and how."""

    count = forms.IntegerField(min_value=1, max_value=1_000_000, initial=20)
    people = forms.IntegerField(min_value=1, max_value=9, initial=1)
    how = forms.ChoiceField(choices=[("fresh", "From scratch"), ("edit", "Edit a response")], initial="fresh")


class WithdrawForm(forms.Form):
    """Why a demonstration is taken out."""

    reason = forms.CharField(max_length=180)
