"""Files in and out: prompts come in, preferences go out."""

from collections.abc import Iterable, Iterator

from django.db import transaction

from annotate.models import Judgment, Membership, Preference, Project, Prompt, content_hash
from lm import records

BATCH = 500  # rows of one statement


class ImportFileError(ValueError):
    """A file that can't be taken; nothing of it was kept."""


@transaction.atomic
def import_prompts(project: Project, prompts: Iterable[records.Prompt]) -> int:
    """Add prompts; those that are there already are left alone. Returns how many are new."""
    known = project.prompts.values_list("name", "content_hash")
    names, digests = {name for name, _ in known}, {digest for _, digest in known}
    fresh: list[Prompt] = []
    added = 0
    for prompt in prompts:
        found = _as_row(project, prompt)
        if found.content_hash in digests:
            continue
        if found.name in names:
            raise _name_is_taken(project, prompt)
        names.add(found.name)
        digests.add(found.content_hash)
        fresh.append(found)
        added += 1
        if len(fresh) == BATCH:
            Prompt.objects.bulk_create(fresh)
            fresh.clear()
    Prompt.objects.bulk_create(fresh)
    return added


def add_prompt(project: Project, prompt: records.Prompt) -> tuple[Prompt, bool]:
    """The project's prompt of this name, made if it is new; another text under a known name is refused."""
    found = _as_row(project, prompt)
    same = Prompt.objects.filter(project=project, content_hash=found.content_hash).first()
    if same is not None:
        return same, False
    if Prompt.objects.filter(project=project, name=prompt.prompt_id).exists():
        raise _name_is_taken(project, prompt)
    found.save()
    return found, True


def _as_row(project: Project, prompt: records.Prompt) -> Prompt:
    messages = [message.to_json() for message in prompt.messages]
    digest = content_hash(messages)
    return Prompt(
        project=project,
        name=prompt.prompt_id,
        messages=messages,
        tags=list(prompt.tags),
        cluster=digest,
        split=project.split_of(digest),
        content_hash=digest,
    )


def _name_is_taken(project: Project, prompt: records.Prompt) -> ImportFileError:
    return ImportFileError(f"prompt_id {prompt.prompt_id!r} is taken by another prompt of {project.slug}")


def pairs(project: Project, *, reliance: bool = True) -> Iterator[records.Pair]:
    """Every preference of the project's used judgments, in the order they came.

    Each weighs as much as its rater is relied on, where that is known: weights, not deletion. Without
    `reliance` it doesn't, for a trainer that finds out itself how far to rely on whom.
    """
    rows = (
        Preference.objects.used()
        .filter(judgment__assignment__comparison__project=project)
        .select_related("chosen", "rejected", "judgment__assignment__comparison__prompt")
        .order_by("judgment_id", "pk")
    )
    raters = {member.user_id: member for member in project.memberships.all()}
    for preference in rows.iterator(chunk_size=1000):
        yield _pair(preference, project, raters, reliance=reliance)


def _pair(
    preference: Preference, project: Project, raters: dict[int, Membership], *, reliance: bool
) -> records.Pair:
    judgment: Judgment = preference.judgment
    assignment = judgment.assignment
    comparison = assignment.comparison
    shown = assignment.shown
    rater = raters.get(assignment.rater_id)
    relied = rater.weight if reliance and rater is not None and rater.weight is not None else 1.0
    chosen_first = shown.index(preference.chosen_id) < shown.index(preference.rejected_id)
    return records.Pair(
        prompt_id=comparison.prompt.name,
        messages=tuple(records.Message(**message) for message in comparison.prompt.messages),
        chosen=preference.chosen.text,
        rejected=preference.rejected.text,
        judgment_id=str(judgment.pk),
        comparison_id=str(comparison.pk),
        size=len(shown),
        rater=project.pseudonym(assignment.rater_id),
        group=(rater.group if rater is not None else "") or None,
        first="chosen" if chosen_first else "rejected",
        tie=preference.tie,
        all_bad=judgment.all_bad,
        strength=judgment.strength,
        weight=preference.weight * relied,
        purpose=comparison.purpose,
        probability=comparison.probability,
        since_break=assignment.since_break,
        simulated=judgment.simulated,
    )
