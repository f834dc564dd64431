"""A run from the form to the page of its reward model, carried out by the real program on a tiny model."""

import pytest

from annotate.models import Role, User
from rewards.app.bases import of_project
from rewards.app.models import PAIRS, RewardModel
from rewards.app.starting import start
from runs import host, transitions
from runs.models import State
from runs.supervise import carry_out
from tests.rewards.app.test_pages import page

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_the_program_leaves_is_what_the_page_shows(person, demo, tiny):
    ada = person(Role.ADMIN)
    demo.policies.filter(kind="base").update(model=str(tiny))
    (base,) = of_project(demo)
    values = {"members": 2, "train": "head"}
    run = start(demo, base, values, key="once", by=User.objects.get(username="admin"))
    assert transitions.claim(["train"], host.owner(1)) == run
    run.refresh_from_db()

    carry_out(run)

    assert run.state == State.SUCCEEDED, run.error_text
    model = RewardModel.objects.get()
    found = run.directory.result()
    assert (model.base, model.train, model.members, model.judgments) == ("starter", "head", 2, 40)
    assert model.accuracy == found["eval_accuracy"]
    assert (run.directory.path / PAIRS).is_file()
    said = page(ada, model)
    assert f"{100 * model.accuracy:.1f}%".replace(".0%", "%") in said
    assert model.pairs_sha256 in said
