"""The frame of the product as an app, so that its commands are found."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Settings, addresses, and the commands that keep an installation."""

    name = "config"
    label = "config"
    verbose_name = "Installation"

    def ready(self) -> None:
        """Let every session begin through what asks for a second factor."""
        from annotate import sessions  # noqa: PLC0415, models are ready only now
        from config import accounts  # noqa: PLC0415

        sessions.open_with(accounts.open_session, accounts.has_second_factor)
