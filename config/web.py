"""`config.wsgi` as a worker of the web server under `make up`, which dies with that server."""

import os

from runs.launch import die_with_parent

die_with_parent(os.getppid())

from config.wsgi import application  # noqa: E402

__all__ = ["application"]
