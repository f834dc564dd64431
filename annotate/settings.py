"""What a project's admin may set; anything else is refused by name."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """How a project asks its raters; kept as JSON beside the project."""

    overlap: Annotated[int, "raters who judge each comparison"] = 1
    lease_minutes: Annotated[int, "how long a comparison waits for its rater"] = 30
    session_length: Annotated[int, "comparisons in one sitting, as the progress bar counts"] = 40
    tie: Annotated[bool, "raters may answer that both are as good"] = True
    all_bad: Annotated[bool, "raters may answer that they would send neither"] = True

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, low, high in (("overlap", 1, 50), ("lease_minutes", 1, 1440), ("session_length", 1, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be from {low} to {high}")
