"""Responses come in with the name of the policy that wrote them."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction

from annotate.exchange import ImportFileError, add_prompt
from annotate.models import Project, Prompt, Response, content_hash
from lm import records
from policy.app.models import Policy, PolicyKind, Sample


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import added, and the prompts it touched."""

    responses: int
    prompts: list[Prompt]


@transaction.atomic
def import_responses(project: Project, lines: Iterable[records.Response]) -> Imported:
    """Add responses to the project's prompts, all or none; known ones are left alone."""
    policies: dict[str, Policy] = {}
    touched: dict[int, Prompt] = {}
    new = 0
    for line in lines:
        prompt = _prompt_of(project, line)
        touched[prompt.pk] = prompt
        if line.policy not in policies:
            policies[line.policy], _ = Policy.objects.get_or_create(
                project=project, name=line.policy, defaults={"kind": PolicyKind.IMPORTED}
            )
        response, added = Response.objects.get_or_create(
            prompt=prompt, content_hash=content_hash(line.response), defaults={"text": line.response}
        )
        Sample.objects.get_or_create(
            response=response,
            policy=policies[line.policy],
            seed=line.seed,
            defaults={"logprob": line.logprob, "settings": dict(line.settings or {})},
        )
        new += added
    return Imported(new, list(touched.values()))


def _prompt_of(project: Project, line: records.Response) -> Prompt:
    """The prompt that a line answers, made from its messages if the project has none of that name."""
    prompt = Prompt.objects.filter(project=project, name=line.prompt_id).first()
    if prompt is not None and line.messages is not None:
        written = [message.to_json() for message in line.messages]
        if content_hash(written) != prompt.content_hash:
            raise ImportFileError(f"prompt_id {line.prompt_id!r} has other messages in {project.slug}")
    if prompt is not None:
        return prompt
    if line.messages is None:
        raise ImportFileError(
            f"prompt_id {line.prompt_id!r} is not in {project.slug}, and the line has no messages"
        )
    return add_prompt(project, records.Prompt(prompt_id=line.prompt_id, messages=line.messages))[0]
