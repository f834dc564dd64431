"""Where a rater's judgments went, as a rater may know it: no name of a model."""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from annotate.models import Judgment, Project, User
from annotate.progress import Use
from rewards.app.models import RewardModel


def of_rater(project: Project, rater: User) -> Iterator[Use]:
    """Each reward model that learned from judgments of this rater, with how many of theirs it had."""
    mine = Judgment.objects.used().filter(assignment__rater=rater, assignment__comparison__project=project)
    for model in RewardModel.objects.filter(project=project).select_related("run").order_by("-created_at"):
        count = mine.filter(received_at__lte=model.run.created_at).count()
        if count:
            yield Use(_("a model of what people prefer learned from them"), model.created_at, count)
