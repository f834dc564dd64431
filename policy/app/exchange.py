"""Responses come in with the name of the policy that wrote them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import transaction

from annotate.exchange import ImportFileError, add_prompt
from annotate.models import Project, Prompt, Response, content_hash
from lm import records
from policy.app.models import Policy, PolicyKind, Sample

BATCH = 500  # rows of one statement


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import added, and the prompts it touched."""

    responses: int
    prompts: list[Prompt]


@transaction.atomic
def import_responses(project: Project, lines: Iterable[records.Response]) -> Imported:
    """Add responses to the project's prompts, all or none; known ones are left alone."""
    prompts = {prompt.name: prompt for prompt in project.prompts.all()}
    policies = {policy.name: policy for policy in project.policies.all()}
    written = []
    for line in lines:
        prompt = prompts[line.prompt_id] = _prompt_of(project, prompts.get(line.prompt_id), line)
        if line.policy not in policies:
            policies[line.policy] = Policy.objects.create(
                project=project, name=line.policy, kind=PolicyKind.IMPORTED
            )
        written.append((prompt, policies[line.policy], line))
    _, new = add_samples(written)
    return Imported(new, list({prompt.pk: prompt for prompt, _, _ in written}.values()))


def add_samples(
    written: Sequence[tuple[Prompt, Policy, records.Response]], settings: Mapping[str, Any] | None = None
) -> tuple[list[Response], int]:
    """Store who wrote what to which prompt; gives the responses in the same order, and how many are new."""
    hashes = [(prompt.pk, content_hash(line.response)) for prompt, _, line in written]
    known = _known({prompt for prompt, _ in hashes})
    before = len(known)
    fresh = {
        key: Response(prompt=prompt, text=line.response, content_hash=key[1])
        for key, (prompt, _, line) in zip(hashes, written, strict=True)
        if key not in known
    }
    Response.objects.bulk_create(fresh.values(), batch_size=BATCH)
    known |= fresh
    responses = [known[key] for key in hashes]
    drawings = {
        (response.pk, policy.pk, line.seed): Sample(
            response=response,
            policy=policy,
            seed=line.seed,
            logprob=line.logprob,
            reward=line.reward,
            settings={**(line.settings or {}), **(settings or {})},
        )
        for response, (_, policy, line) in zip(responses, written, strict=True)
    }
    there = _drawn({policy.pk for _, policy, _ in written}, {prompt for prompt, _ in hashes})
    Sample.objects.bulk_create(
        [sample for key, sample in drawings.items() if key not in there], batch_size=BATCH
    )
    return responses, len(known) - before


def _known(prompts: Iterable[int]) -> dict[tuple[int, str], Response]:
    """The responses to these prompts, by prompt and hash."""
    found: dict[tuple[int, str], Response] = {}
    for some in _some(prompts):
        for response in Response.objects.filter(prompt__in=some):
            found[response.prompt_id, response.content_hash] = response
    return found


def _drawn(policies: Iterable[int], prompts: Iterable[int]) -> set[tuple[int, int, int | None]]:
    """The drawings of these policies that are kept already."""
    found: set[tuple[int, int, int | None]] = set()
    for some in _some(prompts):
        samples = Sample.objects.filter(policy__in=policies, response__prompt__in=some)
        found |= set(samples.values_list("response", "policy", "seed"))
    return found


def _some(prompts: Iterable[int]) -> Iterator[list[int]]:
    """As many at a time as one statement takes on every database."""
    left = iter(prompts)
    while some := list(islice(left, BATCH)):
        yield some


def _prompt_of(project: Project, prompt: Prompt | None, line: records.Response) -> Prompt:
    """The prompt that a line answers, made from its messages if the project has none of that name."""
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
