"""The tables of the labeling half.

Nothing here knows a model by name: which policy wrote a response is kept in `policy.app`,
so no page made from these tables can tell a rater.
"""

from annotate.models.asking import (
    Assignment,
    AssignmentState,
    ComparedResponse,
    Comparison,
    Flag,
    FlagKind,
    Prompt,
    Purpose,
    Response,
    Rule,
    content_hash,
)
from annotate.models.judging import (
    Judgment,
    Preference,
    Void,
)
from annotate.models.people import (
    LABELING,
    AuditEvent,
    Invitation,
    Membership,
    RaterAction,
    Role,
    SignInFailure,
    SignInLink,
    User,
)
from annotate.models.projects import (
    BackgroundAnswer,
    BackgroundQuestion,
    Guideline,
    Project,
    ProjectQuerySet,
    QualityFigures,
    Upload,
)
from annotate.models.writing import (
    Demonstration,
    DemonstrationReview,
    DemonstrationState,
    DemonstrationVersion,
)

__all__ = [
    "LABELING",
    "Assignment",
    "AssignmentState",
    "AuditEvent",
    "BackgroundAnswer",
    "BackgroundQuestion",
    "ComparedResponse",
    "Comparison",
    "Demonstration",
    "DemonstrationReview",
    "DemonstrationState",
    "DemonstrationVersion",
    "Flag",
    "FlagKind",
    "Guideline",
    "Invitation",
    "Judgment",
    "Membership",
    "Preference",
    "Project",
    "ProjectQuerySet",
    "Prompt",
    "Purpose",
    "QualityFigures",
    "RaterAction",
    "Response",
    "Role",
    "Rule",
    "SignInFailure",
    "SignInLink",
    "Upload",
    "User",
    "Void",
    "content_hash",
]
