import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest

from lm.config import ConfigError, from_json, to_json
from lm.run_directory import read_lines
from tests.worlds.rater_server import RaterServer
from worlds.browser import ServerError
from worlds.config import WORLDS, Population, SimulationConfig, World, WorldName
from worlds.robots import POPULATIONS, population
from worlds.session import simulate


def config(server: RaterServer, **changes) -> SimulationConfig:
    return SimulationConfig(project="demo", population="clean", base_url=server.url, **changes)


def silent(**metrics) -> None:
    pass


def test_robots_judge_until_nothing_is_left_each_comparison_as_often_as_asked():
    server = RaterServer(comparisons=30, overlap=2)
    result = simulate(config(server, raters=12), server.raters(12), silent)
    judged = Counter(number for _, number, _ in server.votes.values())
    assert judged == dict.fromkeys(range(30), 2)
    assert result["judgments"] == 60
    assert len({(rater, number) for rater, number, _ in server.votes.values()}) == 60


def test_robots_stop_at_exactly_as_many_judgments_as_asked():
    server = RaterServer(comparisons=100)
    result = simulate(config(server, raters=8, judgments=37), server.raters(8), silent)
    assert result["judgments"] == len(server.votes) == 37
    assert len(server.leases) == 0  # nobody sits on a comparison they won't judge


def test_a_server_that_stumbles_has_every_judgment_once():
    server = RaterServer(comparisons=40)
    server.stumble = lambda post: {0: "busy", 3: "lost", 4: "lost"}.get(post % 7, "")
    result = simulate(config(server, raters=6), server.raters(6), silent)
    assert result["judgments"] == len(server.votes) == 40
    assert server.posts > 40
    assert sorted(number for _, number, _ in server.votes.values()) == list(range(40))


def test_a_place_that_was_given_away_is_judged_by_whoever_gets_it_next():
    server = RaterServer(comparisons=20)
    server.stumble = lambda post: "gone" if post % 5 == 0 else ""
    result = simulate(config(server, raters=3), server.raters(3), silent)
    assert result["judgments"] == 20
    assert sorted(number for _, number, _ in server.votes.values()) == list(range(20))


def test_clean_robots_prefer_what_the_taste_prefers():
    server = RaterServer(comparisons=200)
    result = simulate(config(server, raters=4), server.raters(4), silent)
    share = sum(vote == "1>2" for _, _, vote in server.votes.values()) / 200
    assert share > 0.9  # the rewards are 3.3 logits apart
    assert result["agreement_with_taste"] == result["first_share"] == pytest.approx(share, abs=1e-4)


def test_a_robot_tells_the_times_of_its_own_clock():
    server = RaterServer(comparisons=1)
    simulate(config(server, raters=1, pace=0.01), server.raters(1), silent)
    form = server.forms[0]
    shown, touched = (datetime.fromisoformat(form[name]) for name in ("shown_at", "first_input_at"))
    assert int(form["active_ms"]) == pytest.approx((touched - shown).total_seconds() * 1000, abs=1)
    assert int(form["active_ms"]) > 10


def test_a_tie_is_given_only_where_the_page_offers_one():
    server = RaterServer(comparisons=60, responses=("It costs $65.", "It costs $65."), tie=False)
    crowd = replace(config(server, raters=10), population="crowd")
    simulate(crowd, server.raters(10), silent)
    assert {vote for _, _, vote in server.votes.values()} == {"1>2", "2>1"}


def test_three_responses_get_an_order_of_three():
    server = RaterServer(comparisons=5, responses=("It is teal.", "It costs $65.", "Ugh. Whatever."))
    simulate(config(server, raters=1), server.raters(1), silent)
    assert all(sorted(vote.split(">")) == ["1", "2", "3"] for _, _, vote in server.votes.values())


def test_a_link_that_was_used_ends_the_run_without_telling_the_link():
    server = RaterServer(comparisons=5)
    links = server.raters(1)
    simulate(config(server, raters=1, judgments=1), links, silent)
    with pytest.raises(ServerError, match="link") as caught:
        simulate(config(server, raters=1, judgments=1), links, silent)
    assert links[0]["link"].split("/")[-2] not in str(caught.value)


def test_fewer_links_than_raters_are_refused():
    server = RaterServer(comparisons=1)
    with pytest.raises(ConfigError, match="3 raters need as many links, not 2"):
        simulate(config(server, raters=3), server.raters(2), silent)


def test_a_world_names_taste_and_population_and_each_may_be_said_apart():
    assert set(get_args(WorldName)) == set(WORLDS)
    assert set(get_args(Population)) == set(POPULATIONS)
    plain = SimulationConfig(project="demo")
    assert plain.chosen() == World(population="crowd", taste="reasonable")
    brief = SimulationConfig(project="demo", world="brief", population="clean")
    assert brief.chosen() == World(population="clean", taste="short")


def test_an_unknown_world_is_refused_by_name():
    with pytest.raises(ConfigError, match="'moon'"):
        from_json(SimulationConfig, {"project": "demo", "world": "moon"})


def test_robots_of_the_minority_judge_by_the_other_taste():
    chatty = "Happy to help! It costs $65, a lovely price. Would you like to know more?"
    server = RaterServer(
        comparisons=120, overlap=8, responses=("Thank you! Lovely. It costs $65.", chatty), tie=False
    )
    asked = SimulationConfig(project="demo", base_url=server.url, world="minority", raters=8, taste="warm")
    simulate(asked, server.raters(8), silent)
    robots = population("minority", 8, 0)
    first = {True: [], False: []}
    for rater, _, answer in server.votes.values():
        first[robots[int(rater.split("-")[1])].other_taste].append(answer == "1>2")
    assert sum(robot.other_taste for robot in robots) == 2
    assert sum(first[True]) / len(first[True]) > sum(first[False]) / len(first[False]) + 0.2


def command(directory: Path, *flags: str) -> list[str]:
    config = directory / "config.json"
    return [sys.executable, "-m", "worlds.session", "--config", config, "--output", directory, *flags]


def prepare(directory: Path, server: RaterServer, config: SimulationConfig) -> None:
    (directory / "input").mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(to_json(config)))
    (directory / "input" / "raters.json").write_text(json.dumps(server.raters(config.raters)))


def test_a_run_that_was_stopped_goes_on_to_the_same_total(tmp_path: Path):
    server = RaterServer(comparisons=60)
    server.stumble = lambda post: time.sleep(0.05) or ""
    asked = config(server, raters=4, judgments=50)
    prepare(tmp_path, server, asked)
    with subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while not list(read_lines(tmp_path / "metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 75
    before = len(server.votes)
    assert 0 < before < 50
    assert list(read_lines(tmp_path / "metrics.jsonl"))[-1]["step"] == before
    assert not (tmp_path / "result.json").exists()

    prepare(tmp_path, server, asked)  # fresh links
    assert (
        subprocess.run(command(tmp_path, "--resume"), check=False, stdout=subprocess.DEVNULL).returncode == 0
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["judgments"] == len(server.votes) == 50
    metrics = list(read_lines(tmp_path / "metrics.jsonl"))
    assert [line["step"] for line in metrics] == sorted(line["step"] for line in metrics)
    assert {line["total"] for line in metrics} == {50}
    assert all(line["judgments_per_second"] > 0 for line in metrics)


@pytest.mark.parametrize("raters", [None, "[]", '[{"name": "a"}]', "no JSON"])
def test_a_run_without_good_links_is_not_tried_again(tmp_path: Path, raters: str | None):
    server = RaterServer(comparisons=1)
    prepare(tmp_path, server, config(server, raters=1))
    file = tmp_path / "input" / "raters.json"
    file.unlink() if raters is None else file.write_text(raters)
    done = subprocess.run(command(tmp_path), check=False, capture_output=True, text=True)
    assert done.returncode == 78
    assert "link" in done.stderr


@pytest.mark.parametrize(
    "bad",
    [
        {"project": ""},
        {"raters": 0},
        {"judgments": -1},
        {"pace": -0.5},
        {"pace": float("nan")},
        {"seed": -1},
        {"base_url": "ftp://example.org"},
        {"base_url": "http://"},
    ],
    ids=str,
)
def test_a_config_that_cannot_work_is_refused_with_its_value(bad: dict):
    with pytest.raises(ValueError, match=next(iter(bad))) as caught:
        SimulationConfig(**{"project": "demo", **bad})
    assert str(next(iter(bad.values()))) in str(caught.value)


def test_the_config_loads_without_numpy():
    code = "import sys, worlds.config; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
