"""The environment that programs under test are started in."""

import os

TOLD = ("RANKLOOP_", "DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
SECRET = "kJ8v2mQx7Rz4Lw9Tn3Yc6Hb1Ds5Gf0Pa8Ue2Vi7Xo4Zq9Wr3Kt6"


def clean(**settings: object) -> dict[str, str]:
    """Our environment without what the tests themselves were told, and with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TOLD)}
    return kept | {name: str(value) for name, value in settings.items()}
