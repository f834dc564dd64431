"""Each way in which a run changes state, and each in which it doesn't."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from lm.config import ConfigError, from_json
from runs import host, kinds, transitions
from runs.models import RefusedError, Run, State, Want, due, sha256
from runs.transitions import LostError
from tests.runs.conftest import OTHER, OWNER, check_history, expire, history
from tests.runs.toy.job import ToyConfig

pytestmark = pytest.mark.django_db


def is_due(run):
    return Run.objects.filter(due(), pk=run.pk).exists()


# Starting


def test_a_run_starts_queued_with_every_setting_checked_and_stored(start):
    run = start({"steps": 7}, scope="project:demo")
    assert (run.state, run.queue, run.scope, run.token) == (State.QUEUED, "light", "project:demo", 0)
    assert run.config["steps"] == 7
    assert run.config["fail"] == "no"
    assert run.config_sha256 == sha256(run.config)
    assert run.events.get().reason == "Queued by alice"


def test_a_config_that_cannot_work_starts_nothing(start):
    with pytest.raises(ConfigError, match="steps is 'many'"):
        start({"steps": "many"})
    with pytest.raises(kinds.UnknownKindError, match="no kind of run is called 'nonsense'"):
        Run.objects.start("nonsense", config={})
    assert not Run.objects.exists()


@pytest.mark.parametrize("seconds", [1e22, 1e300, 1e-300, -0.0, 0.1, 5.0])
def test_a_number_that_a_database_writes_its_own_way_keeps_the_config_the_same(seconds, start):
    run = start({"seconds": seconds})
    assert sha256(Run.objects.get(pk=run.pk).config) == run.config_sha256
    assert from_json(ToyConfig, run.config).seconds == seconds


def test_the_same_idempotency_key_gives_the_same_run(start):
    first = start(idempotency_key="round 3: train")
    assert start(idempotency_key="round 3: train") == first
    assert first.events.count() == 1


def test_a_slot_holds_one_active_run(start):
    first = start(slot="round 3: train")
    with pytest.raises(RefusedError, match="another run of round 3: train"):
        start(slot="round 3: train")
    transitions.cancel(first, by="alice")
    second = start(slot="round 3: train")
    with pytest.raises(RefusedError, match="another run"):
        transitions.resume(first, by="alice")
    assert second.state == State.QUEUED
    start()  # no slot, no limit
    start()


# Claiming


def test_a_claim_takes_the_run_for_a_lease(start):
    run = start()
    assert transitions.claim(["light"], OWNER) == run
    run.refresh_from_db()
    assert (run.state, run.token, run.attempt, run.no_progress, run.owner) == (State.RUNNING, 1, 1, 1, OWNER)
    assert timedelta(seconds=50) < run.lease_until - timezone.now() < timedelta(seconds=70)
    assert run.started_at is not None
    assert run.host == host.name()
    assert transitions.claim(["light"], OTHER) is None
    check_history(run)


def test_a_worker_claims_only_from_its_queues(start):
    start()
    assert transitions.claim(["train"], OWNER) is None


def test_the_most_urgent_run_is_claimed_first_then_the_oldest(start):
    low, old, new = start(priority=-1), start(), start()
    urgent = start(priority=5)
    order = [transitions.claim(["light"], OWNER) for _ in range(4)]
    assert order == [urgent, old, new, low]


def test_an_orphan_is_taken_over_and_its_former_worker_can_write_nothing(claimed):
    run = claimed()
    former = Run.objects.get(pk=run.pk)
    expire(run)
    assert transitions.claim(["light"], OTHER) == run
    run.refresh_from_db()
    assert (run.token, run.attempt, run.owner) == (2, 2, OTHER)
    for act in (
        lambda: transitions.beat(former),
        lambda: transitions.advance(former, step=5, total=9, phase=""),
        lambda: transitions.pause(former),
        lambda: transitions.retry(former, code="crashed", text=""),
        lambda: transitions.succeed(former, lambda: pytest.fail("stored by a zombie")),
    ):
        with pytest.raises(LostError):
            act()
    run.refresh_from_db()
    assert (run.state, run.step, run.token) == (State.RUNNING, 0, 2)
    check_history(run)


def test_a_run_of_an_earlier_boot_of_this_machine_is_due_at_once(claimed):
    run = claimed()
    assert not is_due(run)
    Run.objects.filter(pk=run.pk).update(owner=f"{host.name()}:77:another-boot")
    assert is_due(run)
    Run.objects.filter(pk=run.pk).update(owner="elsewhere:77:another-boot")
    assert not is_due(run)


def test_a_heartbeat_just_before_the_claim_keeps_the_run(claimed, monkeypatch):
    run = claimed()
    expire(run)
    _do_first(monkeypatch, lambda: transitions.beat(Run.objects.get(pk=run.pk)))
    assert transitions.claim(["light"], OTHER) is None
    run.refresh_from_db()
    assert (run.token, run.owner) == (1, OWNER)


@pytest.mark.parametrize("wish", ["cancel", "request_pause", "spent"])
def test_a_heartbeat_just_before_a_reconciler_ends_the_run_keeps_it(wish, claimed, monkeypatch):
    run = claimed()
    if wish == "spent":
        Run.objects.filter(pk=run.pk).update(no_progress=3)
    else:
        getattr(transitions, wish)(run, by="alice")
    expire(run)
    _do_first(monkeypatch, lambda: transitions.beat(Run.objects.get(pk=run.pk)))
    transitions.settle_orphans()
    run.refresh_from_db()
    assert (run.state, run.owner) == (State.RUNNING, OWNER)


def _do_first(monkeypatch, act):
    """Do something between the look at the row and the UPDATE."""
    real = transitions._move

    def move(*words, **options):
        act()
        return real(*words, **options)

    monkeypatch.setattr(transitions, "_move", move)


@pytest.mark.django_db(transaction=True)
def test_of_twenty_claimers_one_gets_each_run(start):
    runs = [start() for _ in range(50)]
    barrier, won, lock = threading.Barrier(20), [], threading.Lock()

    def work(number):
        barrier.wait()
        try:
            while run := transitions.claim(["light"], host.owner(number)):
                with lock:
                    won.append(run.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(won) == [run.pk for run in runs]
    assert set(Run.objects.values_list("attempt", flat=True)) == {1}
    for run in Run.objects.all():
        check_history(run)


# Running


def test_a_heartbeat_prolongs_the_lease_and_is_no_event(claimed):
    run = claimed()
    expire(run)
    transitions.beat(run)
    assert run.lease_until > timezone.now()
    assert run.events.count() == 2


def test_progress_is_written_and_is_no_event(claimed):
    run = claimed()
    transitions.advance(run, step=5, total=9, phase="train")
    transitions.advance(run, step=3, total=9, phase="train")  # the program went back to a checkpoint
    assert (run.step, run.total, run.phase) == (3, 9, "train")
    assert run.events.count() == 2


def test_a_newer_checkpoint_gives_back_the_attempts_without_one(claimed):
    run = claimed()
    transitions.beat(run, checkpoint=4)
    assert (run.checkpoint, run.no_progress) == (4, 0)
    Run.objects.filter(pk=run.pk).update(no_progress=2)
    run.refresh_from_db()
    transitions.beat(run, checkpoint=4)
    assert run.no_progress == 2


# Leaving


def test_a_pause_releases_the_run_and_resuming_queues_it_with_all_attempts(claimed):
    run = claimed()
    transitions.request_pause(run, by="alice")
    assert run.want == Want.PAUSE
    transitions.pause(run)
    assert (run.state, run.owner, run.want, run.lease_until) == (State.PAUSED, "", Want.NONE, None)
    transitions.resume(run, by="alice")
    assert (run.state, run.attempt, run.no_progress) == (State.QUEUED, 0, 0)
    check_history(run)


def test_a_hand_over_is_not_counted_as_an_attempt(claimed):
    run = claimed()
    transitions.ask_to_hand_over(OWNER)
    run.refresh_from_db()
    assert run.want == Want.HANDOFF
    transitions.hand_over(run)
    assert (run.state, run.attempt, run.no_progress, run.owner) == (State.QUEUED, 0, 0, "")
    check_history(run)


def test_only_the_own_runs_of_a_worker_are_asked_to_be_handed_over(claimed):
    run = claimed()
    transitions.ask_to_hand_over(OTHER)
    run.refresh_from_db()
    assert run.want == Want.NONE


def test_a_crash_waits_longer_each_time_and_the_third_without_a_checkpoint_fails(start):
    run, waits = start(), []
    for _ in range(2):
        assert transitions.claim(["light"], OWNER) == run
        run.refresh_from_db()
        transitions.retry(run, code="crashed", text="why")
        assert run.state == State.RETRY_WAIT
        waits.append((run.not_before - run.events.last().at).total_seconds())
        assert not is_due(run)
        Run.objects.filter(pk=run.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    assert waits == pytest.approx([10, 20], abs=0.5)
    assert transitions.claim(["light"], OWNER) == run
    run.refresh_from_db()
    transitions.retry(run, code="crashed", text="why")
    assert (run.state, run.error_code) == (State.FAILED, "crash_loop")
    assert "why" in run.error_text
    assert run.finished_at is not None
    check_history(run)


def test_a_crash_after_a_checkpoint_is_always_forgiven_up_to_twenty_attempts(claimed):
    run = claimed()
    Run.objects.filter(pk=run.pk).update(attempt=19)
    run.refresh_from_db()
    transitions.beat(run, checkpoint=1)
    transitions.retry(run, code="crashed", text="")
    assert run.state == State.RETRY_WAIT
    Run.objects.filter(pk=run.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    transitions.claim(["light"], OWNER)
    run.refresh_from_db()
    transitions.beat(run, checkpoint=2)
    transitions.retry(run, code="crashed", text="")
    assert (run.state, run.error_code) == (State.FAILED, "attempts_spent")


def test_the_wait_never_grows_beyond_ten_minutes(claimed, settings):
    settings.RUN_LEASE = timedelta(hours=10)
    run = claimed()
    transitions.retry(run, code="crashed", text="")
    assert run.not_before - run.events.last().at <= timedelta(minutes=10, seconds=1)


def test_an_error_text_is_kept_to_eight_thousand_characters_without_nul(claimed):
    run = claimed()
    transitions.fail(run, code="config", text="a\0b" * 9000)
    assert len(run.error_text) == 8192
    assert "\0" not in run.error_text


def test_success_and_what_the_kind_stores_happen_together_or_not_at_all(claimed):
    run = claimed()

    def store():
        Run.objects.start("toy", config={}, scope="stored")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        transitions.succeed(run, store)
    assert not Run.objects.filter(scope="stored").exists()
    run.refresh_from_db()
    assert run.state == State.RUNNING
    transitions.succeed(run, lambda: Run.objects.start("toy", config={}, scope="stored"))
    assert run.state == State.SUCCEEDED
    assert Run.objects.filter(scope="stored").count() == 1
    check_history(run)


# Cancelling


@pytest.mark.parametrize("state", ["queued", "paused", "retry_wait"])
def test_a_run_that_nobody_carries_out_is_cancelled_at_once(state, start, claimed):
    run = start() if state == "queued" else claimed()
    if state == "paused":
        transitions.pause(run)
    if state == "retry_wait":
        transitions.retry(run, code="crashed", text="")
    transitions.cancel(run, by="alice")
    transitions.cancel(run, by="alice")
    assert run.state == State.CANCELLED
    assert [to for _, to in history(run)].count(State.CANCELLED) == 1
    check_history(run)


def test_a_running_run_is_asked_and_its_worker_ends_it(claimed):
    run = claimed()
    transitions.cancel(run, by="alice")
    transitions.cancel(run, by="bob")
    assert (run.state, run.want) == (State.RUNNING, Want.CANCEL)
    transitions.stop(run)
    assert run.state == State.CANCELLED
    check_history(run)


def test_a_cancel_that_a_worker_has_not_yet_seen_is_not_passed_over(claimed):
    run = claimed()
    mine = Run.objects.get(pk=run.pk)
    transitions.cancel(run, by="alice")
    for leave in (
        lambda: transitions.succeed(mine, lambda: None),
        lambda: transitions.retry(mine, code="crashed", text=""),
        lambda: transitions.pause(mine),
        lambda: transitions.hand_over(mine),
        lambda: transitions.fail(mine, code="config", text=""),
    ):
        with pytest.raises(LostError):
            leave()


def test_a_cancel_without_any_worker_is_finished_by_a_reconciler(claimed):
    run = claimed()
    transitions.cancel(run, by="alice")
    expire(run)
    assert not is_due(run)
    transitions.settle_orphans()
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    check_history(run)


def test_a_pause_without_any_worker_is_finished_by_a_reconciler(claimed):
    run = claimed()
    transitions.request_pause(run, by="alice")
    expire(run)
    transitions.settle_orphans()
    run.refresh_from_db()
    assert run.state == State.PAUSED


def test_a_run_that_takes_each_worker_with_it_fails_after_three(start):
    run = start()
    for _ in range(3):
        assert transitions.claim(["light"], OWNER) == run
        expire(run)
    assert transitions.claim(["light"], OWNER) is None
    transitions.settle_orphans()
    run.refresh_from_db()
    assert (run.state, run.error_code) == (State.FAILED, "crash_loop")
    check_history(run)


def test_a_run_whose_worker_lives_is_left_alone_by_reconcilers(claimed):
    run = claimed()
    transitions.cancel(run, by="alice")
    transitions.settle_orphans()
    run.refresh_from_db()
    assert run.state == State.RUNNING


# Refusing


def test_a_finished_run_never_changes(claimed):
    run = claimed()
    transitions.succeed(run, lambda: None)
    for act in (transitions.cancel, transitions.request_pause, transitions.resume):
        with pytest.raises(RefusedError, match=f"run {run.pk} is done"):
            act(run, by="alice")
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_an_admin_may_resume_what_failed_or_was_cancelled(state, claimed):
    run = claimed()
    if state == "failed":
        transitions.fail(run, code="config", text="")
    else:
        transitions.cancel(run, by="alice")
        transitions.stop(run)
    transitions.resume(run, by="alice")
    assert (run.state, run.finished_at, run.error_code) == (State.QUEUED, None, "")


def test_what_makes_no_sense_is_refused_in_a_clear_line(start, claimed):
    with pytest.raises(RefusedError, match="is queued; only a running one can be paused"):
        transitions.request_pause(start(), by="alice")
    Run.objects.all().update(queue="train")
    running = claimed()
    with pytest.raises(RefusedError, match="is running; it can't become queued"):
        transitions.resume(running, by="alice")
    transitions.cancel(running, by="alice")
    with pytest.raises(RefusedError, match="is being cancelled"):
        transitions.request_pause(running, by="alice")


def test_resuming_a_running_run_is_refused_although_its_worker_may_queue_it(claimed):
    run = claimed()
    with pytest.raises(RefusedError):
        transitions.resume(run, by="alice")
    run.refresh_from_db()
    assert (run.state, run.token) == (State.RUNNING, 1)


# A full disk


def test_a_run_whose_disk_was_full_goes_on_when_there_is_room(claimed, monkeypatch):
    run = claimed()
    run.directory.path.mkdir(parents=True)
    transitions.pause(run, code="disk_full", text="")
    free = [transitions.MIN_ROOM - 1]
    monkeypatch.setattr("lm.run_directory.RunDirectory.free_bytes", lambda _: free[0])
    transitions.resume_where_there_is_room()
    run.refresh_from_db()
    assert run.state == State.PAUSED
    free[0] += 1
    transitions.resume_where_there_is_room()
    run.refresh_from_db()
    assert run.state == State.QUEUED
    assert "room again" in run.events.last().reason


def test_a_run_paused_by_a_person_stays_paused(claimed):
    run = claimed()
    run.directory.path.mkdir(parents=True)
    transitions.pause(run)
    transitions.resume_where_there_is_room()
    run.refresh_from_db()
    assert run.state == State.PAUSED


# What the database itself refuses


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"state": "lost"}, "a_run_is_in_a_known_state"),
        ({"want": "miracle"}, "a_run_is_asked_for_a_known_thing"),
        ({"state": "running"}, "exactly_a_running_run_has_an_owner_and_a_lease"),
        ({"owner": "somebody"}, "exactly_a_running_run_has_an_owner_and_a_lease"),
        ({"want": "cancel"}, "exactly_a_running_run_has_an_owner_and_a_lease"),
        ({"state": "failed"}, "exactly_an_ended_run_says_when_it_ended"),
        ({"finished_at": timezone.now()}, "exactly_an_ended_run_says_when_it_ended"),
        ({"state": "retry_wait"}, "a_run_that_waits_says_how_long"),
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(change, rule, start):
    run = start()
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**change)


def test_events_are_numbered_once(start):
    run = start()
    with pytest.raises(IntegrityError), transaction.atomic():
        run.events.create(seq=1, token=0, from_state="", to_state="queued", reason="again")


def test_time_that_a_run_waits_is_not_its_active_time(claimed):
    run = claimed()
    begin = timezone.now()
    moments = [("", "queued", 0), ("queued", "running", 10), ("running", "running", 20)]
    moments += [("running", "paused", 40), ("paused", "queued", 100), ("queued", "running", 200)]
    moments += [("running", "succeeded", 205)]
    run.events.all().delete()
    for seq, (before, after, second) in enumerate(moments, start=1):
        run.events.create(
            seq=seq,
            token=1,
            from_state=before,
            to_state=after,
            reason="",
            at=begin + timedelta(seconds=second),
        )
    assert run.active_time() == timedelta(seconds=35)
