"""A Celery worker's part: a doorbell without content, and a thread that rings it when there is work.

The thread looks into the database every few seconds. What it sends says only "look"; whether that is lost,
late or doubled changes nothing, for the claim of a row decides who carries it out.
"""

import contextlib
import logging
import os
import random
import threading
import time
from datetime import timedelta
from typing import Any

from celery import current_app, shared_task
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError

from runs import host, transitions
from runs.models import Run, State, Worker, due
from runs.supervise import carry_out

EX_SOFTWARE = 70
MAX_DEATHS = 3  # turns in a row that raise
DOORBELL_EXPIRES = 15  # seconds
CLOCK_JUMP = 30  # seconds
MEMORY_DAYS = 1  # how long a worker that is gone stays listed
OWNER = host.owner(os.getpid())  # of the worker's main process; its pool is forked after this is read

logger = logging.getLogger(__name__)


@shared_task(name="runs.drain")
def drain() -> None:
    """Carry out due runs of this worker's queues until none is left, or this worker is about to end."""
    while run := transitions.claim(_queues(), OWNER):
        carry_out(run)
        if run.state == State.QUEUED:  # handed over
            return


class Reconciler(threading.Thread):
    """What each worker does every few seconds, whatever its pool is busy with."""

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self.ending = threading.Event()
        self.clocks = (time.monotonic(), time.time())

    def run(self) -> None:
        """Turn until the worker ends; from then on have its run handed over."""
        self.reconcile()
        while True:
            with contextlib.suppress(Exception):  # a database that is away may be back in time
                close_old_connections()
                transitions.ask_to_hand_over(OWNER)
            time.sleep(1)

    def reconcile(self) -> None:
        """Turn after turn, also after errors; three in a row, and the worker ends with an exit code."""
        deaths = 0
        while deaths < MAX_DEATHS and not self.ending.wait(_pause()):
            try:
                self.turn()
                deaths = 0
            except (OperationalError, InterfaceError, BrokerError) as error:
                logger.warning("the database or the broker does not answer: %s", str(error).strip())
            except Exception:
                deaths += 1
                logger.exception("the reconciler failed for the %d. time in a row", deaths)
        if deaths == MAX_DEATHS:
            state.should_stop = EX_SOFTWARE  # type: ignore[assignment]  # None until then

    def turn(self) -> None:
        """Say that we live, do what needs no program, ring if there is work and nobody at it."""
        close_old_connections()
        self.watch_clock()
        self.sign_in()
        transitions.settle_orphans()
        transitions.resume_where_there_is_room()
        idle = not state.reserved_requests
        if idle and Run.objects.filter(due(), queue__in=_queues()).exists():
            drain.apply_async(queue=_queues()[0], expires=DOORBELL_EXPIRES, retry=False)

    def sign_in(self) -> None:
        """Keep this worker's row, and forget workers long gone."""
        facts: dict[str, Any] = {
            "queues": _queues(),
            "devices": host.devices(),
            "memory": host.memory_bytes(),
            "seen_at": Now(),
        }
        key: dict[str, Any] = {"host": host.name(), "pid": os.getpid(), "boot_id": host.boot_id()}
        Worker.objects.update_or_create(**key, defaults=facts)
        Worker.objects.filter(seen_at__lt=Now() - timedelta(days=MEMORY_DAYS)).delete()

    def watch_clock(self) -> None:
        """Log jumps of the clock: a jump back delays a rescue, a jump forward hastens it."""
        monotonic, wall = time.monotonic(), time.time()
        jump = (wall - self.clocks[1]) - (monotonic - self.clocks[0])
        if abs(jump) > CLOCK_JUMP:
            logger.warning("the clock of this machine has jumped by %.0f s", jump)
        self.clocks = (monotonic, wall)


reconciler = Reconciler()


@worker_ready.connect
def _start(**_: Any) -> None:
    reconciler.start()


@worker_shutting_down.connect
def _end(**_: Any) -> None:
    reconciler.ending.set()


def _queues() -> list[str]:
    """The queues that this worker was started for."""
    return list(current_app.amqp.queues.consume_from)


def _pause() -> float:
    """Seconds between two turns; the jitter keeps workers from going in step."""
    return settings.RUN_RECONCILE.total_seconds() * random.uniform(0.8, 1.2)  # noqa: S311
