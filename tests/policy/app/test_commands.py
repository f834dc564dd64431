"""The commands around rounds: what they make, and the one line with which they refuse."""

import time

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.exchange import import_prompts
from annotate.models import Project
from policy.app import rounds
from policy.app.management import following
from policy.app.management.commands import demo
from policy.app.models import Policy, Round
from runs import transitions
from runs.models import Run
from tests.policy.app.conftest import PROMPTS, do, prompt
from worlds.taste import TASTES


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "LOOK_EVERY", 0.001)


def test_a_base_is_added_and_sampled(project, model, capsys):
    call_command("policy", "add", project="shop", name="mine", model=model, base=True)

    policy = Policy.objects.get()
    assert capsys.readouterr().out == f"policy mine of shop, model {policy.digest[:12]}\n"
    assert Run.objects.get().kind == "base-samples"
    call_command("policy", "list", project="shop")
    assert capsys.readouterr().out == f"mine  base  {policy.model}\n"


def test_another_policy_is_not_sampled(project, model):
    call_command("policy", "add", project="shop", name="mine", model=model)

    assert Policy.objects.get().kind == "imported"
    assert not Run.objects.exists()


def test_a_folder_without_a_model_is_refused_and_nothing_is_added(project, tmp_path):
    with pytest.raises(CommandError, match="no model folder"):
        call_command("policy", "add", project="shop", name="mine", model=tmp_path)

    assert not Policy.objects.exists()


def test_a_round_is_started_with_its_settings(project, judged, capsys):
    judged(5)

    call_command("start_round", project="shop", fewest_judgments=4, kl_budget=4.0)

    assert capsys.readouterr().out == "round 1 of shop is started\n"
    assert Round.objects.get().plan.kl_budget == 4.0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"project": "none"}, "there is no project 'none'"),
        ({}, "A round needs 60 judgments; there are 0."),
        ({"kl_budget": 100.0}, "kl_budget is 100.0; it must be from 0.1 to 20"),
    ],
)
def test_a_round_that_cannot_start_is_refused_in_one_line(project, base, options, reason):
    with pytest.raises(CommandError, match=reason):
        call_command("start_round", **{"project": "shop", **options})


def test_waiting_says_each_step_and_ends_with_the_comparisons(project, started, monkeypatch):
    said = []

    def sleep(seconds):
        started.refresh_from_db()
        do(started.current.run)

    monkeypatch.setattr(time, "sleep", sleep)
    following.follow_round(started, said.append)

    assert [line.split(": ")[1] for line in said] == [
        "Samples of the base",
        "Reward model",
        "Best of 8",
        "PPO",
        "Fresh comparisons",
    ]
    assert started.state == "labeling"


def test_waiting_ends_where_a_step_has_failed_or_somebody_stopped(project, started):
    transitions.cancel(started.current.run, by="ada")
    with pytest.raises(CommandError, match=r"Samples of the base \(run \d+\) is cancelled"):
        following.follow_round(started, print)

    rounds.stop(started, by="ada")
    started.refresh_from_db()
    with pytest.raises(CommandError, match="round 1 was stopped by ada"):
        following.follow_round(started, print)


def test_the_demo_has_the_shipped_model_as_its_base(db, data, model, monkeypatch):
    monkeypatch.setattr(demo, "MODEL", model)

    call_command("demo")

    project = Project.objects.get(slug="demo")
    base = Policy.objects.base_of(project)
    assert base.name == "starter"
    assert base.digest.startswith(base.folder.name)
    assert Run.objects.get().kind == "base-samples"


def test_the_demo_without_the_model_has_no_rounds(db, data, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "MODEL", tmp_path / "not-here")

    call_command("demo")

    assert not Run.objects.exists()
    assert "no base policy" in rounds.readiness(Project.objects.get(slug="demo")).reason


def test_the_simulation_needs_a_running_server(db):
    with pytest.raises(
        CommandError, match=r"no Rankloop answers at http://127\.0\.0\.1:9; start it with `make up`"
    ):
        call_command("demo", simulate=True, url="http://127.0.0.1:9")

    assert not Project.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_robots_stay_out_of_a_demo_that_holds_peoples_judgments(live_server):
    Project.objects.create(slug="demo", name="Ours")

    with pytest.raises(CommandError, match="robots judge demo projects only"):
        call_command("demo", simulate=True, url=live_server.url)


def test_the_table_has_a_line_for_each_round(project, started):
    while started.state == "running":
        do(started.current.run)
        started.refresh_from_db()

    head, line, _ = demo.table([started], "reasonable")

    assert head.split()[:2] == ["round", "judgments"]
    assert "75% [60%, 90%]" in line
    assert "1.50" in line
    assert "no judgment" in line
    rewards = TASTES["reasonable"].reward
    both = [(one.prompt, one.before, one.after) for one in rounds.before_after(started, count=1000)]
    assert both
    worth = [[rewards(rounds.as_record(p).messages, text) for text in texts] for p, *texts in both]
    before, after = (sum(values) / len(both) for values in zip(*worth, strict=True))
    assert f"{before:.2f} to {after:.2f}" in line


def test_many_prompts_come_in_with_few_statements(project, django_assert_max_num_queries):
    with django_assert_max_num_queries(30):
        added = import_prompts(project, (prompt(number) for number in range(1600)))

    assert added == 1600 - PROMPTS  # those that are there are left alone
