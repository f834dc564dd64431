"""Policies as the product knows them: which model wrote a response is kept here, away from raters."""

from django.apps import AppConfig


class PolicyConfig(AppConfig):
    """Policies and their samples."""

    name = "policy.app"
    label = "policy"
    verbose_name = "Policies"
