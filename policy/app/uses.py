"""Which rounds a rater's judgments went into, as a rater may know it: no name, no number."""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from annotate.models import Judgment, Project, User
from annotate.progress import Use


def of_rater(project: Project, rater: User) -> Iterator[Use]:
    """Each round whose model was trained, with how many of this rater's judgments it had learned from."""
    mine = Judgment.objects.used().filter(assignment__rater=rater, assignment__comparison__project=project)
    trained = project.rounds.filter(policy__isnull=False).select_related("reward_model__run")
    for round in trained.order_by("-created_at"):
        model = round.reward_model
        count = mine.filter(received_at__lte=model.run.created_at).count() if model else 0
        if count:
            yield Use(_("a new model was trained by what they say"), round.created_at, count)
