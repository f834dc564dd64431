"""Policies as the product knows them: which model wrote a response is kept here, away from raters."""

from django.apps import AppConfig


class PolicyConfig(AppConfig):
    """Policies, their samples, and the rounds that make new ones."""

    name = "policy.app"
    label = "policy"
    verbose_name = "Policies"

    def ready(self) -> None:
        """Declare the kinds of jobs, the panel of rounds, and what a round does around its reward model."""
        from annotate import panels, progress  # noqa: PLC0415, models are ready only now
        from policy.app import bases, jobs, uses, views  # noqa: PLC0415
        from policy.app.trying import TryPolicies  # noqa: PLC0415
        from rewards.app.bases import provide as provide_bases  # noqa: PLC0415
        from rewards.app.jobs import after, before  # noqa: PLC0415
        from runs import kinds  # noqa: PLC0415

        for kind in (jobs.BaseSamples(), jobs.BestOfN(), jobs.Ppo(), jobs.RoundSamples(), TryPolicies()):
            kinds.register(kind)
        panels.provide(views.panel)
        progress.provide_uses(uses.of_rater)
        provide_bases(bases.of_project)
        before(jobs.bring_for_reward_model)
        after(jobs.go_on_with_reward_model)
