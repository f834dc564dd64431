"""What a queued run waits for, in words."""

from runs import kinds
from runs.models import Run, State, Worker, due


def waits_for(run: Run) -> str:
    """One sentence for as long as the run has not started; empty for any other."""
    if run.state == State.RETRY_WAIT:
        return "It tries again by itself."
    if run.state != State.QUEUED:
        return ""
    workers = [worker for worker in Worker.objects.all() if worker.alive and run.queue in worker.queues]
    if not workers:
        return f"No worker for the queue {run.queue} is up. It starts when there is one (make up)."
    active = list(Run.objects.filter(queue=run.queue, state=State.RUNNING))
    ahead = Run.objects.filter(due(), queue=run.queue).exclude(state=State.RUNNING)
    ahead = ahead.filter(priority__gt=run.priority) | ahead.filter(priority=run.priority, pk__lt=run.pk)
    if len(active) < len(workers) and not ahead:
        return "A worker takes it within seconds."
    first = (active or list(ahead))[0]
    steps = (
        f", step {first.step:,} of {first.total:,}" if first.state == State.RUNNING and first.total else ""
    )
    others = len(active) + ahead.count() - 1
    more = f", and {others} more" if others else ""
    return f"Run {first.pk} is in front of it: {kinds.title(first.kind)}{steps}{more}."
