"""Promoting and retiring: at most one is promoted, who and when is kept, and nobody is overruled unseen."""

import threading

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from annotate.models import AuditEvent, Membership, Role, User
from rewards.app import decisions
from rewards.app.models import RewardModel, RewardModelState
from runs.models import RefusedError
from tests.rewards.app import staged

URL = "/projects/demo/reward-models"


@pytest.fixture
def two(demo):
    return staged.reward_model(demo), staged.reward_model(demo)


def states() -> list[str]:
    return list(RewardModel.objects.order_by("pk").values_list("state", flat=True))


def test_an_admin_promotes_one_and_the_log_says_so(ada, demo, two):
    first, _ = two
    answer = ada.post(f"{URL}/{first.pk}/promote/")

    first.refresh_from_db()
    assert (answer.status_code, answer.url) == (302, f"{URL}/{first.pk}/")
    assert (first.state, first.decided_by) == ("promoted", "admin")
    assert first.decided_at is not None
    assert RewardModel.objects.promoted_of(demo) == first
    event = AuditEvent.objects.get(action="reward model promoted")
    assert event.detail == {"reward_model": first.pk, "run": first.run_id, "replaces": None}


def test_the_one_before_is_retired_with_it(ada, two):
    first, second = two
    ada.post(f"{URL}/{first.pk}/promote/")
    ada.post(f"{URL}/{second.pk}/promote/", {"replaces": first.pk})

    assert states() == ["retired", "promoted"]


def test_a_choice_that_another_admin_made_meanwhile_stands(ada, two):
    first, second = two
    ada.post(f"{URL}/{first.pk}/promote/")
    answer = ada.post(f"{URL}/{second.pk}/promote/", {"replaces": ""})

    assert answer.status_code == 409
    assert f"Reward model {first.pk} was promoted meanwhile" in answer.content.decode()
    assert states() == ["promoted", "candidate"]


def test_a_double_click_is_one_decision(ada, two):
    first, _ = two
    for _ in range(2):
        assert ada.post(f"{URL}/{first.pk}/promote/").status_code == 302
    for _ in range(2):
        assert ada.post(f"{URL}/{first.pk}/retire/").status_code == 302

    assert states() == ["retired", "candidate"]
    assert AuditEvent.objects.filter(action__startswith="reward model").count() == 2


def test_a_retired_one_can_be_promoted_again(ada, two):
    first, _ = two
    ada.post(f"{URL}/{first.pk}/retire/")
    ada.post(f"{URL}/{first.pk}/promote/")

    assert states() == ["promoted", "candidate"]


def test_the_table_holds_no_second_promoted_one(two):
    first, second = two
    first.decide(RewardModelState.PROMOTED, "ada")
    with pytest.raises(IntegrityError, match=r"one_promoted|UNIQUE"), transaction.atomic():
        second.decide(RewardModelState.PROMOTED, "bob")


@pytest.mark.parametrize(
    "values",
    [{"state": "best"}, {"state": "promoted", "decided_at": None}, {"decided_at": timezone.now()}],
)
def test_the_table_holds_no_half_decision(two, values):
    with pytest.raises(IntegrityError), transaction.atomic():
        RewardModel.objects.filter(pk=two[0].pk).update(**values)


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_at_once_one_is_told(demo, two):
    admins = [User.objects.create_user(name) for name in ("ada", "bob")]
    for admin in admins:
        Membership.objects.create(user=admin, project=demo, role=Role.ADMIN)
    ready, outcomes = threading.Barrier(2), []

    def choose(model: RewardModel, by: User) -> None:
        try:
            ready.wait()
            decisions.promote(model, by, replaces=None)
            outcomes.append("done")
        except RefusedError:
            outcomes.append("told")
        finally:
            connection.close()

    threads = [threading.Thread(target=choose, args=pair) for pair in zip(two, admins, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["done", "told"]
    assert sorted(states()) == ["candidate", "promoted"]


@pytest.mark.parametrize("role", [Role.RATER, Role.RESEARCHER])
@pytest.mark.parametrize("act", ["promote", "retire", "measure"])
def test_only_admins_decide(person, two, role, act):
    assert person(role).post(f"{URL}/{two[0].pk}/{act}/").status_code == 403
    assert states() == ["candidate", "candidate"]


def test_a_program_gets_the_row_or_why_not(ada, two):
    first, second = two
    done = ada.post(f"{URL}/{first.pk}/promote/", headers={"accept": "application/json"})
    refused = ada.post(f"{URL}/{second.pk}/promote/", headers={"accept": "application/json"})

    assert (done.status_code, done.json()["state"]) == (200, "promoted")
    assert refused.status_code == 409
    assert "meanwhile" in refused.json()["error"]


def test_one_of_another_project_is_not_found(ada, two, demo):
    RewardModel.objects.filter(pk=two[0].pk).update(project=type(demo).objects.create(slug="b", name="B"))

    assert ada.post(f"{URL}/{two[0].pk}/promote/").status_code == 404
