"""Waiting on the command line for runs and rounds, with a line for whatever changes."""

import time
from collections.abc import Callable

from django.core.management.base import CommandError

from policy.app import rounds
from policy.app.models import Round, RoundState
from runs import kinds
from runs.models import Run, State
from runs.waiting import waits_for

LOOK_EVERY = 1.0  # seconds
STUCK = (State.FAILED, State.CANCELLED, State.PAUSED)

Say = Callable[[str], object]


def follow_run(run: Run, say: Say) -> None:
    """Wait until the run is done; one that failed, or that a person must see to, ends the command."""
    said = ""
    while run.state != State.SUCCEEDED:
        if run.state in STUCK:
            raise CommandError(_complaint(kinds.title(run.kind), run))
        said = _once(_line(kinds.title(run.kind), run), said, say)
        time.sleep(LOOK_EVERY)
        run.refresh_from_db()


def follow_round(round: Round, say: Say) -> None:
    """Wait until the round's comparisons are out; a step that failed, or a stop, ends the command."""
    said = ""
    while round.state == RoundState.RUNNING:
        run, title = round.current.run, rounds.title(round, round.current.name)
        if run.state in STUCK:
            raise CommandError(_complaint(title, run))
        said = _once(f"round {round.number}: {_line(title, run)}", said, say)
        time.sleep(LOOK_EVERY)
        round.refresh_from_db()
    if round.state == RoundState.STOPPED:
        raise CommandError(f"round {round.number} was stopped by {round.decided_by}")


def _line(title: str, run: Run) -> str:
    state = run.get_state_display().lower()
    share = f", {100 * run.step // run.total} %" if run.state == State.RUNNING and run.total else ""
    return f"{title}: {state}{share}. {waits_for(run)}".removesuffix(". ")


def _once(line: str, said: str, say: Say) -> str:
    if line != said:
        say(line)
    return line


def _complaint(title: str, run: Run) -> str:
    why = (run.error_text.strip().splitlines() or [run.error_code.replace("_", " ")])[-1]
    return f"{title} (run {run.pk}) is {run.get_state_display().lower()}: {why}".removesuffix(": ")
