"""What a project's admin may set; anything else is refused by name."""

from dataclasses import dataclass
from typing import Annotated, Literal

LIMITS = {
    "overlap": (1, 50),
    "overlap_judgments": (2, 50),
    "lease_minutes": (1, 1440),
    "session_length": (1, 1000),
    "break_minutes": (0, 600),
    "top": (0, 9),
    "uniform_below": (0, 1_000_000),
    "repeat_gap": (1, 10_000),
    "hourly_limit": (0, 10_000),
    "round_limit": (0, 1_000_000),
    "pay_per_hour": (0, 10_000),
    "pay_per_judgment": (0, 1_000),
}
SHARES = (
    "overlap_share",
    "gold_share",
    "repeat_share",
    "uniform_share",
    "qualification_pass",
    "near_identical",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """How a project asks its raters; kept as JSON beside the project."""

    # What a rater answers
    scheme: Annotated[
        Literal["choice", "strength", "ranking", "scores"],
        "one key for the better response, seven steps of how much better, an order, or a score for each",
    ] = "choice"
    tie: Annotated[bool, "raters may answer that both are as good"] = True
    all_bad: Annotated[bool, "raters may answer that they would send neither"] = True
    top: Annotated[int, "ranking: only the best so many are put in order; 0 for all"] = 0
    score_steps: Annotated[Literal[5, 7], "scores: from 1 to so many"] = 5
    criteria: Annotated[tuple[str, ...], "rows below the answer, such as honest and harmless"] = ()
    criteria_required: Annotated[bool, "an answer needs every criterion"] = False
    labels: Annotated[tuple[str, ...], "marks that a rater may put on a response, such as untrue"] = ()
    rationale: Annotated[
        Literal["off", "optional", "strong", "always"],
        "whether raters say why: not asked, as they like, needed for strong choices, always needed",
    ] = "off"
    confidence: Annotated[bool, "raters say how sure they are, 1 to 5"] = False

    # Who is asked what
    overlap: Annotated[int, "raters who judge each comparison"] = 1
    overlap_share: Annotated[float, "share of comparisons that more raters judge, to measure agreement"] = 0.1
    overlap_judgments: Annotated[int, "raters who judge each of those"] = 2
    gold_share: Annotated[float, "share of a rater's comparisons whose answer is known"] = 0.05
    repeat_share: Annotated[float, "share that comes again to the same rater, sides swapped"] = 0.03
    repeat_gap: Annotated[int, "comparisons between a swapped repeat and its first showing"] = 30
    uniform_share: Annotated[float, "share of new comparisons drawn at random, whatever their score"] = 0.2
    uniform_below: Annotated[int, "judgments below which all are drawn at random"] = 300
    near_identical: Annotated[float, "responses alike to this share of their words are not compared"] = 0.95
    lease_minutes: Annotated[int, "how long a comparison waits for its rater"] = 30
    hourly_limit: Annotated[int, "judgments a rater may give in an hour; 0 for no limit"] = 0
    round_limit: Annotated[int, "judgments a rater may give of one batch; 0 for no limit"] = 0
    routes: Annotated[
        tuple[str, ...], "beginnings of a prompt's tags that its rater must have too, such as lang:"
    ] = ()
    masks: Annotated[tuple[str, ...], "words that raters don't see, such as a model's name for itself"] = ()

    # Around it
    qualification_pass: Annotated[float, "share of the qualification set that must be right"] = 0.75
    session_length: Annotated[int, "comparisons in one sitting, as the progress bar counts"] = 40
    break_minutes: Annotated[int, "minutes of work after which a break is suggested; 0 for never"] = 45
    system_prompt: Annotated[str, "stands before every prompt of the project"] = ""
    content_warning: Annotated[str, "what raters may meet here; texts are then shown at a click"] = ""
    pay_per_hour: Annotated[float, "of active time"] = 0.0
    pay_per_judgment: Annotated[float, "beside or instead of pay by the hour"] = 0.0
    currency: Annotated[str, "of pay"] = "EUR"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be from {low} to {high}")
        for name in SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be from 0 to 1")
        if self.gold_share + self.repeat_share > 0.5:
            raise ValueError("gold_share and repeat_share together are over half of what raters would see")
        for name in ("criteria", "labels", "routes", "masks"):
            texts = getattr(self, name)
            if len(set(texts)) < len(texts) or any(not text.strip() or len(text) > 60 for text in texts):
                raise ValueError(f"{name} must be different texts of 1 to 60 characters, not {list(texts)}")
        if len(self.criteria) > 9 or len(self.labels) > 12:
            raise ValueError("a project has at most 9 criteria and 12 labels")
