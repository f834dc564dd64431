"""The frame of the product as an app, so that its commands are found."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Settings, addresses, and the commands that keep an installation."""

    name = "config"
    label = "config"
    verbose_name = "Installation"
