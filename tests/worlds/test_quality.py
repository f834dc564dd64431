"""Known answers: robots of known reliability judge over HTTP, and the figures come out as they were put in."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import product
from math import log
from statistics import NormalDist, fmean

import pytest
from django.core.management import call_command

from annotate import quality_job
from annotate.comparisons import add_comparison
from annotate.exchange import add_prompt
from annotate.models import Judgment, Membership, Project, Purpose, Response, Role, Rule, User, content_hash
from lm import records
from lm.records import Message
from runs import host, transitions
from runs.supervise import carry_out
from worlds.config import WORLDS
from worlds.robots import Robot, population
from worlds.taste import TASTES

RATERS = 20
BEST = "It costs ${0}."
WORST = "Ugh, stupid. It costs $7. It weighs 9 kg. Buy it now. It depends. The pipeline framework interface."
ANSWERS = (
    "It costs ${0}.",
    "The kettle costs ${0}. Happy to help!",
    "Ugh, not again. It costs ${0}.",
    "It costs $7.",
    "It depends, hard to say.",
    "It costs ${0}. Hurry, last chance!",
    "It weighs 2 kg.",
    "It costs ${0}. Would you like to know more?",
    "The price of the kettle is ${0}, which many people think is quite nice for a kettle of this kind.",
)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(settings, tmp_path) -> Project:
    settings.RUNS_DIR = tmp_path
    return Project.objects.create(
        slug="shop",
        name="Shop",
        settings={"overlap": 2, "gold_share": 0.4, "repeat_share": 0.1, "repeat_gap": 5},
    )


def fill(project: Project, pairs: int, golds: int) -> None:
    """Pairs of answers that are worth different things, and pairs that nobody who reads gets wrong."""
    choices = [(one, other) for one, other in product(ANSWERS, ANSWERS) if one < other]
    for number in range(pairs + golds):
        price = 20 + number
        text = f"Notes: kettle Ardo; price: ${price}; colour: teal; weight: 2 kg\nWhat does the kettle cost?"
        message = Message(role="user", content=text)
        prompt, _ = add_prompt(project, records.Prompt(prompt_id=f"p{number}", messages=(message,)))
        gold = number >= pairs
        texts = (BEST, WORST) if gold else choices[number % len(choices)]
        responses = [
            Response.objects.create(prompt=prompt, text=one, content_hash=content_hash(one))
            for one in (text.format(price) for text in texts)
        ]
        extra = {"purpose": Purpose.GOLD, "gold": [[response.pk] for response in responses]} if gold else {}
        add_comparison(project, prompt, responses, probability=1, place=(number % 997) / 997, **extra)


def judge_over_http(live_server, *, world: str, judgments: int, seed: int) -> list[Robot]:
    """Let the robots of a world judge; who they are."""
    call_command(
        "simulate_raters",
        project="shop",
        raters=RATERS,
        judgments=judgments,
        world=world,
        seed=seed,
        url=live_server.url,
    )
    return population(WORLDS[world].population, RATERS, seed)


def figures(project: Project) -> dict:
    """What the job computes, carried out as a worker does."""
    quality_job.start(project, started_by="a test")
    run = transitions.claim(["light"], host.owner(1))
    run.refresh_from_db()
    carry_out(run)
    return quality_job.latest(project).values


@dataclass
class Expected:
    """The chances of one judgment: for each response that it is put first, and for a tie."""

    comparison: int
    best: dict[int, float]
    tie: float
    first: float
    second: float


def expected(robots: list[Robot], world: str) -> list[Expected]:
    """What was put in, for each judgment of the queue."""
    robot_of = {
        User.objects.get(username=f"robot-shop-{number:02}").pk: robot
        for number, robot in enumerate(robots, 1)
    }
    found = []
    rows = Judgment.objects.used().select_related("assignment__comparison__prompt")
    for judgment in rows:
        assignment = judgment.assignment
        robot = robot_of[assignment.rater_id]
        taste = TASTES[WORLDS[world].other_taste if robot.other_taste else WORLDS[world].taste]
        messages = [Message(**one) for one in assignment.comparison.prompt.messages]
        texts = Response.objects.in_bulk(assignment.shown)
        shown = [texts[pk].text for pk in assignment.shown]
        chances = robot.chances(
            [taste.reward(messages, text) for text in shown],
            since_break=assignment.since_break % 120,
            lengths=[len(text) for text in shown],
        )
        first, second, tie = chances["1>2"], chances["2>1"], chances["1=2"]
        best = dict(zip(assignment.shown, (first, second), strict=True))
        found.append(Expected(assignment.comparison_id, best, tie, first, second))
    return found


def expected_agreement(rows: list[Expected]) -> float:
    """Two raters of a pair say the same; a tie and a winner agree by half."""
    together = defaultdict(list)
    for row in rows:
        together[row.comparison].append(row)
    return fmean(
        sum(one.best[pk] * other.best[pk] for pk in one.best)
        + one.tie * other.tie
        + (one.tie * (1 - other.tie) + other.tie * (1 - one.tie)) / 2
        for one, other in (pair for pair in together.values() if len(pair) == 2)
    )


def expected_too_fast(robots: list[Robot]) -> float:
    """The share of answers that take less than two seconds, which is what the shortest texts need."""
    counts = Counter(Judgment.objects.standing().values_list("assignment__rater__username", flat=True))
    below = {
        f"robot-shop-{number:02}": NormalDist(0, 0.35).cdf(log(2 / robot.seconds))
        for number, robot in enumerate(robots, 1)
    }
    return sum(below[name] * count for name, count in counts.items()) / counts.total()


def holds(figure: dict, value: float) -> bool:
    """Whether the value lies within twice the interval: chance alone leaves that once in 10,000 times."""
    low, high = (2 * figure[end] - figure["value"] for end in ("low", "high"))
    return low <= value <= high


def is_spammer(robot: Robot) -> bool:
    return robot.lapse > 0.9


def weights(project: Project, robots: list[Robot]) -> dict[bool, list[float]]:
    """The weights of robots who read, and of spammers; those who have the scale turned round are neither."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for number, robot in enumerate(robots, 1):
        member = Membership.objects.get(project=project, user__username=f"robot-shop-{number:02}")
        assert member.role == Role.RATER
        if robot.reliability > 0:
            found[is_spammer(robot)].append(member.weight)
    return found


def test_agreement_left_share_and_weights_come_out_as_they_were_put_in(project, live_server):
    fill(project, pairs=220, golds=120)
    robots = judge_over_http(live_server, world="crowd", judgments=500, seed=3)

    values = figures(project)

    rows = expected(robots, "crowd")
    assert values["counts"]["received"] == 500
    assert values["counts"]["used"] == len(rows)
    assert values["counts"]["received"] == len(rows) + sum(values["counts"]["left_out"].values())
    agreement, left = values["agreement"]["raw"], values["answers"]["left_share"]
    assert agreement["n"] > 100
    assert holds(agreement, expected_agreement(rows)), (agreement, expected_agreement(rows))
    put_in = fmean(row.first for row in rows) / fmean(row.first + row.second for row in rows)
    assert holds(left, put_in), (left, put_in)
    assert left["n"] > 200
    assert holds(values["time"]["too_fast_share"], expected_too_fast(robots))
    found = weights(project, robots)
    assert fmean(found[False]) > 0.7
    # 25 judgments each leave much to chance; the minority's world below asks for more, and for much less weight.
    assert fmean(found[True]) < fmean(found[False]), found
    assert all(check["holds"] for check in values["checks"]), values["checks"]


@pytest.mark.verify
def test_a_minority_keeps_its_weight_and_nobody_of_it_is_to_be_paused(project, live_server):
    fill(project, pairs=800, golds=300)
    robots = judge_over_http(live_server, world="minority", judgments=2400, seed=5)

    values = figures(project)

    rows = expected(robots, "minority")
    assert holds(values["agreement"]["raw"], expected_agreement(rows))
    repeats = Judgment.objects.filter(assignment__rule=Rule.REPEAT).count()
    assert values["care"]["self_consistency"]["n"] == repeats > 100
    by_rater = {one["rater"]: one for one in values["raters"]}
    names = [f"robot-shop-{number:02}" for number in range(1, RATERS + 1)]
    people = {
        user.username: by_rater[project.pseudonym(user.pk)]
        for user in User.objects.filter(username__in=names)
    }
    for name, robot in zip(names, robots, strict=True):
        one = people[name]
        if robot.other_taste:
            assert one["action"] != "pause", one
            assert one["weight"] > 0.6, one
        if is_spammer(robot):
            assert one["weight"] < 0.4, one
            assert one["action"] in ("pause", "watch"), one
    assert Membership.objects.filter(paused_at__isnull=False).count() == 0, "nothing happens by itself"
