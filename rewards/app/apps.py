"""Reward models as the product knows them: a row for each that a run has made."""

from django.apps import AppConfig


class RewardsConfig(AppConfig):
    """Reward models and the runs that train them."""

    name = "rewards.app"
    label = "rewards"
    verbose_name = "Reward models"

    def ready(self) -> None:
        """Declare the kind of job."""
        from rewards.app.jobs import RewardModelTraining  # noqa: PLC0415, models are ready only now
        from runs import kinds  # noqa: PLC0415

        kinds.register(RewardModelTraining())
