"""What admins choose when they bring a file in."""

from collections.abc import Mapping
from typing import Any

from django import forms

from annotate.import_check import fields_of
from annotate.models import Upload

KINDS = (
    (Upload.Kind.PROMPTS, "Prompts"),
    (Upload.Kind.COMPARISONS, "Comparisons: prompts with responses to put side by side"),
    (Upload.Kind.JUDGMENTS, "Judgments made elsewhere, or chosen and rejected responses"),
)
BAD_LINES = (
    ("none", "Nothing comes in if a line is faulty"),
    ("skip", "The good lines come in, the faulty ones are left out"),
)
NOT_USED = "not used"


class UploadForm(forms.Form):
    """A file, and what its rows are."""

    kind = forms.ChoiceField(
        label="What is in it",
        choices=KINDS,
        initial=Upload.Kind.COMPARISONS,
        widget=forms.RadioSelect,
        error_messages={"required": "Say what the file holds."},
    )
    file = forms.FileField(
        label="File",
        widget=forms.ClearableFileInput(attrs={"accept": ".jsonl,.ndjson,.csv,.parquet,.gz"}),
        error_messages={"required": "Choose a file.", "empty": "The file is empty."},
        max_length=255,
    )


class ImportForm(forms.Form):
    """Which column is what, and what happens to faulty lines."""

    bad_lines = forms.ChoiceField(label="Faulty lines", choices=BAD_LINES, widget=forms.RadioSelect)

    def __init__(self, *args: Any, kind: str, preview: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.columns: list[str] = preview.get("columns", [])
        used: Mapping[str, str] = preview.get("used", {})
        choices = [("", NOT_USED), *((name, name) for name in fields_of(kind))]
        for number, column in enumerate(self.columns):
            known = used.get(column, "")
            self.fields[f"column_{number}"] = forms.ChoiceField(
                label=column,
                required=False,
                choices=choices,
                initial=known if known in fields_of(kind) else "",
            )

    def clean(self) -> dict[str, Any]:
        """Refuse two columns for one field."""
        values: dict[str, Any] = super().clean() or {}
        chosen = [name for name in self._by_column(values).values() if name]
        twice = sorted({name for name in chosen if chosen.count(name) > 1})
        if twice:
            raise forms.ValidationError(f"Two columns are {twice[0]}; choose one.")
        return values

    @property
    def by_column(self) -> dict[str, str]:
        """Our field for each of the file's columns, empty where it is not used."""
        return self._by_column(self.cleaned_data)

    def column_fields(self) -> list[forms.BoundField]:
        """The choices, a column each."""
        return [self[f"column_{number}"] for number in range(len(self.columns))]

    def _by_column(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {column: values.get(f"column_{number}", "") for number, column in enumerate(self.columns)}
