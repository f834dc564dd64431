"""What the result of a reward model's run says, in words and pictures; whatever is not in it is left out.

`rewards.train` and `rewards.evaluate` write the figures. A page must be right for those of earlier versions
too, so nothing here takes a key for granted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import exp
from pathlib import Path
from typing import Any

from rewards.app.charts import (
    Claim,
    Figure,
    Forest,
    Plot,
    Strip,
    effects,
    learning_curve,
    percent,
    portions,
    reliability,
    shares,
    signed,
    strip,
)
from rewards.app.models import RewardModel
from runs.charts import number, title
from runs.metrics import is_number

Values = Mapping[str, Any]
LINE = 256 * 1024  # bytes; a longer line of a file of examples is passed over
MEASURED_APART = ("gates", "probes", "policy", "disagreement")  # what takes fresh pairs or more than pairs
PARTS = {
    "by_strength": "Accuracy by strength",
    "by_agreement": "Where several raters judged",
    "by_group": "Accuracy by group of raters",
    "by_purpose": "Accuracy by purpose",
    "by_criterion": "Accuracy by criterion",
    "subsets": "Accuracy by subset",
}
OF_RATERS = ("judgments", "scale", "side", "lapse")  # columns that come first
LABELS_ARE_SHORT = 0.03  # gain of accuracy from twice the labels, G8 of preference-notes 2.5
Z = 1.96
STRENGTHS = {"0": "Equal", "1": "Slightly better", "2": "Better", "3": "Much better"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure in words, with what to read it by."""

    name: str
    value: str
    note: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A check that a reward model should pass before a policy is trained against it."""

    number: str
    name: str
    value: str
    needed: str
    reason: str
    passed: bool | None  # None: it can't be told


@dataclass(frozen=True, slots=True)
class Example:
    """A pair as a person reads it."""

    messages: list[dict[str, Any]]
    chosen: str
    rejected: str
    said: str  # what the model says of it


@dataclass(frozen=True, slots=True)
class Rater:
    """What was learned of a rater together with the reward model."""

    name: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of two models, side by side."""

    name: str
    first: str
    second: str
    change: str


def headline(model: RewardModel) -> Strip | None:
    """The accuracy beside the human ceiling and what the longer response would win."""
    figures, ceiling = model.figures, ceiling_of(model)
    if model.accuracy is None:
        return None
    longer = figures.get("longer_wins")
    return strip(
        Figure("Agrees with held-out judgments", model.accuracy, model.accuracy_low, model.accuracy_high),
        above=("human ceiling", ceiling) if ceiling is not None else None,
        below=("longer wins", longer) if is_number(longer) else None,
    )


def ceiling_of(model: RewardModel) -> float | None:
    """The most that a perfect model could agree with one rater, as the result has it."""
    return _number(model.figures.get("ceiling"))


def read(figures: Values, name: str) -> Figure | None:
    """A figure with its interval: a number with `_low` and `_high` beside it."""
    found = _number(figures.get(name))
    if found is not None:
        return Figure(name, found, _number(figures.get(f"{name}_low")), _number(figures.get(f"{name}_high")))
    return None


def summary(model: RewardModel) -> list[Shown]:
    """The figures that are looked at first, those that are there."""
    figures = model.figures
    share, least = read(figures, "share_of_ceiling"), _number(figures.get("share_of_ceiling_low"))
    matched = read(figures, "length_matched_accuracy")
    if matched and matched.low is None:
        low, high = (_number(figures.get(f"length_matched_{end}")) for end in ("low", "high"))
        matched = Figure(matched.name, matched.value, low, high)
    found = [
        Shown(
            "Share of the ceiling",
            percent(share.value),
            f"{percent(least)} at least" if least is not None else "",
        )
        if share
        else None,
        _shown("At equal length", matched, percent, _count(figures.get("length_matched_pairs"), "pair")),
        _shown("Calibration slope", read(figures, "calibration_slope"), _two, "1 is right, below 1 too sure"),
        _shown("Calibration error", read(figures, "ece_excess"), percent, "beyond chance")
        or _shown("Calibration error", read(figures, "ece"), percent, "chance alone gives some"),
        _shown("Log-loss", read(figures, "log_loss"), _two, "0.69 is a coin"),
    ]
    return [one for one in found if one]


def measured_on(figures: Values) -> str:
    """What the accuracy rests on."""
    pairs, prompts = _count(figures.get("eval_pairs"), "pair"), _count(figures.get("eval_prompts"), "prompt")
    return f"{pairs} of {prompts}" if pairs and prompts else pairs


def gates(figures: Values) -> list[Gate]:
    """The checks in the order of their numbers."""
    found = []
    for one in _objects(figures.get("gates")):
        joined = " to " if "interval" in str(one.get("name")) else ", "
        found.append(_gate(one, joined))
    return found


def _gate(one: Values, joined: str) -> Gate:
    return Gate(
        number=str(one.get("gate", "")),
        name=_sentence(str(one.get("name") or "").replace("_", " ")),
        value=_any(one.get("value"), joined),
        needed=f"{one.get('needed') or ''} {_any(one.get('bound'), joined)}".strip(),
        reason=_sentence(str(one.get("reason") or "")),
        passed=one.get("passed") if isinstance(one.get("passed"), bool) else None,
    )


def verdict(model: RewardModel, checks: Sequence[Gate]) -> tuple[str, str]:
    """What the figures advise, in a headline and a sentence."""
    if checks:
        passed = sum(check.passed is True for check in checks)
        failed = [check for check in checks if check.passed is False]
        unknown = len(checks) - passed - len(failed)
        pass_ = f"{passed} of {len(checks)} pass{'es' if passed == 1 else ''}" if passed else "None passes"
        told = f", {unknown} can’t be told yet" if unknown else ""
        if failed:
            names = "; ".join(check.name for check in failed)
            return _counted_checks(len(failed)), f"{names}. {pass_}{told}."
        return "No check fails" if unknown else "All checks pass", f"{pass_}{told}."
    if model.accuracy is None:
        return "Not measured", "No held-out pair was decided, so nothing says how far it can be trusted."
    longer = model.figures.get("longer_wins")
    low = model.accuracy_low if model.accuracy_low is not None else model.accuracy
    if is_number(longer) and low > max(longer, 0.5):
        return (
            "It knows more than length",
            f"All of its interval is above what the longer response wins, {percent(longer)}.",
        )
    if low > 0.5:
        return (
            "Better than a coin",
            "Whether it knows more than length isn’t clear yet: the interval reaches below it.",
        )
    return "Not better than a coin yet", "50% lies in its interval. More judgments narrow it."


def _counted_checks(count: int) -> str:
    return "One check fails" if count == 1 else f"{count} checks fail"


def with_evaluation(figures: Values, evaluation: Values) -> Values:
    """The figures of the training, and what only a measurement on fresh pairs can tell."""
    apart = {name: evaluation[name] for name in MEASURED_APART if name in evaluation}
    return {**apart, "style_share": evaluation.get("style_share"), **figures}


def words(figures: Values, name: str) -> str:
    """A figure that is words: why another one is missing."""
    found = figures.get(name)
    return _sentence(found) if isinstance(found, str) else ""


def missing(figures: Values) -> list[str]:
    """Why pictures that a reader may look for are not there, as far as the result says."""
    found = []
    if reason := words(_object(figures.get("learning_curve")), "reason"):
        found.append(f"No learning curve: {reason[:1].lower()}{reason[1:]}.")
    hidden = sum(one.get("published") is False for one in _objects(figures.get("by_group")))
    if hidden:
        groups = "A group" if hidden == 1 else f"{hidden} groups"
        found.append(f"{groups} of fewer than ten raters {'is' if hidden == 1 else 'are'} not shown.")
    return found


def pictures(figures: Values) -> list[Forest | Plot]:
    """All charts that the figures allow."""
    found: list[Forest | Plot | None] = [
        reliability(_reliability(figures), _too_sure(figures)),
        learning_curve(_learning_curve(figures), _doubling(figures)),
        *(shares(name, _parts(figures, key)) for key, name in PARTS.items()),
        effects(
            "Style that raters pay for",
            _coefficients(figures.get("style")),
            "In log-odds. Fitted beside the score and left out of it.",
        ),
        portions(
            "What of the rewards style explains",
            _style_share(figures),
            "Within prompts. What is good may well be longer; the check says what is beyond that.",
        ),
        shares("Spoiled answers: the clean one wins", _probes(figures)),
    ]
    return [one for one in found if one]


def _reliability(figures: Values) -> list[Claim]:
    return [
        Claim(
            one["confidence"],
            Figure("", one["right"], _number(one.get("low")), _number(one.get("high"))),
            (_number(one.get("chance_low")), _number(one.get("chance_high"))),
        )
        for one in _objects(figures.get("reliability"))
        if is_number(one.get("confidence")) and is_number(one.get("right"))
    ]


def _learning_curve(figures: Values) -> list[tuple[float, Figure]]:
    return [
        (one["judgments"], Figure("", one["accuracy"]))
        for one in _objects(_object(figures.get("learning_curve")).get("points"))
        if is_number(one.get("judgments")) and is_number(one.get("accuracy"))
    ]


def _doubling(figures: Values) -> str:
    gain = read(_object(figures.get("learning_curve")), "doubling_gain")
    if gain is None:
        return ""
    points = f"{signed(100 * gain.value)[:1]}{abs(100 * gain.value):.1f} points"
    ends = [one for one in (gain.low, gain.high) if one is not None]
    between = " to ".join(f"{signed(100 * one)[:1]}{abs(100 * one):.1f}" for one in ends)
    means = " Labels are the bottleneck." if gain.value > LABELS_ARE_SHORT else ""
    return f"Twice as many would bring {points}{f' ({between})' if between else ''}.{means}"


def _too_sure(figures: Values) -> str:
    slope = read(figures, "calibration_slope")
    if slope is None:
        return ""
    if slope.low is not None and slope.high is not None and slope.low <= 1 <= slope.high:
        between = f"from {_two(slope.low)} to {_two(slope.high)}"
        return f"Slope {_two(slope.value)}, {between}: as sure as it should be, as far as can be told."
    means = "too sure" if slope.value < 1 else "not sure enough"
    return f"Slope {_two(slope.value)}: {means}. What is saved is corrected by it."


def _parts(figures: Values, key: str) -> list[Figure]:
    """The accuracy of each part; groups of so few raters that a figure would name them are left out."""
    found = []
    for one in _objects(figures.get(key)):
        if is_number(one.get("accuracy")) and one.get("published") is not False:
            name = str(one.get("name", ""))
            name = STRENGTHS.get(name, name) if key == "by_strength" else _sentence(name.replace("_", " "))
            low, high = _number(one.get("low")), _number(one.get("high"))
            found.append(Figure(name, one["accuracy"], low, high, _count(one.get("pairs"), "pair")))
    return found


def _probes(figures: Values) -> list[Figure]:
    return [
        Figure(
            _sentence(kind),
            one["clean_preferred"],
            _number(one.get("low")),
            _number(one.get("high")),
            _count(one.get("count"), "response"),
        )
        for kind, one in sorted(_object(figures.get("probes")).items())
        if isinstance(one, Mapping) and is_number(one.get("clean_preferred"))
    ]


def _coefficients(value: Any) -> list[Figure]:
    found = []
    for one in _objects(value):
        if is_number(one.get("coefficient")):
            low, high = _number(one.get("low")), _number(one.get("high"))
            beyond = low is not None and high is not None and (low > 0 or high < 0)
            name = _sentence(str(one.get("name", "")).replace("_", " "))
            found.append(Figure(name, one["coefficient"], low, high, "beyond chance" if beyond else ""))
    return found


def _style_share(figures: Values) -> list[Figure]:
    """How much length and Markdown explain of the rewards, by themselves and together."""
    found = _object(figures.get("style_share"))
    names = {"length": "Length", "markdown": "Markdown", "both": "Both together"}
    return [Figure(name, max(0.0, found[key])) for key, name in names.items() if is_number(found.get(key))]


def raters(figures: Values) -> tuple[list[str], list[Rater]]:
    """Names of the columns, and a line for each rater, by pseudonym; the most judgments first."""
    rows = _objects(figures.get("raters"))
    found_in_any = {key for row in rows for key, value in row.items() if is_number(value)}
    known = [name for name in OF_RATERS if name in found_in_any]
    others = {name for name in found_in_any if not name.endswith("_error")} - {*known}
    names = [*known, *sorted(others)]  # PostgreSQL keeps no order of keys
    ordered = sorted(rows, key=lambda row: -(_number(row.get("judgments")) or 0))
    found = [Rater(str(row.get("rater", "")), [_cell(row, name) for name in names]) for row in ordered]
    return [title(name) for name in names], found


def _cell(row: Values, name: str) -> str:
    value, error = _number(row.get(name)), _number(row.get(f"{name}_error"))
    if value is None:
        return ""
    said = f"{value:,}" if isinstance(value, int) else _two(value)
    return said if error is None else f"{said} ± {_two(Z * error)}"


def rest(figures: Values) -> list[tuple[str, str]]:
    """Every single figure as it stands in result.json."""
    return [
        (title(name), _plain(value))
        for name, value in sorted(figures.items())
        if not isinstance(value, list | dict)
    ]


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not known"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if is_number(value) else str(value)[:200]


def examples(file: Path, most: int) -> list[Example]:
    """The first lines of a file of pairs that are whole; none where there is no file."""
    return list(islice(_examples(file), most))


def _examples(file: Path) -> Iterator[Example]:
    try:
        opened = file.open("rb")
    except OSError:
        return
    with opened:
        while line := opened.readline(LINE):
            try:
                one = json.loads(line)
                messages = [{"role": str(m["role"]), "content": str(m["content"])} for m in one["messages"]]
                yield Example(messages, str(one["chosen"]), str(one["rejected"]), _said(one))
            except (ValueError, KeyError, TypeError):
                continue  # half a line, or none of ours


def _said(one: Values) -> str:
    """What the model makes of a pair: its log-odds as a share, and how far its members are apart."""
    log_odds, deviation = _number(one.get("log_odds")), _number(one.get("deviation"))
    said = []
    if one.get("tie") is True:
        said.append("a tie")
    if log_odds is not None:
        said.append(f"the model gives it {share_of(log_odds)}")
    if deviation is not None:
        said.append(f"its members are {_two(deviation)} apart")
    return ", ".join(said)


def share_of(logit: float) -> str:
    """Log-odds as per cent, never quite none and never quite all."""
    share = 1 / (1 + exp(-max(-30.0, min(30.0, logit))))
    return "under 1%" if share < 0.01 else "over 99%" if share > 0.99 else f"{100 * share:.0f}%"


COMPARED = (  # key, its name, how it is written
    ("eval_accuracy", "Accuracy", percent),
    ("length_matched_accuracy", "Accuracy at equal length", percent),
    ("longer_wins", "Longer wins", percent),
    ("log_loss", "Log-loss, lower is better", lambda value: f"{value:.3f}"),
    ("brier", "Brier score, lower is better", lambda value: f"{value:.3f}"),
    ("ece", "Calibration error", percent),
    ("calibration_slope", "Calibration slope, 1 is right", lambda value: f"{value:.2f}"),
)


def side_by_side(first: Values, second: Values) -> list[Row]:
    """Figures of two models on the same pairs, the earlier one first."""
    found = []
    for key, name, written in COMPARED:
        one, other = read(first, key), read(second, key)
        if one and other:
            gain = other.value - one.value
            change = (
                f"{signed(100 * gain)[:1]}{abs(100 * gain):.1f} points"
                if written is percent
                else _three(gain)
            )
            found.append(Row(name, _with_interval(one, written), _with_interval(other, written), change))
    return found


def _three(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _with_interval(figure: Figure, written: Any) -> str:
    if figure.low is None or figure.high is None:
        return str(written(figure.value))
    return f"{written(figure.value)} ({written(figure.low)} to {written(figure.high)})"


def _shown(name: str, figure: Figure | None, written: Any, meaning: str = "") -> Shown | None:
    if figure is None:
        return None
    between = ""
    if figure.low is not None and figure.high is not None:
        between = f"{written(figure.low)} to {written(figure.high)}"
    return Shown(name, written(figure.value), between, meaning)


def _object(value: Any) -> Values:
    return value if isinstance(value, Mapping) else {}


def _objects(value: Any) -> list[Values]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _any(value: Any, joined: str) -> str:
    """A gate's value as it comes: a number, several of them, or words."""
    if value is None:
        return ""
    if isinstance(value, list):
        return joined.join(_any(one, joined) or "not known" for one in value)
    return number(value).replace("-", "−") if is_number(value) else str(value)[:120]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else ""


def _count(value: Any, noun: str) -> str:
    if not is_number(value):
        return ""
    return f"{value:,.0f} {noun}{'' if value == 1 else 's'}"
