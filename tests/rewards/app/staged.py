"""Reward models whose runs are done: directories are written as the programs would leave them."""

import json
from typing import Any

from annotate.models import Project
from rewards.app.models import RewardModel
from runs import host, kinds, transitions
from runs.models import Run

TODAY: dict[str, Any] = {  # what rewards.train wrote before there were gates
    "train": "head",
    "head_accuracy": 0.7123,
    "pairs": 131,
    "judgments": 131,
    "ties": 14,
    "dropped": 2,
    "eval_pairs": 117,
    "eval_prompts": 40,
    "eval_accuracy": 0.7123,
    "eval_accuracy_low": 0.641,
    "eval_accuracy_high": 0.776,
    "longer_wins": 0.547,
    "length_matched_pairs": 38,
    "length_matched_accuracy": 0.684,
    "log_loss": 0.581,
    "brier": 0.199,
    "ece": 0.061,
    "calibration_slope": 0.83,
    "temperature": 1.2,
    "gain": 1.31,
    "bias": -0.42,
    "tie_width": 0.38,
    "logits_per_reward": 1.4,
    "members": 8,
    "trunk": "a1" * 32,
    "epochs": None,
    "learning_rate": None,
    "seconds": 41.2,
    "examples_per_second": 3.2,
    "tokens_per_second": 5400.0,
    "peak_memory_bytes": 912_000_000,
}
LATER: dict[str, Any] = {  # with the ceiling, the parts, the curves, style and raters
    **TODAY,
    "ceiling": 0.842,
    "ceiling_reason": None,
    "share_of_ceiling": 0.62,
    "share_of_ceiling_low": 0.45,
    "length_matched_low": 0.51,
    "length_matched_high": 0.82,
    "calibration_slope_low": 0.61,
    "calibration_slope_high": 1.09,
    "ece_excess": 0.014,
    "reliability": [
        {
            "confidence": 0.54,
            "right": 0.51,
            "low": 0.39,
            "high": 0.63,
            "chance_low": 0.4,
            "chance_high": 0.68,
        },
        {
            "confidence": 0.63,
            "right": 0.66,
            "low": 0.53,
            "high": 0.77,
            "chance_low": 0.5,
            "chance_high": 0.76,
        },
        {
            "confidence": 0.74,
            "right": 0.71,
            "low": 0.58,
            "high": 0.81,
            "chance_low": 0.62,
            "chance_high": 0.86,
        },
        {
            "confidence": 0.85,
            "right": 0.79,
            "low": 0.66,
            "high": 0.88,
            "chance_low": 0.74,
            "chance_high": 0.94,
        },
        {"confidence": 0.95, "right": 0.9, "low": 0.79, "high": 0.96, "chance_low": 0.88, "chance_high": 1.0},
    ],
    "by_strength": [
        {"name": "1", "accuracy": 0.61, "low": 0.49, "high": 0.72, "pairs": 52},
        {"name": "2", "accuracy": 0.76, "low": 0.64, "high": 0.85, "pairs": 41},
        {"name": "3", "accuracy": 0.87, "low": 0.7, "high": 0.95, "pairs": 24},
    ],
    "by_agreement": [
        {"name": "unanimous", "accuracy": 0.83, "low": 0.6, "high": 0.94, "pairs": 18},
        {"name": "split", "accuracy": None, "low": None, "high": None, "pairs": 0},
    ],
    "by_group": [
        {"name": "nurses", "accuracy": 0.73, "low": 0.6, "high": 0.83, "pairs": 60, "published": True},
        {
            "name": "the two founders",
            "accuracy": 0.4,
            "low": 0.1,
            "high": 0.8,
            "pairs": 6,
            "published": False,
        },
    ],
    "learning_curve": {
        "points": [
            {"share": 0.125, "judgments": 16.4, "accuracy": 0.58, "deviation": 0.04},
            {"share": 0.25, "judgments": 33.1, "accuracy": 0.63, "deviation": 0.03},
            {"share": 0.5, "judgments": 65.8, "accuracy": 0.676, "deviation": 0.03},
            {"share": 1.0, "judgments": 131.0, "accuracy": 0.712, "deviation": 0.02},
        ],
        "draws": 5,
        "doubling_gain": 0.034,
        "doubling_gain_low": 0.011,
        "doubling_gain_high": 0.058,
        "reason": None,
    },
    "style": [
        {"name": "length", "coefficient": 0.42, "low": 0.18, "high": 0.66, "per": 1.0},
        {"name": "lists", "coefficient": 0.09, "low": -0.12, "high": 0.3, "per": 1.0},
        {"name": "emphasis", "coefficient": -0.21, "low": -0.44, "high": 0.02, "per": 1.0},
    ],
    "raters": [
        {
            "rater": "rater-0123456789ab",
            "judgments": 12,
            "scale": 0.8,
            "scale_error": 0.2,
            "side": -0.1,
            "side_error": 0.15,
            "lapse": 0.04,
            "lapse_error": 0.02,
        },
        {"rater": "rater-ba9876543210", "judgments": 31, "scale": 1.3, "scale_error": None, "side": 0.0},
    ],
}
EVALUATION: dict[str, Any] = {  # what rewards.evaluate finds on fresh pairs
    "pairs": 24,
    "judgments": 24,
    "eval_pairs": 24,
    "eval_accuracy": 0.75,
    "eval_accuracy_low": 0.55,
    "eval_accuracy_high": 0.88,
    "longer_wins": 0.5,
    "log_loss": 0.55,
    "gates": [
        {
            "gate": "G1",
            "name": "share of the human ceiling, lower 90 % bound",
            "value": 0.45,
            "bound": 0.5,
            "needed": "at least",
            "passed": False,
            "reason": "",
        },
        {
            "gate": "G2",
            "name": "calibration slope, 95 % interval",
            "value": [0.61, 1.09],
            "bound": [0.8, 1.25],
            "needed": "meets",
            "passed": True,
            "reason": "",
        },
        {
            "gate": "G5",
            "name": "drop on pairs of the policy",
            "value": None,
            "bound": 0.05,
            "needed": "at most",
            "passed": None,
            "reason": "give pairs of the current policy with --policy-pairs",
        },
    ],
    "probes": {
        "padded": {"count": 100, "clean_preferred": 0.94, "low": 0.88, "high": 0.97, "falls_or_stays": 0.94},
        "swapped": {"count": 100, "clean_preferred": 0.99, "low": 0.95, "high": 1.0},
    },
    "style_share": {"length": 0.12, "markdown": 0.03, "both": 0.14, "length_correlation": 0.08},
}
MISTAKES = [
    {
        "prompt_id": f"lamp-{number:02}",
        "messages": [
            {"role": "system", "content": f"Notes: lamp Fern {number}; price: ${number}9"},
            {"role": "user", "content": f"How much is the lamp Fern {number}?"},
        ],
        "chosen": f"It is ${number}9.",
        "rejected": f"The lamp costs **${number}8**. Shall I put one aside? <script>alert(1)</script>",
        "tie": False,
        "log_odds": -4.1 + number / 4,
    }
    for number in range(1, 6)
]


def claimed(run: Run) -> Run:
    """The run as a worker has it that claimed and prepared it."""
    assert transitions.claim(["train"], host.owner(1)) == run
    run.refresh_from_db()
    run.directory.path.mkdir(parents=True, exist_ok=True)
    kinds.get(run.kind).prepare(run, run.directory)
    return run


def finish(run: Run, result: dict[str, Any], **lines: list[dict[str, Any]]) -> None:
    """Leave what the program leaves, with such files of JSON lines, and let the kind store it."""
    path = run.directory.path
    (path / "model").mkdir(exist_ok=True)
    (path / "model" / "config.json").write_text("{}")
    for name, rows in lines.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "result.json").write_text(json.dumps(result))
    transitions.succeed(run, lambda: kinds.get(run.kind).finish(run, run.directory))
    run.refresh_from_db()


def reward_run(project: Project) -> Run:
    """A queued run that starts from the project's base."""
    base = project.policies.get(kind="base")
    config = {"model": f"input/policy-{base.pk}", "pairs": "input/pairs.jsonl"}
    return Run.objects.start("reward-model", config=config, scope=project.scope, started_by="ada")


def reward_model(project: Project, result: dict[str, Any] | None = None, **lines: Any) -> RewardModel:
    """A reward model of the project's base and of all that was judged."""
    run = reward_run(project)
    finish(claimed(run), TODAY if result is None else result, **lines)
    return RewardModel.objects.get(run=run)
