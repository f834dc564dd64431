"""What an admin enters about a project: a new one, its settings, a copy, its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from django import forms
from django.core.exceptions import ValidationError

from annotate.models import Project
from annotate.presets import PRESETS
from annotate.projects import RESERVED, defaults
from annotate.settings import LIMITS, SHARES, ProjectSettings
from lm.config import ConfigError, Setting, from_json, settings_of, to_json

GROUPS: dict[str, tuple[str, ...]] = {
    "Answer": (
        "scheme",
        "rationale",
        "score_steps",
        "top",
        "tie",
        "all_bad",
        "confidence",
        "criteria_required",
        "criteria",
        "labels",
    ),
    "Who is asked what": (
        "overlap",
        "overlap_share",
        "overlap_judgments",
        "gold_share",
        "repeat_share",
        "repeat_gap",
        "uniform_share",
        "uniform_below",
        "near_identical",
        "lease_minutes",
        "hourly_limit",
        "round_limit",
        "routes",
        "masks",
    ),
    "Around it": (),  # and whatever is in no other group
}
MEANINGS = {
    "Answer": "What raters see below the responses. A judgment keeps what it was given under.",
    "Who is asked what": "How many people judge a comparison, and what is mixed in. "
    "Shares are drawn when comparisons are made; those that are there keep theirs.",
    "Around it": "The sitting, the texts around the responses, and pay.",
}
LABELS = {
    "scheme": "Answer",
    "tie": "Ties",
    "all_bad": "Both bad, or all bad",
    "top": "Places to fill",
    "score_steps": "Highest score",
    "criteria_required": "Criteria are required",
    "rationale": "Reasons",
    "confidence": "Confidence",
    "overlap": "Judgments of a comparison",
    "overlap_share": "Share judged by more",
    "overlap_judgments": "Judgments of those",
    "gold_share": "Known answers",
    "repeat_share": "Swapped repeats",
    "repeat_gap": "Gap before a repeat",
    "uniform_share": "Drawn at random",
    "uniform_below": "All at random below",
    "near_identical": "Near-identical from",
    "lease_minutes": "Lease, in minutes",
    "hourly_limit": "Most in an hour",
    "round_limit": "Most in a batch",
    "masks": "Masked words",
    "qualification_pass": "Pass mark",
    "break_minutes": "Break after, in minutes",
    "pay_per_hour": "Pay for an hour",
    "pay_per_judgment": "Pay for a judgment",
}
OPTIONS = {
    "choice": "A or B, with one key",
    "strength": "Seven steps of how much better",
    "ranking": "An order of all",
    "scores": "A score for each",
    "off": "Not asked",
    "optional": "As raters like",
    "strong": "Needed for strong choices",
    "always": "Always needed",
}
LONG = {"system_prompt", "content_warning"}
MOST_LETTERS = 20_000  # of a system prompt


class Lines(forms.Textarea):
    """Where lines are typed."""


class Percent(forms.NumberInput):
    """Where per cent are typed."""


class LinesField(forms.CharField):
    """Short texts, one a line."""

    widget = Lines(attrs={"rows": 3})

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        """The lines that hold something."""
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        """A list as lines."""
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def validate(self, value: Any) -> None:
        """Leave what lists may hold to the settings themselves."""

    def run_validators(self, value: Any) -> None:
        """The same."""


class AmountField(forms.FloatField):
    """A number that needs no decimals."""

    def prepare_value(self, value: Any) -> Any:
        """Without a zero behind the point."""
        return f"{value:.12g}" if isinstance(value, float) else value


class PercentField(forms.FloatField):
    """A share, entered in per cent."""

    widget = Percent

    def clean(self, value: Any) -> Any:
        """Per cent as a share, without the noise of dividing."""
        found = super().clean(value)
        return found if found is None else round(found / 100, 6)

    def prepare_value(self, value: Any) -> Any:
        """A share as per cent."""
        return f"{value * 100:.4f}".rstrip("0").rstrip(".") if isinstance(value, float | int) else value


def field_of(setting: Setting) -> forms.Field:
    """The form field of one setting, by its type and its limits."""
    shared: dict[str, Any] = {
        "label": LABELS.get(setting.name, setting.name.replace("_", " ").capitalize()),
        "help_text": setting.help[:1].upper() + setting.help[1:],
    }
    low, high = LIMITS.get(setting.name, (None, None))
    if get_origin(setting.kind) is Literal:
        texts = [(option, OPTIONS.get(str(option), str(option))) for option in get_args(setting.kind)]
        whole = all(isinstance(option, int) for option, _ in texts)
        return forms.TypedChoiceField(choices=texts, coerce=int if whole else str, **shared)
    if setting.kind is bool:
        return forms.BooleanField(required=False, **shared)
    if setting.name in SHARES:
        return PercentField(min_value=0, max_value=100, error_messages=_number_errors("%"), **shared)
    if setting.kind is int:
        return forms.IntegerField(min_value=low, max_value=high, error_messages=_number_errors(), **shared)
    if setting.kind is float:
        return AmountField(min_value=low, max_value=high, error_messages=_number_errors(), **shared)
    if get_origin(setting.kind) is tuple:
        return LinesField(required=False, **{**shared, "help_text": f"{shared['help_text']} (one a line)"})
    widget = forms.Textarea(attrs={"rows": 3}) if setting.name in LONG else None
    required = setting.default != ""
    most = MOST_LETTERS if setting.name in LONG else 200
    return forms.CharField(required=required, max_length=most, widget=widget, **shared)


def _number_errors(unit: str = "") -> dict[str, str]:
    unit = unit.replace("%", "%%")
    return {
        "required": "Give a number.",
        "invalid": "This is no number of the kind that is asked for here.",
        "min_value": f"%(show_value)g{unit} is too little. Use %(limit_value)s{unit} or more.",
        "max_value": f"%(show_value)g{unit} is too much. Use %(limit_value)s{unit} or less.",
    }


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together on the page."""

    title: str
    meaning: str
    fields: list[forms.BoundField]

    @property
    def slug(self) -> str:
        """Its name in addresses."""
        return self.title.lower().replace(" ", "-")


class SettingsForm(forms.Form):
    """Name and settings of a project: a field for each that `ProjectSettings` has, and no others."""

    name = forms.CharField(max_length=100, help_text="On pages. Its address stays as it is.")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        self.project = project
        kwargs["initial"] = {"name": project.name, **to_json(project.rules)}
        super().__init__(*args, **kwargs)
        for setting in settings_of(ProjectSettings):
            self.fields[setting.name] = field_of(setting)

    def groups(self) -> list[Group]:
        """The fields in the order of the page."""
        grouped = {name for names in GROUPS.values() for name in names}
        rest = tuple(name for name in self.fields if name != "name" and name not in grouped)
        return [
            Group(title, MEANINGS[title], [self[name] for name in names or rest])
            for title, names in GROUPS.items()
        ]

    def clean(self) -> dict[str, Any]:
        """Refuse fields that don't exist, and what the settings refuse together."""
        values: dict[str, Any] = super().clean() or {}
        for name in self.data:
            if name not in self.fields and name != "csrfmiddlewaretoken":
                raise ValidationError(f"There is no setting “{name}”.")
        if self.errors:
            return values
        try:
            from_json(ProjectSettings, self.settings(values))
        except ConfigError as error:
            field = str(error).partition(" ")[0]
            self.add_error(field if field in self.fields else None, str(error))
        return values

    def settings(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """The settings as the project keeps them: all of them, so that later defaults change nothing."""
        values = self.cleaned_data if values is None else values
        return {name: values[name] for name in defaults()}

    def wrong(self) -> Iterator[forms.BoundField]:
        """The fields that have errors, for the list at the top."""
        return (self[name] for name in self.errors if name in self.fields)


class AddressForm(forms.Form):
    """A project's name and its name in addresses."""

    name = forms.CharField(max_length=100)
    slug = forms.SlugField(
        max_length=50,
        label="Address",
        help_text="Small letters, digits and hyphens. It can’t be changed later.",
        error_messages={"invalid": "Use small letters, digits and hyphens."},
    )

    def clean_slug(self) -> str:
        """An address that nobody has."""
        slug: str = self.cleaned_data["slug"]
        if slug != slug.lower():
            raise ValidationError("Use small letters, digits and hyphens.")
        if slug in RESERVED:
            raise ValidationError(f"“{slug}” is an address of ours; choose another.")
        if Project.objects.filter(slug=slug).exists():
            raise ValidationError(f"There is a project at “{slug}” already.")
        return slug


class NewProjectForm(AddressForm):
    """A project to make, from a preset or from nothing."""

    preset = forms.ChoiceField(
        choices=[*((preset.name, preset.title) for preset in PRESETS), ("", "Empty")], required=False
    )


class CopyForm(AddressForm):
    """A copy to make."""

    prompts = forms.BooleanField(required=False, help_text="Without responses, comparisons and judgments.")


class DeleteForm(forms.Form):
    """The address of the project, typed by whoever deletes it."""

    slug = forms.CharField(max_length=50, label="Address of the project")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def clean_slug(self) -> str:
        """Exactly this project's."""
        slug: str = self.cleaned_data["slug"].strip()
        if slug != self.project.slug:
            raise ValidationError(f"“{slug}” is not the address of this project.")
        return slug


class ReasonForm(forms.Form):
    """Why something is withdrawn, left out or settled."""

    reason = forms.CharField(max_length=200)
