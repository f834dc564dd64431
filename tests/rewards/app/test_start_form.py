"""The form that starts a reward model: what it offers, what it refuses, and that a double click starts one."""

import re
from uuid import uuid4

import pytest
from django.test import Client

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.judging import judge
from annotate.models import AuditEvent, Membership, Role, User
from lm import records
from lm.config import to_json
from policy.app.models import Policy
from rewards.app import starting
from rewards.app.forms import of_the_web
from rewards.app.models import PAIRS
from rewards.config import RewardConfig
from runs.models import Run
from tests.policy.app import staged as policies
from tests.rewards.app import staged

NEW = "/projects/demo/reward-models/new/"


def posted(demo, **changes):
    """What the form posts when nothing is touched, with these changes."""
    base = demo.policies.get(kind="base")
    usual = {"key": str(uuid4()), "base": f"policy-{base.pk}", "simulated": "on"}
    for setting in of_the_web():
        value = to_json_of(setting.default)
        if value not in (None, False):
            usual[setting.name] = "on" if value is True else value
    return {**usual, **changes}


def to_json_of(value):
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def words(answer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def test_the_form_offers_every_setting_that_is_no_path(ada):
    page = ada.get(NEW).content.decode()

    names = set(re.findall(r'name="([a-z_]+)"', page))
    settings = {name for name, value in to_json(RewardConfig(model="m", pairs="p")).items()}
    assert settings - names == {"model", "pairs", "eval_pairs", "samples"}


def test_an_untouched_form_starts_a_run_with_the_defaults(ada, demo):
    answer = ada.post(NEW, posted(demo))

    run = Run.objects.get(kind="reward-model")
    assert (answer.status_code, answer.url) == (302, f"/runs/{run.pk}/")
    base = demo.policies.get(kind="base")
    usual = RewardConfig(model=f"input/policy-{base.pk}", pairs="input/pairs.jsonl")
    assert run.config == to_json(usual)
    assert (run.scope, run.started_by) == ("project:demo", "admin")
    assert AuditEvent.objects.get(action="reward model started").detail == {"run": run.pk}


def test_a_double_click_starts_one_run(ada, demo):
    form = posted(demo)
    first, second = ada.post(NEW, form), ada.post(NEW, form)

    assert first.url == second.url
    assert Run.objects.filter(kind="reward-model").count() == 1
    assert AuditEvent.objects.filter(action="reward model started").count() == 1


def test_the_same_form_with_other_settings_is_refused(ada, demo):
    form = posted(demo)
    ada.post(NEW, form)
    answer = ada.post(NEW, {**form, "members": "4"})

    assert answer.status_code == 409
    assert "has started run" in words(answer)
    assert Run.objects.filter(kind="reward-model").count() == 1


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("members", "0", "members must be 1 to 100, not 0"),
        ("members", "many", "members is 'many'; it must be a whole number"),
        ("penalty", "-1", "penalty must be above 0, not -1.0"),
        ("penalty", "nan", "it must be a finite number"),
        ("train", "magic", "train is 'magic'; it must be one of auto"),
        ("learning_rate", "0", "learning_rate must be above 0, not 0.0"),
        ("base", "policy-999999", "This project has no such model"),
    ],
)
def test_a_field_is_refused_as_the_command_line_refuses_it(ada, demo, field, value, says):
    answer = ada.post(NEW, posted(demo, **{field: value}))

    assert answer.status_code == 400
    assert says in words(answer).replace("&#x27;", "'")
    assert f'href="#id_{field}"' in answer.content.decode()
    assert not Run.objects.filter(kind="reward-model").exists()


def test_all_wrong_fields_are_named_at_once_and_what_was_typed_stays(ada, demo):
    page = ada.post(NEW, posted(demo, members="0", seed="-5")).content.decode()

    assert "members must be" in page
    assert "seed must be" in page
    assert 'value="-5"' in page
    assert '<details class="fold" open>' in page


@pytest.mark.parametrize("name", ["samples", "model", "device_map", "trust_remote_code"])
def test_a_path_and_what_is_no_setting_are_refused(ada, demo, name):
    answer = ada.post(NEW, posted(demo, **{name: "x"}))

    assert answer.status_code == 400
    assert f"There is no setting “{name}”" in words(answer)


@pytest.mark.parametrize("demo", [7], indirect=True)
def test_too_few_judgments_are_counted_and_refused(ada, demo):
    page, answer = ada.get(NEW), ada.post(NEW, posted(demo))

    assert "There are 7 judgments; a reward model needs 20 or more." in words(page)
    assert '<progress value="7" max="20"' in page.content.decode()
    assert answer.status_code == 400
    assert not Run.objects.filter(kind="reward-model").exists()


def test_without_simulated_judgments_there_are_too_few(ada, demo):
    form = posted(demo)
    del form["simulated"]
    answer = ada.post(NEW, form)

    assert answer.status_code == 400
    assert "There are 0 judgments by people; a reward model needs 20 or more." in words(answer)


def test_a_run_without_simulated_judgments_learns_from_people_alone(ada, demo):
    bob = User.objects.create_user("bob")
    Membership.objects.create(user=bob, project=demo, role=Role.RATER)
    for _ in range(25):
        judge(next_for(bob, demo), Answer(client_key=uuid4(), positions=[[1], [2]]))
    form = posted(demo)
    del form["simulated"]
    ada.post(NEW, form)

    run = staged.claimed(Run.objects.get(kind="reward-model"))
    pairs = list(records.read(run.directory.path / PAIRS, records.Pair))
    assert len({pair.judgment_id for pair in pairs}) == 25
    assert not any(pair.simulated for pair in pairs)


def test_a_run_brings_the_model_it_starts_from_and_its_samples(ada, demo):
    base = demo.policies.get(kind="base")
    samples = Run.objects.start(
        "base-samples",
        config={"policies": ["input/p"], "names": [str(base.pk)], "prompts": "input/prompts.jsonl"},
        scope=demo.scope,
    )
    samples = staged.claimed(samples)
    policies.finish(samples, {}, [])
    ada.post(NEW, posted(demo))

    run = staged.claimed(Run.objects.get(kind="reward-model"))
    assert run.config["samples"] == str(starting.SAMPLES)
    assert (run.directory.path / run.config["model"] / "config.json").is_file()
    assert (run.directory.path / run.config["samples"] / "result.json").is_file()


def test_another_policy_can_be_started_from(ada, demo):
    other = policies.other_policy(demo)
    ada.post(NEW, posted(demo, base=f"policy-{other.pk}"))

    model = staged.claimed(Run.objects.get(kind="reward-model"))
    staged.finish(model, staged.TODAY)
    assert demo.reward_models.get().base == "other"


def test_without_a_model_the_form_says_how_to_add_one(ada, demo):
    Policy.objects.update(model="")

    assert "manage.py policy add" in words(ada.get(NEW))
    assert "manage.py policy add" in words(ada.get("/projects/demo/reward-models/"))


def test_a_program_gets_json(ada, demo):
    wrong = ada.post(NEW, posted(demo, members="0"), headers={"accept": "application/json"})
    right = ada.post(NEW, posted(demo), headers={"accept": "application/json"})

    assert (wrong.status_code, list(wrong.json()["error"])) == (400, ["members"])
    run = Run.objects.get(kind="reward-model")
    assert (right.status_code, right.json()) == (
        201,
        {"run": run.pk, "state": "queued", "page": f"/runs/{run.pk}/"},
    )


def test_a_post_without_its_token_starts_nothing(demo, ada):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.cookies

    assert strict.post(NEW, posted(demo), headers={"accept": "application/json"}).status_code == 403
    assert not Run.objects.filter(kind="reward-model").exists()


@pytest.mark.parametrize("role", [Role.RATER, Role.RESEARCHER])
def test_only_admins_start_one(person, demo, role):
    assert person(role).post(NEW, posted(demo)).status_code == 403
    assert not Run.objects.filter(kind="reward-model").exists()
