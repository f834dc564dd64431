"""The Django app that knows how a long job lives."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Label `runs`; kinds of runs register themselves from the apps that own them."""

    name = "runs"
    verbose_name = "Runs"
