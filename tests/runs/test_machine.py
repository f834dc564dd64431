"""Workers, zombies, people and reconcilers in any order: a run's row never breaks its rules."""

import contextlib

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runs import host, transitions
from runs.models import (
    ENDED,
    MAX_ATTEMPTS,
    MAX_ATTEMPTS_WITHOUT_CHECKPOINT,
    RefusedError,
    Run,
    RunEvent,
    State,
    Want,
)
from runs.transitions import LostError
from tests.runs.conftest import check_history

QUEUE = "machine"
HANDS = 3  # workers
PAST = "2020-01-01T00:00:00Z"


def is_due(run):
    """The rule of `due`, told again."""
    now = timezone.now()
    if run.state == State.RUNNING:
        spent = run.attempt >= MAX_ATTEMPTS or run.no_progress >= MAX_ATTEMPTS_WITHOUT_CHECKPOINT
        return run.lease_until < now and run.want in (Want.NONE, Want.HANDOFF) and not spent
    return run.state == State.QUEUED or (run.state == State.RETRY_WAIT and run.not_before <= now)


class Runs(RuleBasedStateMachine):
    """Some runs, three workers that may sleep at any moment, and a person.

    What a worker knows is its copy of the row. A copy whose token is not the row's is a zombie's: whatever it
    tries must fail and change nothing. Beside the rows we keep what must be true of them. There are few rules
    with many choices, for hypothesis leaves whole rules out of an example.
    """

    held = Bundle("held")  # copies of rows, as workers hold them

    @initialize()
    def begin(self):
        RunEvent.objects.all().delete()
        Run.objects.all().delete()
        self.committed = {}  # pk -> (token, step) in the order of their commits
        self.succeeded = set()
        self.start("")
        self.start("slot")

    @precondition(lambda self: len(self.committed) < 4)
    @rule(slot=st.sampled_from(["", "slot"]))
    def start(self, slot):
        with contextlib.suppress(RefusedError):
            run = Run.objects.start("toy", config={}, slot=slot)
            Run.objects.filter(pk=run.pk).update(queue=QUEUE)
            self.committed[run.pk] = []

    @rule(number=st.integers(0, 9), act=st.sampled_from(["cancel", "request_pause", "resume", "resume"]))
    def ask(self, number, act):
        """A person asks; what is refused changes nothing."""
        run = Run.objects.get(pk=sorted(self.committed)[number % len(self.committed)])
        before = run.state
        try:
            getattr(transitions, act)(run, by="alice")
        except RefusedError:
            run.refresh_from_db()
            assert run.state == before
        else:
            allowed = {
                "cancel": {State.QUEUED, State.RUNNING, State.PAUSED, State.RETRY_WAIT, State.CANCELLED},
                "request_pause": {State.RUNNING},
                "resume": {State.PAUSED, State.FAILED, State.CANCELLED},
            }
            assert before in allowed[act]

    @rule(target=held, worker=st.integers(1, HANDS))
    def claim(self, worker):
        due_now = {run.pk for run in Run.objects.all() if is_due(run)}
        run = transitions.claim([QUEUE], host.owner(worker))
        if run is None:
            assert not due_now
            return multiple()
        assert run.pk in due_now
        run.refresh_from_db()
        assert (run.state, run.want) == (State.RUNNING, Want.NONE)
        assert run.attempt <= MAX_ATTEMPTS
        return run

    @rule(run=held, act=st.sampled_from(["beat", "look", "look", "step", "step", "checkpoint"]))
    def work(self, run, act):
        """What a worker does while the program runs; one that looks sees what is asked for."""
        step = run.step + 1
        acts = {
            "beat": lambda: transitions.beat(run),
            "look": lambda: run.refresh_from_db() if self.holds(run) else None,
            "step": lambda: transitions.advance(run, step=step, total=9, phase=""),
            "checkpoint": lambda: transitions.beat(run, checkpoint=run.step),
        }
        if act == "look":
            acts[act]()
        elif self.try_as_holder(run, acts[act]) and act == "step":
            self.committed[run.pk].append((run.token, step))

    @rule(
        run=held,
        how=st.sampled_from(["crash", "crash", "pause", "hand_over", "fail", "stop", "succeed", "disk_full"]),
    )
    def leave(self, run, how):
        """What a worker does when the program has ended."""
        acts = {
            "crash": lambda: transitions.retry(run, code="crashed", text=""),
            "pause": lambda: transitions.pause(run),
            "hand_over": lambda: transitions.hand_over(run),
            "fail": lambda: transitions.fail(run, code="config", text=""),
            "stop": lambda: transitions.stop(run),
            "succeed": lambda: transitions.succeed(run, lambda: self.succeeded.add(run.pk)),
            "disk_full": lambda: transitions.pause(run, code="disk_full", text=""),
        }
        self.try_as_holder(run, acts[how])

    @rule(run=held, worker=st.integers(1, HANDS))
    def take_over(self, run, worker):
        """The worker sleeps past its lease, and another one looks for work."""
        self.expire(run)
        self.claim(worker)

    @rule(run=held)
    def expire(self, run):
        Run.objects.filter(pk=run.pk, state=State.RUNNING).update(lease_until=PAST)

    @rule(worker=st.integers(1, HANDS), act=st.sampled_from(["wait", "reconcile", "shut_down"]))
    def go_on(self, worker, act):
        """Time passes, a reconciler turns, a worker is about to end."""
        if act == "wait":
            Run.objects.filter(state=State.RETRY_WAIT).update(not_before=PAST)
        elif act == "reconcile":
            alive = Run.objects.filter(state=State.RUNNING, lease_until__gt=timezone.now())
            before = {run.pk: run.state for run in alive}
            transitions.settle_orphans()
            transitions.resume_where_there_is_room()
            assert all(Run.objects.get(pk=pk).state == state for pk, state in before.items())
        else:
            transitions.ask_to_hand_over(host.owner(worker))

    # What must hold

    def holds(self, run):
        row = Run.objects.get(pk=run.pk)
        return (row.state, row.token) == (State.RUNNING, run.token)

    def try_as_holder(self, run, act):
        """A holder's write succeeds unless a wish came in between; a zombie's never does.

        A row that has left and come back to its holder's copy is not the same: its token has grown.
        """
        before, holder = Run.objects.filter(pk=run.pk).values().get(), self.holds(run)
        seen = run.want
        events = RunEvent.objects.filter(run=run).count()
        try:
            act()
        except (LostError, RefusedError):
            assert Run.objects.filter(pk=run.pk).values().get() == before
            assert RunEvent.objects.filter(run=run).count() == events
            assert not holder or before["want"] != run.want
            return False
        assert holder
        left = Run.objects.get(pk=run.pk).state != State.RUNNING
        assert not left or before["want"] == seen, "a wish was passed over"
        return True

    @invariant()
    def every_row_is_what_its_events_say(self):
        for run in Run.objects.all():
            check_history(run)
            assert (run.finished_at is not None) == (run.state in ENDED)
            assert (run.state == State.RUNNING) == bool(run.owner) == (run.lease_until is not None)
            ends = [event.to_state for event in run.events.all()].count(State.SUCCEEDED)
            assert ends == (run.state == State.SUCCEEDED) == (run.pk in self.succeeded)
            tokens = [token for token, _ in self.committed[run.pk]]
            assert tokens == sorted(tokens)
            if run.state == State.RETRY_WAIT:
                assert run.not_before is not None

    @invariant()
    def a_slot_is_held_once(self):
        assert Run.objects.active().filter(slot="slot").count() <= 1

    def teardown(self):
        """Everything can be brought to an end: nothing is stuck."""
        for run in Run.objects.active():
            transitions.cancel(run, by="alice")
        Run.objects.filter(state=State.RUNNING).update(lease_until=PAST)
        transitions.settle_orphans()
        assert not Run.objects.active().exists()
        RunEvent.objects.all().delete()
        Run.objects.all().delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("examples", [60, pytest.param(600, marks=pytest.mark.verify)])
def test_no_order_of_events_breaks_a_run(examples, settings, tmp_path):
    settings.RUNS_DIR = tmp_path
    run_state_machine_as_test(
        Runs,
        settings=effort(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=(Phase.reuse, Phase.generate),  # to shrink on a database takes many minutes
        ),
    )
