"""The policies that a reward model can start from."""

from collections.abc import Iterator

from annotate.models import Project
from policy.app import trying
from policy.app.models import Policy, PolicyKind
from policy.app.rounds import policy_input
from rewards.app.bases import Base
from runs.models import Run, State


def of_project(project: Project) -> Iterator[Base]:
    """The base first, as every round trains its reward model from it; then the others, the newest first."""
    policies = trying.policies_of(project)
    for policy in sorted(policies, key=lambda policy: policy.kind != PolicyKind.BASE):
        if policy.folder is not None:
            samples = _samples(policy)
            yield Base(
                key=policy_input(policy).name,
                name=policy.name,
                folder=policy.folder,
                meaning="every round starts from it" if policy.kind == PolicyKind.BASE else "",
                run=policy.run,
                samples=samples.directory.path if samples else None,
            )


def _samples(policy: Policy) -> Run | None:
    """The latest run that sampled the policy for training, if its files are there."""
    done = Run.objects.filter(kind="base-samples", scope=policy.project.scope, state=State.SUCCEEDED)
    names = [str(policy.pk)]
    return next((run for run in done if run.config["names"] == names and run.directory.has_result()), None)
