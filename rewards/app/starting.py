"""What a training run would learn from, whether that is enough, and starting it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Count, Q

from annotate.models import AuditEvent, Judgment, Preference, Project, User
from lm.config import to_json
from rewards.app.bases import Base
from rewards.app.models import PAIRS
from rewards.config import RewardConfig
from runs.models import RefusedError, Run

FEWEST = 20  # judgments; each fold then has some, and below that the figures say nothing
INPUT = Path("input")
SAMPLES = INPUT / "samples"


@dataclass(frozen=True, slots=True)
class Standing:
    """The judgments of a project that count now."""

    judgments: int
    simulated: int
    ties: int  # judgments without any preference that is decided
    raters: int
    prompts: int

    @property
    def by_people(self) -> int:
        """Those of no simulated rater."""
        return self.judgments - self.simulated

    def reason_against(self, *, simulated: bool) -> str:
        """Why nothing can be learned from them; empty where it can."""
        found = self.judgments if simulated else self.by_people
        if found < FEWEST:
            whose = "" if simulated or not self.simulated else " by people"
            many = f"There {'is' if found == 1 else 'are'} {found} judgment{'' if found == 1 else 's'}{whose}"
            return f"{many}; a reward model needs {FEWEST} or more."
        if self.ties >= self.judgments:
            return "All judgments are ties; a reward model needs some with a winner."
        return ""


def standing(project: Project) -> Standing:
    """What a run that starts now would find."""
    used = Judgment.objects.used().filter(assignment__comparison__project=project)
    found = used.aggregate(
        judgments=Count("pk"),
        simulated=Count("pk", filter=Q(simulated=True)),
        raters=Count("assignment__rater", distinct=True),
        prompts=Count("assignment__comparison__prompt", distinct=True),
    )
    decided = Preference.objects.used().filter(judgment__assignment__comparison__project=project, tie=False)
    with_winner = decided.values("judgment").distinct().count()
    return Standing(ties=found["judgments"] - with_winner, **found)


@transaction.atomic
def start(project: Project, base: Base, values: dict[str, Any], *, key: str, by: User) -> Run:
    """Queue a run; the same key again gives the same run, and is refused with another config."""
    config = to_json(
        RewardConfig(
            model=INPUT / base.key,
            pairs=PAIRS,
            samples=SAMPLES if base.samples else None,
            **values,
        )
    )
    key = f"reward-model:{project.pk}:{key}"
    is_new = not Run.objects.filter(idempotency_key=key).exists()
    run = Run.objects.start(
        "reward-model",
        config=config,
        scope=project.scope,
        started_by=by.get_username(),
        idempotency_key=key,
    )
    if run.config != config:
        raise RefusedError(f"This form has started run {run.pk} already, with other settings.")
    if is_new:
        AuditEvent.record("reward model started", by, project, run=run.pk)
    return run
