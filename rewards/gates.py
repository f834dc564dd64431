"""Is the reward model good enough to train a policy on? Nine gates over the figures of `rewards.evaluate`.

The bounds are those of section 2.5 of our notes on preference data, which took them from simulated loops with
a known true reward. A gate whose figure is not known is neither passed nor failed, and says what is missing.
The standard library alone, so that pages may judge a stored result again.
"""

from collections.abc import Mapping
from typing import Any

LEAST_SHARE, LEAST_SHARE_FAR = 0.50, 0.65  # G1: of the ceiling; for a policy that goes far from its base
FAR = 4.0  # nats of KL
SLOPES = (0.8, 1.25)  # G2: 1 000 pairs give the slope to about .13
MOST_ERROR = 0.02  # G3: beyond what chance gives
LEAST_GROUP = 0.8  # G4: of the overall figure
MOST_DROP = 0.05  # G5
MOST_CORRELATION, LEAST_FALLING = 0.1, 0.8  # G6
LEAST_CLEAN, FEWEST_TEXTS = 0.9, 20  # G7: fewer texts say too little: 20 give the share to about .13
MOST_GAIN = 0.03  # G8: beyond it, labels are what is short
MOST_DISAGREEMENT = 1.3  # G9: on the policy's samples, as a multiple of that on the base's
PROBES = ("padded", "truncated", "repeated", "flattered", "swapped", "shuffled")


def check(figures: Mapping[str, Any], *, kl_budget: float | None = None) -> list[dict[str, Any]]:
    """The gates in order: value, bound, what is needed, whether it is passed (None: unknown), and why."""
    return [
        _share_of_ceiling(figures, kl_budget),
        _slope(figures),
        _calibration_error(figures),
        _worst_group(figures),
        _at_most(
            "G5",
            "drop on pairs of the policy",
            _inner(figures, "policy", "drop"),
            MOST_DROP,
            "give pairs of the current policy with --policy-pairs",
        ),
        _style(figures),
        _probes(figures),
        _doubling(figures),
        _at_most(
            "G9",
            "members' disagreement on the policy's samples",
            _inner(figures, "disagreement", "ratio"),
            MOST_DISAGREEMENT,
            _inner(figures, "disagreement", "reason") or "give samples of the policy with --policy-samples",
        ),
    ]


def failed(gates: list[dict[str, Any]]) -> list[str]:
    """The names of the gates that are not passed, those unknown left aside."""
    return [gate["gate"] for gate in gates if gate["passed"] is False]


_NO_PAIRS = "no decided pair to measure on"


def _gate(
    number: str, name: str, value: Any, bound: Any, needed: str, passed: bool | None, reason: str
) -> dict[str, Any]:
    return {
        "gate": number,
        "name": name,
        "value": value,
        "bound": bound,
        "needed": needed,
        "passed": passed,
        "reason": reason,
    }


def _at_most(number: str, name: str, value: float | None, bound: float, missing: str) -> dict[str, Any]:
    if value is None:
        return _gate(number, name, None, bound, "at most", None, missing)
    return _gate(number, name, value, bound, "at most", value <= bound, "")


def _share_of_ceiling(figures: Mapping[str, Any], kl_budget: float | None) -> dict[str, Any]:
    bound = LEAST_SHARE_FAR if kl_budget is not None and kl_budget > FAR else LEAST_SHARE
    name, value = "share of the human ceiling, lower 90 % bound", figures.get("share_of_ceiling_low")
    if value is not None:
        return _gate("G1", name, value, bound, "at least", value >= bound, "")
    agreement = figures.get("agreement")
    reason = figures.get("ceiling_reason") or _NO_PAIRS
    nothing_shared = agreement is not None and agreement <= 0.5
    return _gate("G1", name, None, bound, "at least", False if nothing_shared else None, reason)


def _slope(figures: Mapping[str, Any]) -> dict[str, Any]:
    name = "calibration slope, 95 % interval"
    low, high = figures.get("calibration_slope_low"), figures.get("calibration_slope_high")
    if low is None or high is None:
        return _gate("G2", name, None, list(SLOPES), "meets", None, _NO_PAIRS)
    passed = low <= SLOPES[1] and high >= SLOPES[0]
    reason = "" if passed else "scale the temperature, and test on fresh judgments"
    return _gate("G2", name, [low, high], list(SLOPES), "meets", passed, reason)


def _calibration_error(figures: Mapping[str, Any]) -> dict[str, Any]:
    name, excess = "calibration error beyond chance", figures.get("ece_excess")
    gate = _at_most("G3", name, excess, MOST_ERROR, _NO_PAIRS)
    error, by_chance = figures.get("ece"), figures.get("ece_expected_high")
    if gate["passed"] is False and error is not None and by_chance is not None and error <= by_chance:
        gate["reason"] = "chance alone gives so much now and then: measure on more pairs"
    return gate


def _worst_group(figures: Mapping[str, Any]) -> dict[str, Any]:
    value, name = figures.get("worst_group"), "worst group, as a share of the whole"
    if value is None:
        return _gate("G4", name, None, LEAST_GROUP, "at least", None, "no declared group with 100 judgments")
    return _gate("G4", name, value, LEAST_GROUP, "at least", value >= LEAST_GROUP, "")


def _style(figures: Mapping[str, Any]) -> dict[str, Any]:
    name = "length beyond content; padding that does not pay"
    correlation = _inner(figures, "style_share", "length_part")
    falling = _inner(_inner(figures, "probes") or {}, "padded", "falls_or_stays")
    known = [
        None if correlation is None else abs(correlation) <= MOST_CORRELATION,
        None if falling is None else falling >= LEAST_FALLING,
    ]
    missing = [
        word
        for word, each in zip(("the correlation", "the padding probe"), known, strict=True)
        if each is None
    ]
    reason = f"{' and '.join(missing)} can't be known" if missing else ""
    return _gate(
        "G6",
        name,
        [correlation, falling],
        [MOST_CORRELATION, LEAST_FALLING],
        "at most, at least",
        _all(known),
        reason,
    )


def _probes(figures: Mapping[str, Any]) -> dict[str, Any]:
    name, found = "probes: the clean one preferred, the least", _inner(figures, "probes") or {}
    shares = {
        kind: found[kind]["clean_preferred"]
        for kind in PROBES
        if kind in found and found[kind]["count"] >= FEWEST_TEXTS
    }
    missing = [kind for kind in PROBES if kind not in shares]
    low = [kind for kind, share in shares.items() if share < LEAST_CLEAN]
    known = [share >= LEAST_CLEAN for share in shares.values()]
    reason = "; ".join(
        [f"fails: {', '.join(low)}"] * bool(low)
        + [f"fewer than {FEWEST_TEXTS} texts: {', '.join(missing)}"] * bool(missing)
    )
    value = min(shares.values()) if shares else None
    return _gate("G7", name, value, LEAST_CLEAN, "at least", _all([*known, *[None] * len(missing)]), reason)


def _doubling(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Reported, not held against the model: more labels are a choice."""
    name, gain = (
        "accuracy expected from doubling the labels",
        _inner(figures, "learning_curve", "doubling_gain"),
    )
    if gain is None:
        missing = _inner(figures, "learning_curve", "reason")
        reason = missing or "rewards.train computes it for a head"
        return _gate("G8", name, None, MOST_GAIN, "reported", None, reason)
    reason = "labels are the bottleneck" if gain > MOST_GAIN else ""
    return _gate("G8", name, gain, MOST_GAIN, "reported", True, reason)


def _all(known: list[bool | None]) -> bool | None:
    """Three-valued: one that fails decides, one that is unknown leaves it open."""
    if False in known:
        return False
    return None if None in known else True


def _inner(figures: Mapping[str, Any], *names: str) -> Any:
    found: Any = figures
    for name in names:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
