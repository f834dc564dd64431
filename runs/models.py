"""Runs, what happened to them, and the workers that carry them out. The row is the truth of a run."""

import hashlib
import json
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Max, Q
from django.db.models.functions import Now
from django.utils import timezone

from lm.config import from_json, to_json
from lm.run_directory import RunDirectory
from runs import access, host, kinds


class State(models.TextChoices):
    """Where a run stands."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    RETRY_WAIT = "retry_wait", "Waits to try again"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Want(models.TextChoices):
    """What a person or a deploy asks of a running run."""

    NONE = "none", ""
    PAUSE = "pause", "Pauses after this step"
    CANCEL = "cancel", "Stops after this step"
    HANDOFF = "handoff", "Moves to another worker after this step"


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
MAX_ATTEMPTS = 20
MAX_ATTEMPTS_WITHOUT_CHECKPOINT = 3


class RefusedError(Exception):
    """What was asked for cannot happen to this run now; the message says why."""


def orphaned() -> Q:
    """Running runs whose worker is not heard of, or was on this machine before it booted."""
    other_boot = Q(owner__startswith=f"{host.name()}:") & ~Q(owner__endswith=f":{host.boot_id()}")
    return Q(state=State.RUNNING) & (Q(lease_until__lt=Now()) | other_boot)


def due() -> Q:
    """Runs that a worker may claim now."""
    waited = Q(state=State.RETRY_WAIT, not_before__lte=Now())
    spent = Q(attempt__gte=MAX_ATTEMPTS) | Q(no_progress__gte=MAX_ATTEMPTS_WITHOUT_CHECKPOINT)
    left = orphaned() & Q(want__in=(Want.NONE, Want.HANDOFF)) & ~spent
    return Q(state=State.QUEUED) | waited | left


class RunQuerySet(models.QuerySet["Run"]):
    """Runs in the plural; whatever changes a state is in `transitions`."""

    def start(
        self,
        kind: str,
        *,
        config: Any,
        scope: str = "",
        slot: str = "",
        started_by: str = "",
        idempotency_key: str | None = None,
        priority: int = 0,
    ) -> "Run":
        """Queue a run, or give back the one with the same idempotency key. No broker is asked."""
        declared = kinds.get(kind)
        values = config if isinstance(config, dict) else to_json(config)
        values = to_json(from_json(declared.config, values))  # all fields, checked
        try:
            with transaction.atomic():
                run = self.create(
                    kind=kind,
                    config=values,
                    scope=scope,
                    slot=slot,
                    started_by=started_by,
                    idempotency_key=idempotency_key,
                    priority=priority,
                    queue=declared.queue,
                    max_runtime=declared.max_runtime,
                )
                run.refresh_from_db()  # as stored: PostgreSQL writes 1e22 with all its digits
                run.config_sha256 = sha256(run.config)
                run.save(update_fields=["config_sha256"])
                run.record("", State.QUEUED, token=0, reason=f"Queued by {started_by}".removesuffix(" by "))
                return run
        except IntegrityError:
            if idempotency_key and (earlier := self.filter(idempotency_key=idempotency_key).first()):
                return earlier
            if slot and self.active().filter(slot=slot).exists():
                raise RefusedError(f"another run of {slot} is not finished") from None
            raise

    def active(self) -> Self:
        """Runs that have not ended."""
        return self.exclude(state__in=ENDED)

    def visible_to(self, user: Any) -> Self:
        """Runs in the scopes of this user."""
        return self.filter(scope__in=access.scopes_of(user))


class Run(models.Model):
    """One job, from config to saved result."""

    kind = models.CharField(max_length=64)
    scope = models.CharField(max_length=200, blank=True, db_index=True)  # what it belongs to, "project:demo"
    slot = models.CharField(max_length=200, blank=True)  # two runs of one slot are never active at once
    idempotency_key = models.CharField(max_length=200, unique=True, null=True, blank=True)
    config = models.JSONField()  # never changed
    config_sha256 = models.CharField(max_length=64)
    queue = models.CharField(max_length=32)
    priority = models.SmallIntegerField(default=0)  # higher goes first
    max_runtime = models.DurationField()
    started_by = models.CharField(max_length=150, blank=True)

    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    want = models.CharField(max_length=16, choices=Want, default=Want.NONE)
    token = models.BigIntegerField(default=0)  # grows with each claim; whoever holds an older one is replaced
    owner = models.CharField(max_length=255, blank=True)  # host:pid:boot-id
    lease_until = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    step = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0)
    phase = models.CharField(max_length=64, blank=True)
    progress_at = models.DateTimeField(null=True, blank=True)
    checkpoint = models.PositiveBigIntegerField(null=True, blank=True)  # step of the newest

    attempt = models.PositiveIntegerField(default=0)
    no_progress = models.PositiveIntegerField(default=0)  # attempts since the newest checkpoint
    not_before = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=32, blank=True)
    error_text = models.TextField(max_length=8192, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "queue"], name="runs_by_state_and_queue")]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="a_run_is_in_a_known_state"),
            models.CheckConstraint(
                condition=Q(want__in=Want.values), name="a_run_is_asked_for_a_known_thing"
            ),
            models.CheckConstraint(
                condition=(
                    Q(state=State.RUNNING, token__gt=0, lease_until__isnull=False) & ~Q(owner="")
                    | ~Q(state=State.RUNNING) & Q(owner="", lease_until=None, want=Want.NONE)
                ),
                name="exactly_a_running_run_has_an_owner_and_a_lease",
            ),
            models.CheckConstraint(
                condition=(
                    Q(state__in=ENDED, finished_at__isnull=False)
                    | ~Q(state__in=ENDED) & Q(finished_at__isnull=True)
                ),
                name="exactly_an_ended_run_says_when_it_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.RETRY_WAIT) | Q(not_before__isnull=False),
                name="a_run_that_waits_says_how_long",
            ),
            models.UniqueConstraint(
                fields=["slot"],
                condition=~Q(slot="") & ~Q(state__in=ENDED),
                name="one_active_run_for_each_slot",
            ),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk}: {kinds.title(self.kind)}"

    @property
    def directory(self) -> RunDirectory:
        """Where the run's files are."""
        return RunDirectory(settings.RUNS_DIR / str(self.pk))

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED

    @property
    def host(self) -> str:
        """The machine that carries it out now."""
        return self.owner.partition(":")[0]

    def active_time(self) -> timedelta:
        """How long it ran in all attempts together, by its events; waits and pauses are not counted."""
        total, since = timedelta(), None
        for event in self.events.order_by("seq"):
            if event.from_state == State.RUNNING and since is not None:
                total += event.at - since
            since = event.at if event.to_state == State.RUNNING else None
        if since is not None:
            latest = self.events.aggregate(now=Max(Now()))["now"]
            total += latest - since
        return total

    def record(self, before: str, after: str, *, token: int, reason: str, detail: str = "") -> None:
        """Write down what happened. The caller's transaction has already changed the row, so seq is ours."""
        seq = (self.events.aggregate(last=Max("seq"))["last"] or 0) + 1
        self.events.create(
            seq=seq, token=token, from_state=before, to_state=after, reason=reason, detail=detail
        )


class RunEvent(models.Model):
    """One line of a run's history: only ever added. Heartbeats and progress are no events."""

    run = models.ForeignKey(Run, models.PROTECT, related_name="events")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())
    token = models.BigIntegerField()
    from_state = models.CharField(max_length=16, blank=True)
    to_state = models.CharField(max_length=16, choices=State)
    reason = models.CharField(max_length=200)  # a sentence for people
    detail = models.TextField(blank=True)

    class Meta:
        ordering = ["run", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["run", "seq"], name="a_runs_events_are_numbered_once"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}.{self.seq}: {self.reason}"


class Worker(models.Model):
    """A Celery worker and when it was last heard of."""

    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    boot_id = models.CharField(max_length=40)
    queues = models.JSONField(default=list)
    devices = models.JSONField(default=list)
    memory = models.BigIntegerField(default=0)  # bytes
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["host", "pid"]
        constraints = [
            models.UniqueConstraint(fields=["host", "pid", "boot_id"], name="a_worker_has_one_row"),
        ]

    def __str__(self) -> str:
        return f"{self.host} ({', '.join(self.queues)})"

    @property
    def alive(self) -> bool:
        """Whether it was heard of within a lease."""
        return self.seen_at > timezone.now() - settings.RUN_LEASE


def sha256(config: dict[str, Any]) -> str:
    """The fingerprint of a config, however its keys are ordered."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
