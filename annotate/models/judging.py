"""What raters answered, and the preferences that follow from it."""

from __future__ import annotations

from typing import Any, NoReturn, Self

from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.utils import timezone

from annotate.models.asking import Assignment, Response, Rule
from annotate.models.people import RaterAction, User
from annotate.models.projects import Guideline


def left_out(judgment: str, assignment: str) -> Case:
    """Why a judgment is not used, as an expression; empty where it is. The arguments begin its lookups.

    The reasons exclude each other by their order here, so that the counts of all close.
    """
    comparison = f"{assignment}comparison__"
    excluded = RaterAction.objects.filter(
        kind=RaterAction.Kind.EXCLUDE,
        undone_at=None,
        membership__user=OuterRef(f"{assignment}rater"),
        membership__project=OuterRef(f"{comparison}project"),
        since__lte=OuterRef(f"{judgment}received_at"),
    )
    voided = Void.objects.filter(judgment=OuterRef(f"{judgment}pk"), undone_at=None)
    withdrawn_text = Response.objects.filter(
        comparisons=OuterRef(f"{comparison}pk"), withdrawn_at__isnull=False
    )
    return Case(
        When(Q(**{f"{judgment}withdrawn": True}), then=Value("taken back")),
        When(Q(**{f"{assignment}rule": Rule.TRAINING}), then=Value("training")),
        When(Q(**{f"{assignment}rule": Rule.QUALIFICATION}), then=Value("qualification")),
        When(Q(**{f"{assignment}rule": Rule.GOLD}), then=Value("known answer")),
        When(Q(**{f"{assignment}rule": Rule.REPEAT}), then=Value("swapped repeat")),
        When(Exists(voided), then=Value("left out by an admin")),
        When(Exists(excluded), then=Value("rater excluded")),
        When(
            Q(**{f"{comparison}prompt__withdrawn_at__isnull": False}) | Q(Exists(withdrawn_text)),
            then=Value("text withdrawn"),
        ),
        When(Q(**{f"{judgment}counted": False}), then=Value("place taken")),
        When(Q(**{f"{judgment}normal": False}), then=Value("not all opened")),
        default=Value(""),
    )


class AppendOnlyQuerySet(models.QuerySet["Judgment"]):
    """Rows that are added and never changed."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never changed; write one that supersedes")

    def delete(self) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never deleted; write one that supersedes")

    def standing(self) -> Self:
        """Those that nothing supersedes and that were not taken back."""
        return self.filter(superseded_by=None, withdrawn=False)

    def of_project(self, project: Any) -> Self:
        """The last word on each assignment of a project, taken back or not: what was received."""
        return self.filter(superseded_by=None, assignment__comparison__project=project)

    def with_reason(self) -> Self:
        """With `left_out`: the first reason why a judgment is not used, or nothing."""
        return self.annotate(left_out=left_out("", "assignment__"))

    def used(self) -> Self:
        """Those that say something about responses and that nothing speaks against."""
        return self.with_reason().filter(superseded_by=None, left_out="")


class Judgment(models.Model):
    """A rater's answer on one comparison: never changed, only superseded."""

    assignment = models.ForeignKey(
        Assignment, models.PROTECT, related_name="judgments", db_index=False
    )  # each `db_index=False` here: an index of a constraint begins with it
    client_key = models.UUIDField()
    order = models.JSONField()  # lists of response ids, best first; equals share a list
    all_bad = models.BooleanField(default=False)
    top = models.PositiveSmallIntegerField(default=0)  # only so many were put in order; the last group is not
    strength = models.SmallIntegerField(null=True, blank=True)  # how much better: 1 to 3; 0 equal
    criteria = models.JSONField(null=True, blank=True)
    scores = models.JSONField(null=True, blank=True)  # one for each response, as `Assignment.shown` has them
    labels = models.JSONField(null=True, blank=True)  # a list for each response, in the same order
    confidence = models.PositiveSmallIntegerField(null=True, blank=True)
    rationale = models.TextField(blank=True)
    withdrawn = models.BooleanField(default=False)  # taken back: the rater pressed undo
    late = models.BooleanField(default=False)  # came after its lease
    counted = models.BooleanField(default=True)  # false: late, and its place was another's by then
    simulated = models.BooleanField(default=False)
    guideline = models.ForeignKey(Guideline, models.PROTECT, null=True, blank=True, related_name="+")
    shown_at = models.DateTimeField(null=True, blank=True)  # this and the next two by the rater's clock
    first_input_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    normal = models.BooleanField(default=True)  # false: a response was never opened, on a phone
    client = models.JSONField(
        null=True, blank=True
    )  # how it was shown: device, input, viewport, hidden time …
    active_ms = models.PositiveIntegerField(null=True, blank=True)
    received_at = models.DateTimeField(default=timezone.now)
    supersedes = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="superseded_by"
    )

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment", "client_key"], name="a_posted_judgment_is_stored_once"
            ),
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(supersedes=None), name="one_first_judgment_per_assignment"
            ),
            models.CheckConstraint(
                condition=Q(strength=None) | Q(strength__range=(0, 3)), name="judgment_strength_is_0_to_3"
            ),
            models.CheckConstraint(
                condition=Q(withdrawn=False) | Q(counted=False), name="the_withdrawn_do_not_count"
            ),
        ]

    def __str__(self) -> str:
        return f"judgment {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row; a row that is there is never changed."""
        if not self._state.adding:
            raise TypeError("judgments are never changed; write one that supersedes")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never deleted; write one that supersedes")


class PreferenceQuerySet(models.QuerySet["Preference"]):
    """Preferences by whether their judgments are used."""

    def used(self) -> Self:
        """Those of judgments that nothing speaks against."""
        return self.annotate(left_out=left_out("judgment__", "judgment__assignment__")).filter(left_out="")


class Preference(models.Model):
    """An ordered or tied pair of responses that a standing judgment implies.

    Derived from the judgment in the same transaction, and gone when it is superseded.
    """

    judgment = models.ForeignKey(Judgment, models.CASCADE, related_name="preferences", db_index=False)
    chosen = models.ForeignKey(Response, models.PROTECT, related_name="+")
    rejected = models.ForeignKey(Response, models.PROTECT, related_name="+")
    tie = models.BooleanField(default=False)  # then chosen is simply the one shown first
    weight = models.FloatField(default=1)  # 1 / (K - 1), so each judgment counts alike

    objects = PreferenceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["judgment", "chosen", "rejected"], name="one_preference_per_pair"
            ),
            models.CheckConstraint(condition=~Q(chosen=F("rejected")), name="a_preference_has_two_responses"),
        ]

    def __str__(self) -> str:
        return f"{self.chosen_id} {'=' if self.tie else '>'} {self.rejected_id}"


class Void(models.Model):
    """A judgment that an admin left out, with the reason; it can be taken back in."""

    judgment = models.ForeignKey(Judgment, models.PROTECT, related_name="voids")
    reason = models.CharField(max_length=200)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["judgment"], condition=Q(undone_at=None), name="a_judgment_is_left_out_once"
            ),
        ]

    def __str__(self) -> str:
        return f"judgment {self.judgment_id} left out"
