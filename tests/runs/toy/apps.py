"""A kind of run for tests: numbered steps, and every way to fail."""

import json
from datetime import timedelta

from django.apps import AppConfig

from runs import kinds
from tests.runs.toy.job import ToyConfig


class Toy(kinds.Kind):
    """Count to a number, slowly."""

    name = "toy"
    title = "Counting"
    config = ToyConfig
    module = "tests.runs.toy.job"
    queue = "light"
    max_runtime = timedelta(hours=1)

    def prepare(self, run, directory):
        (directory.path / "input").mkdir(exist_ok=True)
        (directory.path / "input" / "attempt.json").write_text(json.dumps({"token": run.token}))

    def finish(self, run, directory):
        if run.config["fail"] == "finish":
            raise RuntimeError("the result could not be stored")


class ToyAppConfig(AppConfig):
    name = "tests.runs.toy"
    label = "toy"

    def ready(self):
        kinds.register(Toy())
