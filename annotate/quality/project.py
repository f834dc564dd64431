"""The figures of quality of a project or a round, of each of its raters, and of the groups they declare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.random import Generator

from annotate.judged import Judged
from annotate.quality.agreement import (
    agreement_between,
    agreement_with_others,
    alpha,
    ceiling,
    gwet,
    rank_agreement,
    raw_agreement,
)
from annotate.quality.columns import NO_STRENGTH, TIE, Columns, Names, columns
from annotate.quality.figures import (
    Figure,
    Numbers,
    difference,
    log_odds_slope,
    median,
    share,
    share_of,
    slope_within,
)
from annotate.quality.reliability import Common, Evidence, trust

WIDEST = 2.0  # an interval of a change of a share: from all to none, and back
SMALLEST_GROUP = 10  # people; of fewer nothing is shown
Result = dict[str, Any]


def quality(
    rows: Sequence[Judged],
    *,
    skips: Mapping[str, int] | None = None,
    people_only: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Result:
    """All that is known of these judgments; a figure is value, low, high and n."""
    skips = skips or {}
    found, names = columns([row for row in rows if not (people_only and row.simulated)])
    found = found.where(found.counted | found.excluded)
    agreement = _with_others(found)
    used, used_agreement = found.where(found.counted), agreement[found.counted]
    chance = np.random.default_rng(seed)
    measured = {
        "counts": {
            **counts(rows, people_only=people_only),
            "measured": len(used),
            "raters": len(np.unique(used.rater)),
            "excluded_raters": len(np.unique(found.rater[found.excluded])),
        },
        "agreement": _agreement(used, resamples, chance),
        "rankings": _rankings(used, resamples, chance),
        "answers": _answers(used),
        "time": _time(used),
        "care": {
            "gold_pass_rate": share_of(_known(used.gold)),
            "self_consistency": share_of(_known(used.repeat)),
            "skip_share": _skip_share(sum(skips.values()), len(used)),
        },
        "fatigue": _fatigue(used, used_agreement),
        "raters": _raters(found, names, agreement, skips),
        "groups": _groups(used, names),
    }
    return {name: _plain(figures) for name, figures in measured.items()}


def counts(rows: Sequence[Judged], *, people_only: bool = False) -> Result:
    """How many judgments came, and what became of each: received = used + those left out for each reason."""
    reasons = Counter("simulated" if people_only and row.simulated else row.reason for row in rows)
    used = reasons.pop("", 0)
    return {
        "received": len(rows),
        "used": used,
        "left_out": dict(sorted(reasons.items())),
        "late": sum(row.late for row in rows),
        "simulated": sum(row.simulated for row in rows),
        "comparisons": len({row.comparison for row in rows}),
        "prompts": len({row.prompt for row in rows}),
    }


def _agreement(used: Columns, resamples: int, chance: Generator) -> Result:
    """Between raters of the same pair; known answers and repeats stay out."""
    pairs = used.where(used.overlap & used.pairs).renumbered()
    table = pairs.table()[:, [0, 1, TIE]]
    decided = table[:, :2]
    without_unused = table if table[:, 2].any() else decided
    strong = pairs.where(pairs.strength != NO_STRENGTH).renumbered()
    among_decided = raw_agreement(decided, tie=None)
    return {
        "raw": raw_agreement(table, tie=2),
        "decided": among_decided,
        "alpha": alpha(table, "nominal", resamples=resamples, chance=chance),
        "alpha_strength": alpha(
            strong.table(strong.strength + 3, answer_count=7), "ordinal", resamples=resamples, chance=chance
        ),
        "ac1": gwet(without_unused, resamples=resamples, chance=chance),
        "ceiling": ceiling(among_decided),
    }


def _rankings(used: Columns, resamples: int, chance: Generator) -> Result:
    """Between raters of the same three or more responses."""
    ranked = used.where(used.overlap & ~used.pairs).renumbered()
    firsts = _known(ranked.won_by_first)
    sizes = ranked.size[ranked.best != TIE]
    return {
        "tau": rank_agreement(ranked.signs, ranked.unit),
        "best": raw_agreement(ranked.table(), tie=TIE),
        "alpha_best": alpha(ranked.table(), "nominal", resamples=resamples, chance=chance),
        "first_best": share_of(firsts),
        "first_best_by_chance": float((1 / sizes).mean()) if len(sizes) else None,
        "judgments": len(ranked),
    }


def _answers(used: Columns) -> Result:
    """What raters say, whatever the responses are."""
    pairs = used.where(used.pairs)
    return {
        "tie_share": share_of(used.best == TIE),
        "all_bad_share": share_of(used.all_bad),
        "left_share": share_of(_known(pairs.won_by_first)),
        "length_effect": _length_effect(pairs),
        "rationale_share": share_of(used.rationale > 0),
        "opened_all_share": share_of(used.opened_all),
    }


def _length_effect(pairs: Columns) -> Figure:
    """By how much the log-odds of the first one grow when it is e times as long as the other."""
    won = pairs.won_by_first
    known = ~np.isnan(won) & ~np.isnan(pairs.length_ratio)
    return log_odds_slope(pairs.length_ratio[known], won[known], clusters=pairs.rater[known])


def _time(used: Columns) -> Result:
    return {
        "active_seconds": median(_known(used.seconds)),
        "too_fast_share": share_of(_known(used.too_fast)),
        "hours": round(float(np.nansum(used.seconds)) / 3600, 4),
    }


def _fatigue(used: Columns, agreement: Numbers) -> Result:
    """How golds, repeats and agreement change during a sitting, within each rater."""
    parts = (("golds", used.gold), ("repeats", used.repeat), ("agreement", agreement))
    found: Result = {}
    for name, right in parts:
        found[name] = _decline(used, [right])
    found["together"] = _decline(used, [right for _, right in parts])
    return found


def _decline(used: Columns, kinds: Sequence[Numbers]) -> Result:
    """Slopes of what is right, a cell being a rater's golds, repeats or overlap."""
    right = np.concatenate(kinds)
    rater = np.tile(used.rater, len(kinds))
    cell = rater * len(kinds) + np.repeat(np.arange(len(kinds)), len(used))
    found = {}
    for name, clock, unit in (
        ("per_100_comparisons", used.since_break, 100),
        ("per_hour", used.minutes, 60),
    ):
        since = np.tile(clock, len(kinds)) / unit
        known = ~np.isnan(right) & ~np.isnan(since)
        cells = np.unique(cell[known], return_inverse=True)[1]
        found[name] = _if_told(slope_within(since[known], right[known], cells=cells, clusters=rater[known]))
    return found


def _if_told(slope: Figure) -> Figure:
    """A change of a share, unless so little is known that it might be more than from all to none."""
    told = slope.low is not None and slope.high is not None and slope.high - slope.low <= WIDEST
    return slope if told else Figure.none(slope.n)


def _with_others(found: Columns) -> Numbers:
    """How far each judgment agrees with the others that count; nan where there are none, and off overlap."""
    rows = found.overlap
    here = found.where(rows).renumbered()
    table = here.where(here.counted).table(comparisons=int(here.unit.max(initial=-1)) + 1)
    agreement = np.full(len(found), np.nan)
    agreement[rows] = agreement_with_others(here.best, here.unit, table, own=here.counted, tie=TIE)
    return agreement


def _raters(found: Columns, names: Names, agreement: Numbers, skips: Mapping[str, int]) -> list[Result]:
    """Each rater's own figures; an excluded rater's rest on judgments that no other figure counts."""
    order = np.argsort(found.rater, kind="stable")  # within a rater, time still goes up
    edges = np.flatnonzero(np.diff(found.rater[order])) + 1
    parts = [rows for rows in np.split(order, edges) if len(rows)]
    everyone = [(found.where(rows), agreement[rows]) for rows in parts]
    evidence = [_evidence(mine, agreed) for mine, agreed in everyone]
    common = Common.of(
        [known for known, rows in zip(evidence, parts, strict=True) if found.counted[rows].any()]
    )
    return [
        {
            "rater": names.raters[mine.rater[0]],
            **_rater(mine, agreed, known, common),
            "skip_share": _skip_share(skips.get(names.raters[mine.rater[0]], 0), len(mine)),
        }
        for (mine, agreed), known in zip(everyone, evidence, strict=True)
    ]


def _evidence(mine: Columns, agreement: Numbers) -> Evidence:
    """What is known of a rater's care."""
    known = ~np.isnan(mine.gold)
    return Evidence(
        golds=mine.gold[known],
        gold_chance=float((1 / mine.size[known]).mean()) if known.any() else 0.5,
        repeats=_known(mine.repeat),
        firsts=_known(mine.where(mine.pairs).won_by_first),
        agreement=_known(agreement),
        too_fast=share_of(_known(mine.too_fast)),
    )


def _rater(mine: Columns, agreement: Numbers, evidence: Evidence, common: Common) -> Result:
    """One rater's figures, and what they come to."""
    found = trust(evidence, common)
    return {
        "judgments": len(mine),
        "excluded": bool(mine.excluded.any()),
        "simulated": bool(mine.simulated.all()),
        "weight": found.care.value,
        "care": found.care,
        "reading": found.reading,
        "action": found.action,
        "golds": {"state": found.golds, "decided_after": found.golds_needed, "asked": len(evidence.golds)},
        "repeats": {"state": found.repeats, "asked": len(evidence.repeats)},
        "gold_pass_rate": share_of(evidence.golds),
        "self_consistency": share_of(evidence.repeats),
        "agreement": share_of(evidence.agreement),
        **_answers(mine),
        **_time(mine),
        "fatigue": _fatigue(mine, agreement)["together"],
    }


def _groups(used: Columns, names: Names) -> Result:
    """What groups of people say differently, if at least two have ten people; a smaller one is not shown."""
    groups = [(name, used.where(used.group == number)) for number, name in enumerate(names.groups)]
    people = {name: len(np.unique(group.rater)) for name, group in groups}
    shown = [(name, group) for name, group in groups if people[name] >= SMALLEST_GROUP]
    if len(shown) < 2:
        return {"shown": [], "differences": [], "hidden": len(groups)}
    comparisons = int(used.unit.max(initial=-1)) + 1
    tables = {name: group.where(group.overlap).table(comparisons=comparisons) for name, group in shown}
    return {
        "shown": [
            {
                "group": name,
                "raters": people[name],
                "judgments": len(group),
                "agreement": raw_agreement(tables[name], tie=TIE),
                "gold_pass_rate": share_of(_known(group.gold)),
                **_answers(group),
                **_time(group),
            }
            for name, group in shown
        ],
        "differences": [
            {
                "groups": [one, other],
                "agreement": agreement_between(tables[one], tables[other], tie=TIE),
                **{
                    name: difference(of_one, of_other)
                    for (name, of_one), of_other in zip(
                        _per_person(rows_of_one).items(), _per_person(rows_of_other).values(), strict=True
                    )
                },
            }
            for (one, rows_of_one), (other, rows_of_other) in combinations(shown, 2)
        ],
        "hidden": len(groups) - len(shown),
    }


def _per_person(group: Columns) -> dict[str, Numbers]:
    """Each person's mean of what groups are compared by; people differ, so they are what is counted."""
    return {
        "tie_share": _means((group.best == TIE).astype(float), group),
        "all_bad_share": _means(group.all_bad.astype(float), group),
        "longer_won": _means(group.won_by_longer, group),
        "left_share": _means(np.where(group.pairs, group.won_by_first, np.nan), group),
        "gold_pass_rate": _means(group.gold, group),
        "active_seconds": _means(group.seconds, group),
    }


def _means(values: Numbers, group: Columns) -> Numbers:
    known = ~np.isnan(values)
    people = np.unique(group.rater[known], return_inverse=True)[1]
    means: Numbers = np.bincount(people, values[known]) / np.bincount(people)
    return means


def _skip_share(skipped: int, judged: int) -> Figure:
    return share(skipped, skipped + judged)


def _known(values: Numbers) -> Numbers:
    """Without those that are not known."""
    return values[~np.isnan(values)]


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, Figure):
        return value.to_json()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
