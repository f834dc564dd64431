"""Rows of earlier versions keep their figures and get columns; every step can be undone."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.rewards.app import staged


def migrate(name: str):
    executor = MigrationExecutor(connection)
    executor.migrate([("rewards", name)])
    return MigrationExecutor(connection).loader.project_state([("rewards", name)]).apps


@pytest.mark.django_db(transaction=True)
def test_columns_are_filled_from_the_figures_and_can_go_again(demo):
    model = staged.reward_model(demo)
    try:
        earlier = migrate("0001_reward_models").get_model("rewards", "RewardModel")
        assert earlier.objects.get().figures["gain"] == 1.31
        earlier.objects.create(project_id=demo.pk, run_id=staged.reward_run(demo).pk, judgments=1, pairs=1)
    finally:
        migrate("0004_evaluations")

    model.refresh_from_db()
    assert (model.state, model.train, model.members) == ("candidate", "head", 8)
    assert (model.calibration, model.gain, model.bias) == (0.83, 1.31, -0.42)
    assert list(demo.reward_models.exclude(pk=model.pk).values_list("train", "gain")) == [("", None)]
