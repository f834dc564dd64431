"""The labeling half: prompts, comparisons, judgments and the people who make them."""

from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    """Raters compare anonymous responses."""

    name = "annotate"
    verbose_name = "Annotation"

    def ready(self) -> None:
        """Declare the kinds of jobs, and who may see whose runs."""
        from annotate import jobs  # noqa: PLC0415
        from annotate.access import scopes_administered_by  # noqa: PLC0415, models are ready only now
        from annotate.projects import scopes_of_deletions  # noqa: PLC0415
        from runs import access, kinds  # noqa: PLC0415

        for kind in (
            jobs.ProjectDeletion,
            jobs.SimulatedRaters,
            jobs.ImportPreview,
            jobs.FileImport,
            jobs.PromptTwins,
            jobs.QualityMeasurement,
        ):
            kinds.register(kind())
        access.provide(scopes_administered_by)
        access.provide(scopes_of_deletions)
