"""What a new project can begin with: an answer scheme, rules and guidelines for a usual kind of labeling."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.masking import DEFAULT_PHRASES
from annotate.settings import ProjectSettings
from lm.config import from_json

GUIDELINES = Path(__file__).parent / "preset_guidelines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A kind of project, ready to be changed."""

    name: str
    title: str
    summary: str  # one sentence, on the page where it is chosen
    settings: dict[str, Any] = field(default_factory=dict)  # what differs from the defaults

    @property
    def guidelines(self) -> str:
        """The guidelines to begin with, as Markdown."""
        return (GUIDELINES / f"{self.name}.md").read_text(encoding="utf-8")

    @property
    def values(self) -> dict[str, Any]:
        """Its settings, and the words by which models give themselves away, which raters are not to see."""
        return {"masks": list(DEFAULT_PHRASES), **self.settings}

    @property
    def rules(self) -> ProjectSettings:
        """Its settings, checked."""
        return from_json(ProjectSettings, self.values)


PRESETS = (
    Preset(
        name="helpfulness-pairs",
        title="Helpfulness pairs",
        summary="Two responses to everyday requests; raters choose the one they would rather get.",
        settings={"labels": ["untrue", "ignores the request", "too long"]},
    ),
    Preset(
        name="safety-pairs",
        title="Safety pairs",
        summary="Requests that may do harm; raters weigh harm against needless refusal, behind a warning.",
        settings={
            "criteria": ["harmless", "helpful"],
            "criteria_required": True,
            "labels": ["helps to harm", "needless refusal", "preaches"],
            "rationale": "strong",
            "overlap_share": 0.2,
            "session_length": 25,
            "break_minutes": 30,
            "content_warning": "Some texts here speak of violence, self-harm, sex or hate. "
            "Skip whatever you would rather not read.",
        },
    ),
    Preset(
        name="summaries",
        title="Summaries",
        summary="Two summaries of a text, judged as a whole and by faithful, complete and brief.",
        settings={
            "scheme": "strength",
            "criteria": ["faithful", "complete", "brief"],
            "labels": ["says what the text does not"],
            "session_length": 25,
        },
    ),
    Preset(
        name="ranking-of-four",
        title="Ranking of four",
        summary="Four responses at once, put in order; each answer gives up to six preferences.",
        settings={"scheme": "ranking", "labels": ["untrue", "unsafe"], "session_length": 20},
    ),
    Preset(
        name="code",
        title="Code",
        summary="Answers about programs; raters who know the language say how much better, and why.",
        settings={
            "scheme": "strength",
            "criteria": ["works", "readable", "well explained"],
            "labels": ["does not run", "unsafe"],
            "rationale": "strong",
            "confidence": True,
            "overlap_share": 0.15,
            "routes": ["code:"],
            "session_length": 20,
        },
    ),
    Preset(
        name="creative-writing",
        title="Creative writing",
        summary="Stories, poems and letters, where tastes differ and are meant to: more raters, no golds.",
        settings={
            "scheme": "strength",
            "overlap_share": 0.3,
            "overlap_judgments": 3,
            "gold_share": 0.0,
            "repeat_share": 0.05,
            "session_length": 25,
        },
    ),
    Preset(
        name="shop-assistant",
        title="Shop assistant",
        summary="Replies to customers of a shop: true to its terms, short, kind, promising nothing in vain.",
        settings={
            "labels": ["invents terms", "asks again", "too long"],
            "rationale": "optional",
            "system_prompt": "You are the assistant of an online shop. You answer customers shortly and "
            "kindly, and promise nothing that is not in your terms.",
        },
    ),
    Preset(
        name="demonstrations",
        title="Demonstrations",
        summary="People write or mend responses, others review them; the first examples for a policy.",
        settings={"rationale": "optional", "lease_minutes": 120, "session_length": 10},
    ),
)


def named(name: str) -> Preset | None:
    """The preset of this name."""
    return next((preset for preset in PRESETS if preset.name == name), None)
