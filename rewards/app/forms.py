"""What an admin enters to start a reward model: fields of its config, checked as the command line does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from uuid import uuid4

from django import forms
from django.core.exceptions import ValidationError

from lm.config import ConfigError, Setting, from_json, from_text, settings_of
from rewards.app.bases import Base
from rewards.app.starting import Standing
from rewards.config import RewardConfig

FIRST = ("train", "members")  # the few that matter; all others are folded
GROUPS: dict[str, tuple[str, ...]] = {
    "What judgments are taken for": ("raters", "style_terms", "ties", "groups"),
    "How it learns": ("penalty", "lora_rank", "epochs", "batch_size", "learning_rate", "centring", "pooling"),
    "The score": ("pessimism", "reference_samples"),
    "The machine": (
        "max_length",
        "micro_batch_tokens",
        "gradient_checkpointing",
        "checkpoint_every",
        "precision",
        "device",
        "seed",
    ),
    "More": (),  # and whatever is in no other group
}
LABELS = {
    "train": "What is trained",
    "raters": "Raters told apart",
    "style_terms": "Style left out of the reward",
    "groups": "Heads for groups of raters",
    "lora_rank": "Rank of adapters",
    "pooling": "Read of an encoder",
    "batch_size": "Prompts in a step",
    "max_length": "Longest, in tokens",
    "reference_samples": "Responses for the mean",
    "micro_batch_tokens": "Tokens at once",
    "checkpoint_every": "Checkpoint every",
}
OPTIONS = {
    ("train", "auto"): "What the number of judgments suggests",
    ("train", "head"): "A head on the frozen model",
    ("train", "full"): "All weights",
    ("train", "lora"): "Low-rank adapters",
    ("ties", "davidson"): "A width learned for them",
    ("ties", "rao-kupper"): "A threshold of noticing learned",
    ("ties", "half"): "Half a win each",
    ("pooling", "auto"): "What its family does",
    ("pooling", "first"): "The first token",
    ("pooling", "mean"): "The mean of all tokens",
    ("device", "auto"): "What the worker has",
    ("device", "cpu"): "Processor",
    ("device", "cuda"): "GPU",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together on the page."""

    title: str
    fields: list[forms.BoundField]


class OptionField(forms.CharField):
    """One of some options; whether it is one of them, the config says."""

    widget = forms.Select

    def __init__(self, *, choices: Sequence[tuple[Any, str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices


def of_the_web() -> Iterator[Setting]:
    """The settings that a page offers: no path, for what a run reads is the server's to say."""
    for setting in settings_of(RewardConfig):
        kinds = (setting.kind, *get_args(setting.kind))
        if Path not in kinds and setting.name != "simulated":
            yield setting


def field_of(setting: Setting) -> forms.Field:
    """A field that takes what a command line takes; left empty, it stands for the default."""
    label = LABELS.get(setting.name, setting.name.replace("_", " ").capitalize())
    shared: dict[str, Any] = {
        "label": label,
        "help_text": setting.help[:1].upper() + setting.help[1:],
        "required": False,
    }
    if setting.kind is bool:
        return forms.BooleanField(**shared)
    if get_origin(setting.kind) is Literal:
        texts = [(one, OPTIONS.get((setting.name, str(one)), str(one))) for one in get_args(setting.kind)]
        return OptionField(choices=texts, **shared)
    numeric = not {int, float}.isdisjoint((setting.kind, *get_args(setting.kind)))
    return forms.CharField(max_length=100, widget=forms.NumberInput if numeric else None, **shared)


class StartForm(forms.Form):
    """From which model and which judgments, and every setting of the config that is no path."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    base = forms.ChoiceField(
        label="Model to start from",
        error_messages={
            "required": "Choose a model to start from.",
            "invalid_choice": "This project has no such model. Choose one of the list.",
        },
    )
    simulated = forms.BooleanField(
        required=False,
        label="Also judgments of simulated raters",
        help_text="Good for trying; people come first.",
    )

    def __init__(self, *args: Any, bases: Sequence[Base], standing: Standing, **kwargs: Any) -> None:
        self.bases, self.standing = bases, standing
        kwargs["initial"] = {
            "key": uuid4(),
            "base": bases[0].key if bases else None,
            "simulated": not standing.by_people,
        }
        super().__init__(*args, **kwargs)
        base = self.fields["base"]
        assert isinstance(base, forms.ChoiceField)  # noqa: S101
        base.choices = [(one.key, one.name) for one in bases]
        self.settings = {setting.name: setting for setting in of_the_web()}
        for setting in self.settings.values():
            self.fields[setting.name] = field_of(setting)
            self.initial[setting.name] = _as_text(setting.default)

    def first(self) -> list[forms.BoundField]:
        """The settings that are always seen."""
        return [self[name] for name in FIRST if name in self.fields]

    def folded(self) -> list[Group]:
        """The folded settings."""
        grouped = {*FIRST, *(name for names in GROUPS.values() for name in names)}
        rest = tuple(name for name in self.settings if name not in grouped)
        groups = (
            Group(title, [self[name] for name in names or rest if name in self.fields])
            for title, names in GROUPS.items()
        )
        return [group for group in groups if group.fields]

    @property
    def folded_errors(self) -> bool:
        """Whether something that is folded needs a look."""
        return any(field.errors for group in self.folded() for field in group.fields)

    def clean(self) -> dict[str, Any]:
        """Refuse fields that don't exist, too few judgments, and what the command line refuses."""
        values: dict[str, Any] = super().clean() or {}
        for name in self.data:
            if name not in self.fields and name != "csrfmiddlewaretoken":
                raise ValidationError(f"There is no setting “{name}”.")
        if reason := self.standing.reason_against(simulated=values.get("simulated", False)):
            self.add_error("simulated" if self.standing.simulated else None, reason)
        for name in self.settings:
            self._check({name: values.get(name)})
        if not self.errors:
            self._check({name: values.get(name) for name in self.settings})
        return values

    def _check(self, values: dict[str, Any]) -> None:
        """Refuse as the config itself does, at the field that it names."""
        try:
            from_json(RewardConfig, {"model": "", "pairs": "", **self._as_json(values)})
        except ConfigError as error:
            name = str(error).partition(" ")[0]
            self.add_error(name if name in self.fields else None, f"{error}.")

    def _as_json(self, texts: dict[str, Any]) -> dict[str, Any]:
        """The values that these texts stand for; those left empty are left out."""
        found = {}
        for name, text in texts.items():
            kind = self.settings[name].kind
            if isinstance(text, bool):
                found[name] = text
            elif text:
                listed = get_origin(kind) is tuple
                found[name] = from_text(kind, text.replace(",", " ").split() if listed else text)
        return found

    def config(self) -> dict[str, Any]:
        """The valid form as arguments of the config, less the paths."""
        values = {name: self.cleaned_data[name] for name in self.settings}
        whole = from_json(RewardConfig, {"model": "", "pairs": "", **self._as_json(values)})
        found = {name: getattr(whole, name) for name in self.settings}
        return {**found, "simulated": self.cleaned_data["simulated"]}

    def chosen(self) -> Base:
        """The model of the valid form."""
        return next(base for base in self.bases if base.key == self.cleaned_data["base"])

    def wrong(self) -> Iterator[forms.BoundField]:
        """The fields that have errors, for the list at the top."""
        return (self[name] for name in self.errors if name in self.fields)


def _as_text(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
