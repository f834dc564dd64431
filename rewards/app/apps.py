"""Reward models as the product knows them: a row for each that a run has made."""

from django.apps import AppConfig


class RewardsConfig(AppConfig):
    """Reward models and the runs that train them."""

    name = "rewards.app"
    label = "rewards"
    verbose_name = "Reward models"

    def ready(self) -> None:
        """Declare the kinds of jobs, and tell raters where their judgments went."""
        from annotate import progress  # noqa: PLC0415, models are ready only now
        from rewards.app import scoring, uses  # noqa: PLC0415
        from rewards.app.comparing import RewardModelMeasurement  # noqa: PLC0415
        from rewards.app.jobs import RewardModelTraining, after  # noqa: PLC0415
        from runs import kinds  # noqa: PLC0415

        kinds.register(RewardModelTraining())
        kinds.register(RewardModelMeasurement())
        kinds.register(scoring.ScoreComparisons())
        after(scoring.start_after)
        progress.provide_uses(uses.of_rater)
