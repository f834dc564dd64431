"""The labeling half: prompts, comparisons, judgments and the people who make them."""

from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    """Raters compare anonymous responses."""

    name = "annotate"
    verbose_name = "Annotation"

    def ready(self) -> None:
        """Declare the kinds of jobs, and who may see whose runs."""
        from annotate.access import scopes_administered_by  # noqa: PLC0415, models are ready only now
        from annotate.jobs import SimulatedRaters  # noqa: PLC0415
        from runs import access, kinds  # noqa: PLC0415

        kinds.register(SimulatedRaters())
        access.provide(scopes_administered_by)
