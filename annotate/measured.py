"""The figures of quality as pages show them: never a number alone, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any

Values = Mapping[str, Any]
UNKNOWN: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0}
MINUS = "−"


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure in words: its value, its 95 % interval, what it rests on, and what it says."""

    name: str
    value: str = ""  # empty: nothing is known yet
    interval: str = ""
    count: str = ""
    meaning: str = ""
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together."""

    title: str
    figures: list[Shown]


READINGS = {  # reading: its word, what it means
    "careful": ("Careful", "Reads, and answers as others do."),
    "different taste": (
        "Different taste",
        "Reads with care and likes other things than most. That is a taste and no fault: nothing to do.",
    ),
    "guessing on hard items": (
        "Guessing on hard ones",
        "Known answers are right, swapped repeats are not the same again.",
    ),
    "not reading": ("Not reading", "Misses known answers that nobody misses who reads."),
    "reversed scale": (
        "Scale turned round",
        "Answers steadily, and mostly the opposite of what is known. The task may be misunderstood.",
    ),
    "not enough data": ("Too little to tell", "It takes some more known answers and repeats."),
}
SUGGESTIONS = {
    "none": "",
    "watch": "Watch",
    "message": "Write to them",
    "retrain": "Examples again",
    "pause": "Look, then maybe pause",
}


def share(name: str, figure: Values | None, noun: str = "judgment", meaning: str = "") -> Shown:
    """A share in per cent."""
    return _shown(name, figure, _percent, noun, meaning)


def number(name: str, figure: Values | None, noun: str = "comparison", meaning: str = "") -> Shown:
    """A coefficient, to two decimals."""
    return _shown(name, figure, lambda value: f"{value:.2f}".replace("-", MINUS), noun, meaning)


def seconds(name: str, figure: Values | None, noun: str = "judgment", meaning: str = "") -> Shown:
    """A time."""
    return _shown(name, figure, lambda value: f"{value:.1f} s", noun, meaning)


def twice_as_long(figure: Values | None) -> Shown:
    """How often a response wins that is twice as long as the other, all else being equal."""
    figure = figure or UNKNOWN
    as_share = {
        name: None if figure[name] is None else 1 / (1 + exp(-figure[name] * log(2)))
        for name in ("value", "low", "high")
    }
    meaning = "all else equal; 50% is no effect of length"
    return _against_a_half("Twice as long wins", {**as_share, "n": figure["n"]}, "decided pair", meaning)


def left_share(figure: Values | None, name: str = "First shown is chosen") -> Shown:
    """How often the response shown first is chosen."""
    return _against_a_half(name, figure, "decided pair", "sides are drawn by lot: 50% is fair")


def _against_a_half(name: str, figure: Values | None, noun: str, meaning: str) -> Shown:
    found = share(name, figure, noun, meaning)
    beyond = figure is not None and figure["low"] is not None and not figure["low"] <= 0.5 <= figure["high"]
    return Shown(found.name, found.value, found.interval, found.count, found.meaning, warns=beyond)


def headlines(values: Values) -> list[Shown]:
    """What is looked at first."""
    agreement, care, answers = values["agreement"], values["care"], values["answers"]
    return [
        share("Agreement", agreement["raw"], "comparison"),
        share("Human ceiling", agreement["ceiling"], "comparison"),
        share("Known answers right", care["gold_pass_rate"], "answer"),
        share("Same answer again", care["self_consistency"], "repeat"),
        left_share(answers["left_share"]),
        seconds("Median active time", values["time"]["active_seconds"]),
    ]


def sections(values: Values) -> list[Section]:
    """All figures of a project."""
    agreement, answers, care = values["agreement"], values["answers"], values["care"]
    return [
        Section(
            "How far raters agree",
            [
                share(
                    "Agreement",
                    agreement["raw"],
                    "comparison",
                    "two raters of the same pair say the same; a tie and a winner agree by half",
                ),
                share(
                    "Agreement without ties", agreement["decided"], "comparison", "among those who decided"
                ),
                number(
                    "Krippendorff’s alpha",
                    agreement["alpha"],
                    meaning="beyond chance: 0 is chance, 1 is one mind",
                ),
                *_only_known(
                    number(
                        "Alpha of strength", agreement["alpha_strength"], meaning="the same, by seven steps"
                    ),
                    number(
                        "Gwet’s AC1",
                        agreement["ac1"],
                        meaning="where nearly all say the same, alpha tells little",
                    ),
                ),
                share(
                    "Human ceiling",
                    agreement["ceiling"],
                    "comparison",
                    "the most that a perfect reward model can agree with one fresh rater",
                ),
            ],
        ),
        *_rankings(values["rankings"]),
        Section("What they answer", _answers(answers)),
        Section(
            "How they work",
            [
                share("Known answers right", care["gold_pass_rate"], "answer", "mixed in without a sign"),
                share(
                    "Same answer again",
                    care["self_consistency"],
                    "repeat",
                    "the same comparison, sides swapped",
                ),
                *_work(values["time"]),
                share("Skipped", care["skip_share"], "comparison"),
            ],
        ),
    ]


def of_rater(one: Values) -> list[Section]:
    """All figures of one rater."""
    golds, together = one["golds"], one["fatigue"]["per_hour"]
    told = {"good": "enough to call them careful", "poor": "enough to doubt", "unknown": "too few to tell"}
    return [
        Section(
            "Care",
            [
                share("Weight", one["care"], "observation", "the share of comparisons that they look at"),
                share("Known answers right", one["gold_pass_rate"], "answer", told[golds["state"]]),
                share("Same answer again", one["self_consistency"], "repeat", "sides swapped"),
                share(
                    "Agreement with others", one["agreement"], "judgment", "low alone is a taste, no fault"
                ),
                points("Change in a sitting", together, "points an hour"),
            ],
        ),
        Section("Answers", _answers(one)),
        Section("Work", [*_work(one), share("Skipped", one["skip_share"], "comparison")]),
    ]


def rater_cells(one: Values) -> list[Shown]:
    """A rater's line in the table of raters."""
    return [
        share("Agreement", one["agreement"]),
        share("Known answers", one["gold_pass_rate"], "answer"),
        share("Same again", one["self_consistency"], "repeat"),
        left_share(one["left_share"], "First shown"),
        share("Too fast", one["too_fast_share"]),
        seconds("Active time", one["active_seconds"]),
    ]


def _answers(answers: Values) -> list[Shown]:
    return [
        share("Ties", answers["tie_share"], meaning="both bad among them"),
        share("Both bad", answers["all_bad_share"]),
        left_share(answers["left_share"]),
        twice_as_long(answers["length_effect"]),
        share("With a reason", answers["rationale_share"]),
    ]


def _work(time: Values) -> list[Shown]:
    return [
        seconds("Median active time", time["active_seconds"], meaning="visible, focused, not idle"),
        share(
            "Too fast to have read", time["too_fast_share"], meaning="a third of the time that reading takes"
        ),
    ]


def _rankings(rankings: Values) -> list[Section]:
    if not rankings["judgments"]:
        return []
    by_chance = rankings["first_best_by_chance"]
    chance = "" if by_chance is None else f"{_percent(by_chance)} by chance"
    return [
        Section(
            "Orders of three and more",
            [
                number("Kendall’s tau", rankings["tau"], meaning="between two raters of the same responses"),
                share("Same best", rankings["best"], "comparison"),
                number("Alpha of the best", rankings["alpha_best"]),
                share("First shown is best", rankings["first_best"], "judgment", chance),
            ],
        )
    ]


def _only_known(*figures: Shown) -> list[Shown]:
    return [figure for figure in figures if figure.value]


# How quality changes during a sitting


KINDS = (
    ("golds", "Known answers right"),
    ("repeats", "Same answer again"),
    ("agreement", "Agreement with others"),
    ("together", "All three together"),
)


def points(name: str, figure: Values | None, unit: str) -> Shown:
    """A change of a share, in points."""
    found = _shown(name, figure, _points, "judgment", unit)
    falls = figure is not None and figure["high"] is not None and figure["high"] < 0
    return Shown(found.name, found.value, found.interval, found.count, found.meaning, warns=falls)


def fatigue(values: Values) -> list[tuple[Shown, Shown]]:
    """What an hour and what a hundred comparisons of a sitting change, within each rater."""
    found = values["fatigue"]
    return [
        (
            points(name, found[kind]["per_hour"], "points an hour"),
            points(name, found[kind]["per_100_comparisons"], "points in 100 comparisons"),
        )
        for kind, name in KINDS
    ]


def tired(values: Values) -> str:
    """What the chart of fatigue shows, in a sentence."""
    figure = values["fatigue"]["together"]["per_hour"]
    if figure["value"] is None:
        return "Too little to tell whether quality changes during a sitting."
    found = points("", figure, "")
    what = f"{found.value} points an hour, probably {found.interval}, from {found.count}"
    if figure["high"] < 0:
        return f"Quality falls during a sitting: {what}."
    if figure["low"] > 0:
        return f"Quality rises during a sitting: {what}."
    return f"No change during a sitting that chance could not make: {what}."


# What was left out


LEFT_OUT = {  # reasons whose words differ on pages
    "excluded": "rater excluded",
    "known answer": "known answers, which nothing is learned from",
    "swapped repeat": "swapped repeats, which nothing is learned from",
    "place taken": "late, and the place was taken",
}


def counts(values: Values) -> dict[str, Any]:
    """Received = used + each reason for leaving out."""
    found = values["counts"]
    rows = [(LEFT_OUT.get(reason, reason), count) for reason, count in found["left_out"].items()]
    return {**found, "reasons": rows, "closes": found["received"] == found["used"] + sum(n for _, n in rows)}


# In words


def _shown(name: str, figure: Values | None, written: Any, noun: str, meaning: str) -> Shown:
    figure = figure or UNKNOWN
    n = figure["n"]
    count = f"{n:,} {noun}{'' if n == 1 else 's'}"
    if figure["value"] is None:
        return Shown(name, count=count, meaning=meaning)
    low, high = figure["low"], figure["high"]
    interval = "" if low is None or high is None else f"{written(low)} to {written(high)}"
    return Shown(name, written(figure["value"]), interval, count, meaning)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%".replace(".0%", "%")


def _points(value: float) -> str:
    points = round(100 * value, 1)
    return f"{'+' if points > 0 else MINUS if points < 0 else ''}{abs(points):.1f}"
