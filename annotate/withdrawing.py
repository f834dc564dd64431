"""Taking a prompt, a response, a comparison or a judgment out, with a reason; and back in.

Nothing is deleted: `Judgment.with_reason` leaves out what was withdrawn, so the counts still close.
"""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate import assignment as leases
from annotate.models import (
    Assignment,
    AssignmentState,
    AuditEvent,
    ComparedResponse,
    Comparison,
    Judgment,
    Project,
    Prompt,
    Response,
    User,
    Void,
)

BY_PROMPT = "prompt withdrawn"
BY_RESPONSE = "response withdrawn"
BY_PERSON = "withdrawn: "  # and the reason
BATCH = 500  # comparisons of one statement


@transaction.atomic
def withdraw_prompt(prompt: Prompt, reason: str, by: User) -> bool:
    """Take a prompt out and close its comparisons; False if it is out already."""
    standing = Prompt.objects.filter(pk=prompt.pk, withdrawn_at=None)
    if not standing.update(withdrawn_at=timezone.now(), withdrawn_reason=reason):
        return False
    closed = _close(Comparison.objects.filter(prompt=prompt), BY_PROMPT)
    _record("withdrew a prompt", by, prompt.project, prompt=prompt.name, reason=reason, comparisons=closed)
    return True


@transaction.atomic
def bring_back_prompt(prompt: Prompt, by: User) -> bool:
    """Take a prompt in again and open what its withdrawal closed; False if it is in."""
    out = Prompt.objects.filter(pk=prompt.pk, withdrawn_at__isnull=False)
    if not out.update(withdrawn_at=None, withdrawn_reason=""):
        return False
    Comparison.objects.filter(prompt=prompt, closed_reason=BY_PROMPT).update(closed_at=None, closed_reason="")
    for response in prompt.responses.filter(withdrawn_at__isnull=False):
        _close(_of_response(response), BY_RESPONSE)
    _record("brought a prompt back", by, prompt.project, prompt=prompt.name)
    return True


@transaction.atomic
def withdraw_response(response: Response, reason: str, by: User) -> bool:
    """Take a response out and close its comparisons; False if it is out already."""
    standing = Response.objects.filter(pk=response.pk, withdrawn_at=None)
    if not standing.update(withdrawn_at=timezone.now(), withdrawn_reason=reason):
        return False
    closed = _close(_of_response(response), BY_RESPONSE)
    project = response.prompt.project
    _record("withdrew a response", by, project, response=response.pk, reason=reason, comparisons=closed)
    return True


@transaction.atomic
def bring_back_response(response: Response, by: User) -> bool:
    """Take a response in again and open what its withdrawal closed; False if it is in."""
    out = Response.objects.filter(pk=response.pk, withdrawn_at__isnull=False)
    if not out.update(withdrawn_at=None, withdrawn_reason=""):
        return False
    others_out = ComparedResponse.objects.filter(response__withdrawn_at__isnull=False)
    shut = _of_response(response).filter(closed_reason=BY_RESPONSE)
    shut.exclude(pk__in=others_out.values("comparison")).update(closed_at=None, closed_reason="")
    _record("brought a response back", by, response.prompt.project, response=response.pk)
    return True


@transaction.atomic
def withdraw_comparison(comparison: Comparison, reason: str, by: User) -> bool:
    """Close a comparison, so that it is not asked any more; what was judged stays. False if it is closed."""
    if not _close(Comparison.objects.filter(pk=comparison.pk), f"{BY_PERSON}{reason}"[:200]):
        return False
    _record("withdrew a comparison", by, comparison.project, comparison=comparison.pk, reason=reason)
    return True


@transaction.atomic
def bring_back_comparison(comparison: Comparison, by: User) -> bool:
    """Open a comparison that a person withdrew; False if it is open, or closed for another reason."""
    shut = Comparison.objects.filter(
        pk=comparison.pk, closed_at__isnull=False, closed_reason__startswith=BY_PERSON
    )
    if not shut.update(closed_at=None, closed_reason=""):
        return False
    if comparison.prompt.withdrawn_at is not None:
        _close(Comparison.objects.filter(pk=comparison.pk), BY_PROMPT)
    elif comparison.responses.filter(withdrawn_at__isnull=False).exists():
        _close(Comparison.objects.filter(pk=comparison.pk), BY_RESPONSE)
    _record("brought a comparison back", by, comparison.project, comparison=comparison.pk)
    return True


@transaction.atomic
def leave_out(judgment: Judgment, reason: str, by: User) -> bool:
    """Leave a judgment out of everything that is learned or measured; False if it is out already."""
    Judgment.objects.select_for_update().get(pk=judgment.pk)
    if judgment.voids.filter(undone_at=None).exists():
        return False
    Void.objects.create(judgment=judgment, reason=reason, by=by)
    project = judgment.assignment.comparison.project
    _record("left a judgment out", by, project, judgment=judgment.pk, reason=reason)
    return True


@transaction.atomic
def take_in(judgment: Judgment, by: User) -> bool:
    """Use a judgment again that was left out; False if it is in."""
    if not judgment.voids.filter(undone_at=None).update(undone_at=timezone.now()):
        return False
    _record("took a judgment in again", by, judgment.assignment.comparison.project, judgment=judgment.pk)
    return True


def _of_response(response: Response) -> QuerySet[Comparison]:
    compared = ComparedResponse.objects.filter(response=response)
    return Comparison.objects.filter(pk__in=compared.values("comparison"))


def _close(comparisons: QuerySet[Comparison], reason: str) -> int:
    """Close those that are open, and give their open leases back; returns how many were closed."""
    found = list(comparisons.filter(closed_at=None).values_list("pk", flat=True).order_by("pk"))
    for batch in _in_batches(found):
        held = Assignment.objects.filter(comparison__in=batch, state=AssignmentState.OPEN)
        for assignment in held.order_by("comparison_id"):
            leases.release(assignment, AssignmentState.EXPIRED)
        Comparison.objects.filter(pk__in=batch, closed_at=None).update(
            closed_at=timezone.now(), closed_reason=reason
        )
    return len(found)


def _in_batches(keys: list[int]) -> Iterable[list[int]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


def _record(action: str, by: User, project: Project, **detail: object) -> None:
    AuditEvent.record(action, by, project, **detail)
