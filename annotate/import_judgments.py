"""Judgments that were made elsewhere, by accounts that nobody signs in to, of comparisons nobody is asked.

Such a comparison stands in the stratum "imported", as it is not known how it was chosen. A judgment of a
comparison that is in the queue already takes none of its places: one more is wanted and given at once.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from django.contrib.auth.hashers import make_password
from django.db.models import F
from django.utils import timezone
from django.utils.text import slugify

from annotate import bulk
from annotate.comparisons import Draft, add_comparisons
from annotate.importing import Asked, Row, Tally, Text, Way, by_response, key, stored
from annotate.judging import preferences
from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Judgment,
    Membership,
    Project,
    Role,
    User,
)

IMPORTED = "imported"  # stratum of the comparisons, tag of the people


def store_judgments(rows: list[tuple[int, Row]], way: Way, tally: Tally) -> None:
    """Add the judgments that are new; a rater has one on a comparison."""
    asked = stored(rows, way.project, tally)
    raters = _raters(way.project, {(row["rater"], row["simulated"]) for _, row in asked.rows})
    compared = _comparisons(asked, way)
    pairs = Assignment.objects.filter(
        comparison__in=set(compared.values()), rater__in=[rater.pk for rater in raters.values()]
    )
    there = set(pairs.values_list("comparison", "rater"))
    fresh: list[tuple[Row, list[Text], Assignment]] = []
    for line, row in asked.rows:
        rater = raters[row["rater"], row["simulated"]]
        if (compared[line], rater.pk) in there:
            tally.known += 1
            continue
        there.add((compared[line], rater.pk))
        responses = asked.responses[line]
        fresh.append((row, responses, _assignment(compared[line], rater, row, responses, way)))
    bulk.insert([assignment for _, _, assignment in fresh])
    judgments = [_judgment(*one, way) for one in fresh]
    bulk.insert(judgments)
    bulk.insert([one for judgment in judgments for one in preferences(judgment, judgment.assignment.shown)])
    _want_as_many_more(Counter(assignment.comparison_id for _, _, assignment in fresh))
    tally.new = len(fresh)


def _comparisons(asked: Asked, way: Way) -> dict[int, int]:
    """The comparison of each row by its line, made where there is none."""
    keys = {
        line: key(asked.prompts[line].pk, [response.pk for response in asked.responses[line]], "")
        for line, _ in asked.rows
    }
    missing = {same: line for line, same in reversed(keys.items()) if same not in asked.known}
    made = add_comparisons(
        way.project,
        [
            Draft(
                prompt=asked.prompts[line],
                responses=asked.responses[line],
                probability=1,
                place=way.chance.random(),
                stratum=IMPORTED,
                batch=way.batch,
                judgments=0,
                held_back=False,
            )
            for line in missing.values()
        ],
    )
    asked.known.update(zip(missing, made, strict=True))
    return {line: asked.known[same] for line, same in keys.items()}


def _want_as_many_more(judged: Counter[int]) -> None:
    for count in set(judged.values()):
        comparisons = [pk for pk, one in judged.items() if one == count]
        Comparison.objects.filter(pk__in=comparisons).update(wanted=F("wanted") + count)


def _assignment(comparison: int, rater: User, row: Row, responses: list[Text], way: Way) -> Assignment:
    at = datetime.fromisoformat(row["at"]) if row["at"] else timezone.now()
    shown = [response.pk for response in responses]
    if not row["order_shown"]:
        way.chance.shuffle(shown)
    return Assignment(
        comparison_id=comparison,
        rater=rater,
        state=AssignmentState.JUDGED,
        shown=shown,
        offered_at=at,
        leased_at=at,
        leased_until=at,
        closed_at=at,
    )


def _judgment(row: Row, responses: list[Text], assignment: Assignment, way: Way) -> Judgment:
    scores = dict(zip((response.pk for response in responses), row["scores"] or (), strict=False))
    name = f"{way.project.slug} {assignment.comparison_id} {assignment.rater_id}"
    return Judgment(
        assignment=assignment,
        client_key=uuid5(NAMESPACE_URL, name),
        order=[assignment.shown] if row["all_bad"] else by_response(row["order"], responses),
        all_bad=row["all_bad"],
        strength=row["strength"],
        scores=[scores[pk] for pk in assignment.shown] if scores else None,
        confidence=row["confidence"],
        rationale=row["rationale"],
        simulated=row["simulated"],
        active_ms=row["active_ms"],
        client={"imported": way.batch, "order_shown": row["order_shown"]},
        submitted_at=assignment.leased_at if row["at"] else None,
        received_at=assignment.leased_at,
    )


def _raters(project: Project, wanted: set[tuple[str, bool]]) -> dict[tuple[str, bool], User]:
    """An account for each name, which nobody signs in to."""
    names = {one: _username(project, *one) for one in sorted(wanted)}
    found = {user.username: user for user in User.objects.filter(username__in=names.values())}
    fresh = [
        User(
            username=username,
            first_name=name[:150],
            is_active=False,
            simulated=simulated,
            password=make_password(None),
        )
        for (name, simulated), username in names.items()
        if username not in found
    ]
    made = User.objects.bulk_create(fresh)
    Membership.objects.bulk_create(
        [Membership(user=user, project=project, role=Role.RATER, tags=[IMPORTED]) for user in made]
    )
    found |= {user.username: user for user in made}
    return {one: found[username] for one, username in names.items()}


def _username(project: Project, name: str, simulated: bool) -> str:
    return f"imported-{project.slug}-{slugify(name)[:40]}-{project.keyed('imported', name, simulated)[:8]}"
