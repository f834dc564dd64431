"""Robots judge over HTTP at a real server, as people do."""

import json
import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.jobs import SimulatedRaters
from annotate.models import Comparison, Judgment, Preference, Project, User
from lm.run_directory import RunDirectory
from runs.models import Run


@pytest.fixture
def demo(project) -> Project:
    project.demo = True
    project.save()
    return project


@pytest.mark.django_db(transaction=True)
def test_robots_judge_over_http_and_their_judgments_are_marked(
    new_comparison, alice, live_server, capsys, signed_in, researcher
):
    for number in range(1, 13):
        new_comparison(number, texts=("It costs $65.", "Ugh, not again. Buy it now!"))

    call_command(
        "simulate_raters", project="shop", raters=3, judgments=10, population="clean", url=live_server.url
    )

    assert "10 judgments by 3 robots" in capsys.readouterr().out
    assert Judgment.objects.count() == Judgment.objects.filter(simulated=True, counted=True).count() == 10
    robots = User.objects.filter(simulated=True)
    assert robots.count() == 3
    assert not any(robot.has_usable_password() for robot in robots)
    polite = Preference.objects.filter(tie=False, chosen__text__startswith="It costs").count()
    assert polite >= 0.8 * Preference.objects.filter(tie=False).count()
    answer = signed_in(researcher).get("/projects/shop/pairs.jsonl")
    rows = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert [row["simulated"] for row in rows] == [True] * 10
    page = signed_in(researcher).get("/projects/shop/").content.decode()
    assert page.count('<span class="tag">simulated</span>') == 3
    assert "10 simulated" in re.sub(r"\s+", " ", page)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"project": "none"}, "there is no project 'none'"),
        ({"raters": 0}, "raters"),
        ({"taste": "odd"}, "odd"),
        ({"url": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_the_command_refuses_what_cannot_be(project, options, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        call_command("simulate_raters", **{"project": "shop", "raters": 2, **options})


def test_the_button_queues_one_run_for_all_that_is_open(demo, new_comparison, signed_in, admin):
    for number in range(1, 4):
        new_comparison(number)
    client = signed_in(admin)

    first = client.post("/projects/shop/simulate/")
    second = client.post("/projects/shop/simulate/")

    run = Run.objects.get()
    assert first.url == second.url == f"/runs/{run.pk}/"
    assert (run.scope, run.queue, run.started_by) == ("project:shop", "light", "ada")
    assert (run.config["raters"], run.config["judgments"]) == (20, 3)


def test_the_button_starts_nothing_where_nothing_is_open(demo, signed_in, admin):
    answer = signed_in(admin).post("/projects/shop/simulate/")

    assert answer.status_code == 409
    assert "Every comparison of Shop answers is judged" in answer.content.decode()
    assert not Run.objects.exists()


def test_robots_stay_out_of_projects_of_people(comparison, signed_in, admin):
    answer = signed_in(admin).post("/projects/shop/simulate/")

    assert answer.status_code == 409
    assert "demo projects only" in answer.content.decode()
    assert not Run.objects.exists()


def test_each_attempt_gets_fresh_links_that_only_the_server_can_read(demo, comparison, tmp_path):
    run = Run.objects.start("simulated-raters", config={"project": "shop", "raters": 2}, scope=demo.scope)
    directory = RunDirectory(tmp_path)
    file = tmp_path / "input" / "raters.json"

    SimulatedRaters().prepare(run, directory)
    first = json.loads(file.read_text())
    SimulatedRaters().prepare(run, directory)
    second = json.loads(file.read_text())

    assert [one["name"] for one in first] == ["robot-shop-01", "robot-shop-02"]
    assert {one["link"] for one in first}.isdisjoint(one["link"] for one in second)
    assert file.stat().st_mode & 0o077 == 0
    assert Comparison.objects.get().places_left == 1
