"""Two policies answer what a person asks, so that one reads what a round has changed."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from annotate.models import Project
from lm import records
from lm.run_directory import RunDirectory
from policy.app.jobs import bring_policy
from policy.app.models import Policy
from policy.app.rounds import PROMPTS, policy_input
from policy.config import SampleConfig
from runs.kinds import Kind
from runs.models import Run

URGENT = 10  # a person waits for it: before queued training, after what runs


@dataclass(frozen=True, slots=True)
class Answer:
    """What one policy said."""

    policy: Policy
    text: str
    ended: bool | None
    logprob: float | None  # nats, of the whole response
    base_logprob: float | None  # of the same words under the base


class TryPolicies(Kind):
    """Draw a response to one prompt from each of two policies."""

    name = "try-policies"
    title = "Try policies"
    config = SampleConfig
    module = "policy.sample"
    queue = "train"
    max_runtime = timedelta(hours=1)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the models; the prompt was written when the run was made."""
        asked = policies(run)
        base = Policy.objects.base_of(asked[0].project) if asked else None
        for policy in {*asked, *([base] if base else [])}:
            bring_policy(policy, directory)


def policies_of(project: Project) -> list[Policy]:
    """The policies that can be asked, the newest first; of an imported one there are only responses."""
    return list(project.policies.exclude(model="").order_by("-pk"))


@transaction.atomic
def start(
    project: Project, policies: Sequence[Policy], messages: Sequence[records.Message], *, by: str
) -> Run:
    """Queue a run in which the policies answer; no worker sees it before its prompt is written."""
    base = Policy.objects.base_of(project)
    config = SampleConfig(
        policies=tuple(policy_input(policy) for policy in policies),
        names=tuple(str(policy.pk) for policy in policies),
        prompts=PROMPTS,
        reference=policy_input(base) if base else None,
        seed=secrets.randbelow(2**31),
    )
    run = Run.objects.start(
        TryPolicies.name, config=config, scope=project.scope, started_by=by, priority=URGENT
    )
    file = run.directory.path / PROMPTS
    file.parent.mkdir(parents=True, exist_ok=True)
    records.write(file, [records.Prompt(prompt_id="asked", messages=tuple(messages))])
    return run


def asked(run: Run) -> tuple[records.Message, ...]:
    """What the run asks."""
    return next(records.read(run.directory.path / PROMPTS, records.Prompt)).messages


def policies(run: Run) -> list[Policy]:
    """Whom the run asks, in the order chosen."""
    found = Policy.objects.select_related("project").in_bulk([int(name) for name in run.config["names"]])
    return [found[int(name)] for name in run.config["names"] if int(name) in found]


def answers(run: Run) -> list[Answer]:
    """What the policies said; empty as long as the run is not done."""
    file = run.directory.path / "responses.jsonl"
    if not run.directory.has_result() or not file.exists():
        return []
    said = {record.policy: record for record in records.read(file, records.Response)}
    return [
        Answer(policy, record.response, record.ended, record.logprob, record.reference_logprob)
        for policy in policies(run)
        if (record := said.get(str(policy.pk)))
    ]
