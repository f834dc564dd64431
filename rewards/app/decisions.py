"""Promoting and retiring: a project uses one reward model at most, and the audit log says who chose it."""

from django.db import transaction

from annotate.models import AuditEvent, Project, User
from annotate.retries import retried
from rewards.app.models import RewardModel, RewardModelState
from rewards.app.scoring import start_after
from runs.models import RefusedError


@retried
@transaction.atomic
def promote(model: RewardModel, by: User, *, replaces: int | None) -> None:
    """Use this one from now on; the one promoted before is retired with it.

    `replaces` is what the person saw promoted: if somebody else has chosen meanwhile, nothing changes.
    """
    model = _locked(model)
    if model.state == RewardModelState.PROMOTED:
        return
    before = RewardModel.objects.promoted_of(model.project)
    if (before.pk if before else None) != replaces:
        now = f"{before.title} was promoted" if before else "The promoted one was retired"
        raise RefusedError(f"{now} meanwhile. Look at it, then choose again.")
    if before:
        before.decide(RewardModelState.RETIRED, by.get_username())
    model.decide(RewardModelState.PROMOTED, by.get_username())
    _note("reward model promoted", by, model, replaces=replaces)
    start_after(model.run, model)


@retried
@transaction.atomic
def retire(model: RewardModel, by: User) -> None:
    """Use it no more; nothing of it is deleted, and it can be promoted again."""
    model = _locked(model)
    if model.state == RewardModelState.RETIRED:
        return
    _note("reward model retired", by, model, was=model.state)
    model.decide(RewardModelState.RETIRED, by.get_username())


def _locked(model: RewardModel) -> RewardModel:
    """The row as it is now, all of its project's decisions waiting for this one."""
    Project.objects.select_for_update(no_key=True).get(pk=model.project_id)
    return RewardModel.objects.select_related("project").get(pk=model.pk)


def _note(action: str, by: User, model: RewardModel, **detail: object) -> None:
    AuditEvent.record(action, by, model.project, reward_model=model.pk, run=model.run_id, **detail)
