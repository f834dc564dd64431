"""Every way in which a run changes state: one conditional UPDATE that changes one row, and its event.

    from                       to          by
    queued, retry_wait         running     claim: a worker, with token + 1 and attempt + 1
    running, lease expired     running     claim: another worker, for the run was orphaned
    running                    running     beat, advance: its worker; no row means that the run is not ours
    running                    paused      pause: its worker, after the checkpoint
    running                    queued      hand_over: its worker is about to end; the attempt isn't counted
    running                    retry_wait  retry: its worker, with a growing wait, while attempts are left
    running                    failed      retry, fail: its worker
    running                    succeeded   succeed: its worker, together with what the kind stores
    running                    cancelled   stop: its worker, asked by a person
    running, lease expired     cancelled, paused or failed   settle_orphans: nobody else is left to do it
    queued, paused, retry_wait cancelled   cancel: a person
    paused, failed, cancelled  queued      resume: a person
    paused, the disk was full  queued      resume_where_there_is_room

The condition is always that state, token and wish are as the writer knew them. So a worker that was replaced
changes nothing, and no wish is passed over. Lease times come from the database server's clock (Django's
Now()); on SQLite, which has one host, that is the local clock.
"""

import contextlib
import copy
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from runs.models import (
    ENDED,
    MAX_ATTEMPTS,
    MAX_ATTEMPTS_WITHOUT_CHECKPOINT,
    RefusedError,
    Run,
    State,
    Want,
    due,
    orphaned,
)

MAX_RETRY_WAIT = timedelta(minutes=10)
MAX_TEXT = 8192
MIN_ROOM = 64 * 1024 * 1024  # bytes free before a run whose disk was full goes on, whatever its size
ANY = Q()


class LostError(Exception):
    """The row is no longer as we knew it: somebody was faster, or has taken the run over."""


# What a worker does


def claim(queues: Iterable[str], owner: str) -> Run | None:
    """Take the most urgent due run of these queues; None if none is due."""
    urgent = Run.objects.filter(due(), queue__in=list(queues)).order_by("-priority", "pk")
    while candidates := list(urgent[:10]):
        for run in candidates:
            with contextlib.suppress(LostError):
                _claim(run, owner)
                return run
    return None


def _claim(run: Run, owner: str) -> None:
    reason = f"Attempt {run.attempt + 1} started on {owner.partition(':')[0]}"
    if run.state == State.RUNNING:
        reason += f"; {run.host} was not heard of"
    _move(
        run,
        State.RUNNING,
        reason,
        sources=(State.QUEUED, State.RETRY_WAIT, State.RUNNING),
        where=due(),
        token=run.token + 1,
        owner=owner,
        want=Want.NONE,
        lease_until=Now() + settings.RUN_LEASE,
        heartbeat_at=Now(),
        progress_at=Now(),
        attempt=run.attempt + 1,
        no_progress=run.no_progress + 1,
        not_before=None,
        started_at=Coalesce("started_at", Now()),
        error_code="",
        error_text="",
    )


def beat(run: Run, *, checkpoint: int | None = None) -> None:
    """Say that the run lives; a newer checkpoint than we knew ends a row of attempts without one."""
    changes: dict[str, Any] = {"lease_until": Now() + settings.RUN_LEASE, "heartbeat_at": Now()}
    if checkpoint is not None:
        changes["checkpoint"] = checkpoint
        if run.checkpoint is None or checkpoint > run.checkpoint:
            changes["no_progress"] = 0
    _write(run, changes)


def advance(run: Run, *, step: int, total: int, phase: str) -> None:
    """Note how far the run is; that is less than before where its program went back to a checkpoint."""
    _write(run, {"step": step, "total": total, "phase": phase, "progress_at": Now()})


def pause(run: Run, *, code: str = "", text: str = "") -> None:
    """Put the run aside until a person, or room on the disk, lets it go on."""
    why = f": {code.replace('_', ' ')}" if code else ""
    _move(run, State.PAUSED, f"Paused at step {run.step}{why}", code=code, text=text)


def hand_over(run: Run) -> None:
    """Leave the run to any worker; the attempt is not counted."""
    attempt, no_progress = max(run.attempt - 1, 0), max(run.no_progress - 1, 0)
    reason = f"Handed over at step {run.step}"
    _move(run, State.QUEUED, reason, attempt=attempt, no_progress=no_progress)


def retry(run: Run, *, code: str, text: str) -> None:
    """Let the run try again after a wait; fail it where attempts are spent."""
    if run.no_progress >= MAX_ATTEMPTS_WITHOUT_CHECKPOINT:
        fail(run, code="crash_loop", text=f"{run.no_progress} attempts without a checkpoint. {text}")
    elif run.attempt >= MAX_ATTEMPTS:
        fail(run, code="attempts_spent", text=f"{run.attempt} attempts. {text}")
    else:
        wait = min(settings.RUN_LEASE / 6 * 2 ** max(run.no_progress - 1, 0), MAX_RETRY_WAIT)
        reason = f"Attempt {run.attempt} ended early; the next in {wait.total_seconds():.0f} s"
        _move(run, State.RETRY_WAIT, reason, code=code, text=text, not_before=Now() + wait)


def fail(run: Run, *, code: str, text: str) -> None:
    """End the run: trying again would not help."""
    _move(run, State.FAILED, f"Failed: {code.replace('_', ' ')}", code=code, text=text)


def stop(run: Run) -> None:
    """End the run because a person asked for it."""
    _move(run, State.CANCELLED, f"Cancelled at step {run.step}")


def succeed(run: Run, finish: Callable[[], None]) -> None:
    """End the run and store what it found, both or neither."""
    with transaction.atomic():
        _move(copy.copy(run), State.SUCCEEDED, "Done")  # ours stays as it is if this is rolled back
        finish()
    run.refresh_from_db()


# What a person does


def cancel(run: Run, *, by: str) -> None:
    """End the run now, or ask its worker to; asking twice changes nothing."""

    def once() -> None:
        if run.state == State.RUNNING:
            _ask(run, Want.CANCEL, f"Cancel asked for by {by}")
        elif run.state != State.CANCELLED:
            waiting = (State.QUEUED, State.PAUSED, State.RETRY_WAIT)
            _move(run, State.CANCELLED, f"Cancelled by {by}", sources=waiting)

    _insist(run, once)


def request_pause(run: Run, *, by: str) -> None:
    """Ask the worker to write a checkpoint and put the run aside."""

    def once() -> None:
        if run.state != State.RUNNING:
            raise RefusedError(f"run {run.pk} is {_now(run)}; only a running one can be paused")
        if run.want == Want.CANCEL:
            raise RefusedError(f"run {run.pk} is being cancelled")
        _ask(run, Want.PAUSE, f"Pause asked for by {by}")

    _insist(run, once)


def resume(run: Run, *, by: str) -> None:
    """Queue the run again from its newest checkpoint, with all its attempts."""

    def once() -> None:
        stopped = (State.PAUSED, State.FAILED, State.CANCELLED)
        _move(run, State.QUEUED, f"Resumed by {by}", sources=stopped, attempt=0, no_progress=0)

    _insist(run, once)


# What every worker's reconciler does


def settle_orphans() -> None:
    """End or put aside what has no worker left and need not be claimed."""
    for run in Run.objects.filter(orphaned() & ~due()):
        with contextlib.suppress(LostError):
            if run.want == Want.CANCEL:
                _move(run, State.CANCELLED, f"Cancelled at step {run.step}", where=orphaned())
            elif run.want == Want.PAUSE:
                _move(run, State.PAUSED, f"Paused at step {run.step}", where=orphaned())
            else:
                text = f"{run.host} was not heard of. No attempt is left."
                _move(run, State.FAILED, "Failed", where=orphaned(), code="crash_loop", text=text)


def resume_where_there_is_room() -> None:
    """Queue runs again whose disk was full, once three times their checkpoint is free."""
    for run in Run.objects.filter(state=State.PAUSED, error_code="disk_full"):
        with contextlib.suppress(RefusedError, FileNotFoundError):  # another's slot; a disk not mounted
            needed = max(3 * run.directory.checkpoint_bytes(), MIN_ROOM)
            if run.directory.free_bytes() >= needed:
                resume(run, by="itself: the disk has room again")


def ask_to_hand_over(owner: str) -> None:
    """Ask for a checkpoint and a release of all runs of a worker that is about to end."""
    for run in Run.objects.filter(state=State.RUNNING, owner=owner, want=Want.NONE):
        with contextlib.suppress(LostError):
            _ask(run, Want.HANDOFF, f"{run.host} is about to stop its worker")


# How it is done


def _move(
    run: Run,
    to: State,
    reason: str,
    *,
    sources: tuple[State, ...] = (State.RUNNING,),
    where: Q = ANY,
    code: str = "",
    text: str = "",
    **changes: Any,
) -> None:
    """Change the state if the row is still as we knew it, and write the event, in one transaction."""
    before = State(run.state)
    if before not in sources:
        raise RefusedError(f"run {run.pk} is {_now(run)}; it can't become {to.label.lower()}")
    text = text.replace("\0", "")[-MAX_TEXT:]
    if to != State.RUNNING:
        released = {"owner": "", "lease_until": None, "want": Want.NONE, "not_before": None}
        ended = {"finished_at": Now() if to in ENDED else None}
        changes = {**released, **ended, "error_code": code, "error_text": text, **changes}
    as_known = Q(pk=run.pk, state=before, token=run.token, want=run.want)
    try:
        with transaction.atomic():
            if Run.objects.filter(where, as_known).update(state=to, **changes) != 1:
                raise LostError(f"run {run.pk} is no longer {_now(run)} under token {run.token}")
            run.record(before, to, token=changes.get("token", run.token), reason=reason, detail=text)
    except IntegrityError:
        raise RefusedError(f"another run of {run.slot} is not finished") from None
    run.refresh_from_db()


def _write(run: Run, changes: dict[str, Any]) -> None:
    """Change a running run of ours without changing its state: no event."""
    if Run.objects.filter(pk=run.pk, state=State.RUNNING, token=run.token).update(**changes) != 1:
        raise LostError(f"run {run.pk} is no longer ours")
    run.refresh_from_db()


def _ask(run: Run, want: Want, reason: str) -> None:
    """Leave a wish for the worker to find."""
    if run.want != want:
        _move(run, State.RUNNING, reason, want=want)


def _insist(run: Run, act: Callable[[], None]) -> None:
    """A person's wish against a row that moves: look again while somebody else is faster."""
    for _ in range(5):
        run.refresh_from_db()
        with contextlib.suppress(LostError):
            return act()
    raise RefusedError(f"run {run.pk} changes too fast; try again")


def _now(run: Run) -> str:
    return State(run.state).label.lower()
