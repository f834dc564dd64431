"""What people post about people: invitations, roles, names, passwords."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from annotate import background, people
from annotate.models import LABELING, BackgroundQuestion, Membership, Role, SignInFailure, User

TAG = re.compile(r"[\w.+-]+(:[\w.+-]+)?")
PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
DAYS = ((1, "1 day"), (3, "3 days"), (7, "7 days"), (30, "30 days"), (90, "90 days"))
WHAT_THEY_DO = {
    Role.RATER: gettext_noop("compares responses"),
    Role.WRITER: gettext_noop("writes responses, and compares"),
    Role.ADJUDICATOR: gettext_noop("decides where raters disagree, reviews what writers wrote, and compares"),
    Role.RESEARCHER: gettext_noop("sees figures and models, downloads data; does not rate"),
    Role.ADMIN: gettext_noop("does everything but rate"),
}
ROLES = tuple((role.value, f"{role.label}: {words}") for role, words in WHAT_THEY_DO.items())


class TagsField(forms.CharField):
    """Words with commas or spaces between them, such as `lang:de maths`."""

    def to_python(self, value: Any) -> Any:
        """The different words, in order."""
        tags = list(dict.fromkeys((super().to_python(value) or "").replace(",", " ").split()))
        wrong = next((tag for tag in tags if len(tag) > 40 or not TAG.fullmatch(tag)), None)
        if wrong is not None:
            raise ValidationError(f"“{wrong}” is no tag; write tags like lang:de or maths.")
        if len(tags) > 20:
            raise ValidationError("At most 20 tags.")
        return tags

    def prepare_value(self, value: Any) -> Any:
        """As they are written."""
        return " ".join(value) if isinstance(value, list) else value


class InvitationForm(forms.Form):
    """Whom to invite, as what, for how long."""

    label = forms.CharField(required=False, max_length=100, label="For whom")
    role = forms.ChoiceField(choices=ROLES, initial=Role.RATER)
    places = forms.IntegerField(min_value=1, max_value=100_000, initial=1, label="People it lets in")
    days = forms.TypedChoiceField(coerce=int, choices=DAYS, initial=7, label="Works for")
    group = forms.CharField(required=False, max_length=50)
    tags = TagsField(required=False, max_length=500)
    id_parameter = forms.CharField(required=False, max_length=50, label="Parameter with the person’s id")
    completion_code = forms.CharField(required=False, max_length=100)
    judgments_for_code = forms.IntegerField(
        required=False, min_value=0, max_value=1_000_000, label="Judgments for the code"
    )

    def clean_id_parameter(self) -> str:
        """A name that can stand in an address."""
        name: str = self.cleaned_data["id_parameter"].strip()
        if name and not PARAMETER.fullmatch(name):
            raise ValidationError(f"“{name}” is no parameter; platforms use names like PROLIFIC_PID.")
        return name

    def clean(self) -> dict[str, Any]:
        """A link for many must not make many who see everything, and a code belongs to a crowd."""
        values: dict[str, Any] = super().clean() or {}
        values["judgments_for_code"] = values.get("judgments_for_code") or 0
        crowd = values.get("id_parameter")
        if values.get("role") and values["role"] not in LABELING:
            if values.get("places", 1) > 1:
                self.add_error("places", f"A link for a {values['role']} lets one person in.")
            if crowd:
                self.add_error("role", f"A crowd can’t be {values['role']}: whoever has an id gets in.")
        if values.get("completion_code") and not crowd:
            self.add_error("completion_code", "A code needs the parameter with the person’s id.")
        if crowd and values.get("completion_code") and not values["judgments_for_code"]:
            self.add_error("judgments_for_code", "Say after how many judgments the code is shown.")
        return values

    def terms(self) -> people.Terms:
        """The valid form as terms."""
        return people.Terms(**self.cleaned_data)


class MemberForm(forms.Form):
    """What a member is in the project."""

    role = forms.ChoiceField(choices=ROLES)
    group = forms.CharField(required=False, max_length=50)
    tags = TagsField(required=False, max_length=500)


class EmailForm(forms.Form):
    """The address by which single sign-on knows a person."""

    email = forms.EmailField(required=False, max_length=254)


class PasswordFields(forms.Form):
    """A new password, checked as everywhere."""

    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def check(self, user: User) -> None:
        """Hold the password against the validators, which know the person."""
        password = self.cleaned_data.get("password")
        if password:
            try:
                validate_password(password, user)
            except ValidationError as error:
                self.add_error("password", error)


class JoinForm(PasswordFields):
    """A name, and a password for those who want one."""

    name = forms.CharField(max_length=100)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].required = False

    def clean_name(self) -> str:
        """A name that nobody has."""
        return people.check_name(self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        """A password that is not the name."""
        values: dict[str, Any] = super().clean() or {}
        self.check(User(username=values.get("name", "")))
        return values


class NameForm(forms.Form):
    """Another name for oneself."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_name(self) -> str:
        """A name that nobody else has."""
        return people.check_name(self.cleaned_data["name"], of=self.user)


class PasswordForm(PasswordFields):
    """A new password, by the old one or in a session that a one-time link began."""

    current = forms.CharField(
        label=gettext_lazy("Current password"),
        required=False,
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, trusted: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.asks_current = user.has_usable_password() and not trusted

    def clean(self) -> dict[str, Any]:
        """The old password where there is one, and a new one that holds."""
        values: dict[str, Any] = super().clean() or {}
        if self.asks_current:
            self._check_current(values.get("current", ""))
        self.check(self.user)
        return values

    def _check_current(self, password: str) -> None:
        """Counted like a password at the door."""
        name = self.user.get_username()
        if not SignInFailure.admit(name, None):
            minutes = int(SignInFailure.WINDOW.total_seconds() // 60)
            self.add_error("current", _("Too many tries. Wait %(minutes)s minutes.") % {"minutes": minutes})
        elif self.user.check_password(password):
            SignInFailure.forget(name)
        else:
            self.add_error("current", _("That is not your password now."))


def member_form(membership: Membership, data: Any = None) -> MemberForm:
    """The form with what the member is now."""
    now = {"role": membership.role, "group": membership.group, "tags": membership.tags}
    return MemberForm(data, initial=now)


class BackgroundForm(forms.Form):
    """Answers to a project's questions; none is needed, and each may be left unsaid."""

    consent = forms.BooleanField(
        error_messages={"required": gettext_lazy("Tick this first, or leave the page: nothing is stored.")}
    )

    def __init__(
        self,
        *args: Any,
        questions: Sequence[BackgroundQuestion],
        given: Mapping[int, Sequence[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.questions = questions
        for question in questions:
            choices = [
                *((option, option) for option in question.options),
                (background.UNSAID, _("Prefer not to say")),
            ]
            before = given.get(question.pk)
            field: forms.ChoiceField | forms.MultipleChoiceField
            if question.several:
                field = forms.MultipleChoiceField(required=False, choices=choices, label=question.text)
                field.initial = [background.UNSAID] if before == [] else before
            else:
                field = forms.ChoiceField(required=False, choices=choices, label=question.text)
                field.initial = background.UNSAID if before == [] else before[0] if before else None
            field.widget = forms.CheckboxSelectMultiple() if question.several else forms.RadioSelect()
            field.widget.choices = choices
            self.fields[f"q{question.pk}"] = field

    def answers(self) -> dict[BackgroundQuestion, list[str]]:
        """The valid form: the options of each question that was answered; an empty list is unsaid."""
        found = {}
        for question in self.questions:
            name = f"q{question.pk}"
            if name not in self.data:
                continue
            value = self.cleaned_data[name]
            chosen = value if isinstance(value, list) else [value]
            if any(chosen):
                found[question] = [option for option in chosen if option not in ("", background.UNSAID)]
        return found


class QuestionForm(forms.Form):
    """A background question; its options a line each, a share after `=` where it is known."""

    text = forms.CharField(max_length=200, label="Question")
    options = forms.CharField(max_length=4000, widget=forms.Textarea(attrs={"rows": 6}))
    several = forms.BooleanField(required=False, label="Several may hold")

    def __init__(self, *args: Any, question: BackgroundQuestion, used: set[str], **kwargs: Any) -> None:
        lines = [
            f"{option} = {question.declared[option] * 100:g}" if option in question.declared else option
            for option in question.options or ()
        ]
        start = {"text": question.text, "options": "\n".join(lines), "several": question.several}
        super().__init__(*args, **{"initial": start, **kwargs})
        self.question, self.used = question, used
        self.declared: dict[str, float] = {}

    def clean_options(self) -> list[str]:
        """The options, and aside the shares that were declared."""
        options: list[str] = []
        for number, line in enumerate(self.cleaned_data["options"].splitlines(), 1):
            option, sign, share = (part.strip() for part in line.rpartition("="))
            if not sign:
                option, share = line.strip(), ""
            if not option:
                continue
            if len(option) > 80:
                raise ValidationError(f"Line {number}: an option has at most 80 characters.")
            if option == background.UNSAID:
                raise ValidationError(f"Line {number}: “{option}” can’t be an option.")
            if option in options:
                raise ValidationError(f"Line {number}: “{option}” is there twice.")
            options.append(option)
            if sign:
                try:
                    self.declared[option] = _share(share)
                except ValueError as error:
                    raise ValidationError(f"Line {number}: “{share}” is no share from 0 to 100.") from error
        if not 2 <= len(options) <= 40:
            raise ValidationError("Two to 40 options, one a line.")
        missing = sorted(self.used - set(options))
        if missing:
            raise ValidationError(f"“{missing[0]}” has answers already and must stay as it is.")
        return options

    def clean(self) -> dict[str, Any]:
        """Where one option holds, the shares are of a whole; what was answered keeps its kind."""
        values: dict[str, Any] = super().clean() or {}
        several = values.get("several", False)
        if not several and sum(self.declared.values()) > 1.0001:
            self.add_error("options", f"The shares add up to {sum(self.declared.values()):.0%}.")
        if self.used and several != self.question.several:
            self.add_error("several", "There are answers already; this can’t change any more.")
        return values

    def changed(self) -> BackgroundQuestion:
        """The valid form as the question, not yet stored."""
        question = self.question
        question.text = self.cleaned_data["text"]
        question.options = self.cleaned_data["options"]
        question.several = self.cleaned_data["several"]
        question.declared = self.declared
        if not question.name:
            taken = BackgroundQuestion.objects.filter(project=question.project)
            base = slugify(question.text)[:30].strip("-") or "question"
            names = set(taken.values_list("name", flat=True))
            endings = ("", *(f"-{number}" for number in range(2, len(names) + 3)))
            question.name = next(base + ending for ending in endings if base + ending not in names)
        return question


def _share(text: str) -> float:
    value = float(text.rstrip("% ").replace(",", "."))
    if not 0 <= value <= 100:
        raise ValueError(value)
    return value / 100


class GuidelineForm(forms.Form):
    """The next version of the guidelines, in Markdown."""

    text = forms.CharField(max_length=50_000, strip=False, widget=forms.Textarea(attrs={"rows": 24}))
    after = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def clean_text(self) -> str:
        """Line ends as files have them; something has to be said."""
        text: str = self.cleaned_data["text"].replace("\r\n", "\n").strip()
        if not text:
            raise ValidationError("Write something first.")
        return text + "\n"
