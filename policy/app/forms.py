"""What admins and researchers post about rounds and policies."""

from typing import Any

from django import forms

from annotate.models import Project
from lm.records import Message
from policy.app import trying
from policy.app.models import Policy

BUDGETS = (
    (1, "1 nat", "close to the base, a smaller gain"),
    (2, "2 nats", "the default"),
    (4, "4 nats", "more reward, and more of what the reward model gets wrong"),
)
FEWEST, MOST = 20, 2000  # comparisons
CHOICE = {
    "required": "Choose a policy.",
    "invalid_choice": "This policy can’t be asked. Choose one of the list.",
}


class RoundForm(forms.Form):
    """The few settings of a round."""

    kl_budget = forms.TypedChoiceField(
        choices=[(str(value), name) for value, name, _ in BUDGETS],
        coerce=float,
        initial="2",
        error_messages={
            "required": "Choose a budget.",
            "invalid_choice": "%(value)s is no budget. Choose 1, 2 or 4 nats.",
        },
    )
    comparisons = forms.IntegerField(
        initial=160,
        min_value=FEWEST,
        max_value=MOST,
        error_messages={
            "required": f"Give a number from {FEWEST} to {MOST:,}.",
            "invalid": f"This is no whole number. Give one from {FEWEST} to {MOST:,}.",
            "min_value": f"%(show_value)s is too few to tell two policies apart. Use {FEWEST} or more.",
            "max_value": f"%(show_value)s is above {MOST:,}. Use {MOST:,} or less.",
        },
    )

    def budgets(self) -> list[dict[str, Any]]:
        """The choices of the budget with what each means."""
        chosen = str(self["kl_budget"].value())
        return [
            {"value": value, "name": name, "means": means, "chosen": chosen == str(value)}
            for value, name, means in BUDGETS
        ]


class DecisionForm(forms.Form):
    """Why a policy is promoted or rejected."""

    LONGEST = 500

    note = forms.CharField(required=False, max_length=LONGEST)


class TryForm(forms.Form):
    """What is asked, and whom."""

    first = forms.ModelChoiceField(Policy.objects.none(), error_messages=CHOICE)
    second = forms.ModelChoiceField(Policy.objects.none(), error_messages=CHOICE)
    prompt = forms.CharField(
        max_length=4000,
        error_messages={
            "required": "Type what to ask.",
            "max_length": "This has %(show_value)d characters. Use %(limit_value)d or less.",
        },
    )
    notes = forms.CharField(
        max_length=2000,
        required=False,
        error_messages={"max_length": "This has %(show_value)d characters. Use %(limit_value)d or less."},
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.policies = trying.policies_of(project)
        for field in self.fields.values():
            if isinstance(field, forms.ModelChoiceField):
                field.queryset = Policy.objects.filter(pk__in=[policy.pk for policy in self.policies])

    def clean(self) -> dict[str, Any]:
        """Two policies are two."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("first") and values.get("first") == values.get("second"):
            self.add_error("second", f"Both are {values['first']}. Choose another to compare it with.")
        return values

    @property
    def whom(self) -> list[tuple[forms.BoundField, str]]:
        """The two choices of a policy, with their labels."""
        return [(self["first"], "Policy"), (self["second"], "Beside")]

    def messages(self) -> list[Message]:
        """The valid form as a conversation."""
        found = []
        if notes := self.cleaned_data["notes"].removeprefix("Notes:").strip():
            found.append(Message(role="system", content=f"Notes: {notes}"))
        return [*found, Message(role="user", content=self.cleaned_data["prompt"])]
