"""What admins and researchers see of rounds and may ask of them; raters see nothing."""

import re
from collections.abc import Callable

import pytest
from django.test import Client

from annotate.models import Membership, Project, Role, User
from lm import records
from policy.app import rounds, trying
from policy.app.models import Policy, Round, RoundState
from policy.app.settings import RoundSettings
from policy.app.winrate import WinRate
from rewards.app.models import RewardModel
from runs import transitions
from runs.models import Run
from tests.policy.app import staged

ROUND = "/projects/demo/rounds/1/"


@pytest.fixture
def project(db, settings, tmp_path) -> Project:
    settings.DATA_DIR = tmp_path
    settings.RUNS_DIR = tmp_path / "runs"
    return staged.demo(8)


@pytest.fixture
def person(project) -> Callable[[Role], Client]:
    def make(role: Role) -> Client:
        user = User.objects.create_user(role.value)
        Membership.objects.create(user=user, project=project, role=role)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def ada(person) -> Client:
    return person(Role.ADMIN)


@pytest.fixture
def round(project) -> Round:
    settings = RoundSettings(fewest_judgments=1, comparisons=24)
    return rounds.start(project, by="admin", settings=settings)


def words(answer) -> str:
    """The text of a page, tags taken out."""
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def believe(monkeypatch, **values) -> None:
    """Let people have said this of every round's policy."""
    facts = {"judgments": 80, "raters": 12, "prompts": 40, "ties": 6, "identical": 0}
    found = WinRate(**{**facts, "clustered_by": "raters and prompts", **values})
    monkeypatch.setattr(rounds, "win_rates", lambda round: [(round.base, found)])


def primary(answer) -> list[str]:
    """The words on the primary buttons outside dialogs."""
    html = answer.content.decode().partition('<div class="dialog"')[0]
    found = re.findall(r'<(?:a|button) class="button primary"[^>]*>(.*?)</(?:a|button)>', html, re.S)
    return [" ".join(re.sub(r"<[^>]*>", " ", one).split()) for one in found]


def test_a_project_with_too_few_judgments_says_how_many_it_needs(ada):
    page = ada.get("/projects/demo/")

    assert "A round needs 60 judgments; there are 8." in words(page)
    assert '<progress value="8" max="60"' in page.content.decode()
    assert primary(page) == []


def test_a_round_is_started_from_the_projects_page(ada, project, monkeypatch):
    monkeypatch.setattr(rounds, "readiness", ready_with(rounds.readiness, project))
    page = ada.get("/projects/demo/")
    assert primary(page) == ["Start round 1"]
    assert "8 judgments are in" in words(page)

    answer = ada.post("/projects/demo/rounds/", {"kl_budget": "4", "comparisons": "24"})

    assert answer.url == ROUND
    assert Round.objects.get().plan == RoundSettings(kl_budget=4, comparisons=24)
    assert Round.objects.get().started_by == "admin"


def ready_with(readiness, project):
    """The same, were one judgment enough."""
    return lambda project, settings=None: readiness(project, RoundSettings(fewest_judgments=1))


@pytest.mark.parametrize(
    ("posted", "said"),
    [
        ({"kl_budget": "2", "comparisons": "5"}, "5 is too few to tell two policies apart. Use 20 or more."),
        ({"kl_budget": "2", "comparisons": "99999"}, "99999 is above 2,000. Use 2,000 or less."),
        ({"kl_budget": "2", "comparisons": "many"}, "This is no whole number. Give one from 20 to 2,000."),
        ({"kl_budget": "9", "comparisons": "40"}, "9 is no budget. Choose 1, 2 or 4 nats."),
        ({}, "Choose a budget."),
    ],
)
def test_settings_that_cannot_work_are_refused_beside_their_field(ada, project, monkeypatch, posted, said):
    monkeypatch.setattr(rounds, "readiness", ready_with(rounds.readiness, project))

    answer = ada.post("/projects/demo/rounds/", posted)

    assert answer.status_code == 400
    assert said in words(answer)
    assert not Round.objects.exists()


def test_a_second_round_is_refused_in_words(ada, round):
    answer = ada.post("/projects/demo/rounds/", {"kl_budget": "2", "comparisons": "40"})

    assert answer.status_code == 409
    assert "Round 1 is running." in words(answer)


def test_the_rail_leads_to_the_rounds_of_the_project_that_is_open(ada, project):
    rounds_page = ada.get("/projects/demo/rounds/").content.decode()
    assert '<a href="/projects/demo/rounds/" aria-current="page">Rounds</a>' in rounds_page
    project_page = ada.get("/projects/demo/").content.decode()
    assert '<a href="/projects/demo/rounds/">Rounds</a>' in project_page
    assert "/projects/demo/rounds/" not in ada.get("/").content.decode()


def test_researchers_look_on_and_raters_find_nothing(person, round):
    researcher, rater = person(Role.RESEARCHER), person(Role.RATER)

    staged.to_ppo(round)
    page = researcher.get(ROUND)
    assert page.status_code == 200
    assert "Stop round" not in words(page)
    assert "/runs/" not in page.content.decode()
    assert researcher.post("/projects/demo/rounds/", {}).status_code == 403
    for path in ("rounds/", "rounds/1/", "try/"):
        assert rater.get(f"/projects/demo/{path}").status_code == 403
    assert "round" not in words(rater.get("/projects/demo/compare/")).lower()


def test_a_reward_model_that_is_no_better_than_a_coin_is_called_so(ada, round):
    staged.to_ppo(round)
    RewardModel.objects.update(accuracy=0.53, accuracy_low=0.45, accuracy_high=0.61)

    said = "Agrees with 53% [45, 61] of held-out judgments: so far no better than a coin; learned from"
    assert said in words(ada.get(ROUND))


def test_a_running_round_shows_its_steps_and_asks_again(ada, round):
    run = staged.to_ppo(round)
    transitions.advance(run, step=6, total=14, phase="")
    (run.directory.path / "metrics.jsonl").write_text(
        '{"step": 6, "total": 14, "at": 1, "kl": 1.24, "reward": 0.9}\n'
    )

    page = ada.get(ROUND)

    text = words(page)
    assert "PPO runs now. Then: Fresh comparisons." in text
    assert "Agrees with 71% [64, 78] of held-out judgments; learned from 150 judgments" in text
    assert "Learned from responses of reward +0.86 sd; all samples have +0.02" in text
    assert "1.2 of 2 nats, reward +0.90 sd" in text
    assert "Step 6 of 14" in text
    assert 'hx-trigger="every 2s"' in page.content.decode()
    part = ada.get(ROUND, headers={"HX-Request": "true"})
    assert part.content.decode().startswith('<div id="round"')


def test_the_poll_of_a_round_that_has_ended_loads_the_page_anew(ada, round):
    ada.post(f"{ROUND}stop/")

    answer = ada.get(ROUND, headers={"HX-Request": "true"})

    assert answer.headers["HX-Refresh"] == "true"
    assert "hx-trigger" not in ada.get(ROUND).content.decode()


def test_a_failed_step_says_why_and_is_taken_again(ada, round):
    run = staged.to_ppo(round)
    transitions.fail(run, code="out_of_memory", text="too large")

    page = ada.get(ROUND)
    assert "PPO has failed. The steps before it are kept." in words(page)
    assert "PPO: it ran out of memory" in words(page)
    assert "too large" in words(page)
    assert primary(page) == ["Retry this step"]

    assert ada.post(f"{ROUND}retry/").status_code == 302
    assert round.current.run.pk != run.pk
    answer = ada.post(f"{ROUND}retry/")
    assert answer.status_code == 409
    assert "Nothing was changed" in words(answer)


def test_before_the_first_judgment_there_is_no_promise_of_the_reward_model(ada, round):
    staged.to_labeling(round)

    page = ada.get(ROUND)

    assert "Nobody has judged it yet" in words(page)
    assert "promised" not in words(page)
    assert primary(page) == []
    assert "Before and after" in words(page)


def test_judgments_make_a_win_rate_that_says_what_it_rests_on(ada, project, round):
    staged.to_labeling(round)
    staged.ask_only_evaluations(project)
    staged.judge_open(project, 10, raters=2, seed=5, new=round.policy, win=0.8)

    text = words(ada.get(ROUND))

    assert re.search(r"\d+% \d+ to \d+", text)
    assert "by 2 raters on" in text
    assert "These raters only: fewer than three can’t stand for others." in text
    assert re.search(r"The reward model promised \+\d\.\d\d sd of reward, mean of \d+ prompts", text)


@pytest.mark.parametrize(
    ("rate", "low", "high", "title", "act"),
    [
        (0.67, 0.58, 0.76, "People prefer the new policy", ["Promote round 1"]),
        (0.53, 0.44, 0.62, "Not clear yet", []),
        (0.38, 0.29, 0.47, "People prefer starter", ["Reject round 1"]),
    ],
)
def test_the_interval_decides_which_act_is_recommended(ada, round, monkeypatch, rate, low, high, title, act):
    staged.to_labeling(round)
    believe(monkeypatch, rate=rate, low=low, high=high)

    page = ada.get(ROUND)

    assert title in words(page)
    assert f"{low:.0%}".rstrip("%") + f" to {100 * high:.0f}" in words(page)
    assert primary(page) == act


def test_a_policy_is_promoted_once_with_a_reason(ada, round):
    staged.to_labeling(round)
    assert ada.post(f"{ROUND}promote/", {"note": "x" * 501}).status_code == 400

    assert ada.post(f"{ROUND}promote/", {"note": "Reads well."}).status_code == 302

    round.refresh_from_db()
    assert (round.state, round.decided_by, round.note) == (RoundState.PROMOTED, "admin", "Reads well.")
    assert "Its policy was promoted by admin" in words(ada.get(ROUND))
    assert ada.post(f"{ROUND}reject/").status_code == 409


def test_two_policies_answer_side_by_side(ada, project, round):
    staged.to_labeling(round)
    page = ada.get("/projects/demo/try/")
    assert f'<option value="{round.policy.pk}" selected>' in page.content.decode()
    asked = {
        "first": round.policy.pk,
        "second": round.base.pk,
        "prompt": "How much?",
        "notes": "lamp; price: $20",
    }

    answer = ada.post("/projects/demo/try/", asked)

    run = Run.objects.get(kind="try-policies")
    assert answer.url == f"/projects/demo/try/{run.pk}/"
    assert [message.content for message in trying.asked(run)] == ["Notes: lamp; price: $20", "How much?"]
    assert "No worker for the queue train is up." in words(ada.get(answer.url))
    assert staged.claim().pk == run.pk
    run.refresh_from_db()
    staged.finish(run, {}, staged.said(run, "It is **$20**.", "A lamp."))
    page = ada.get(answer.url)
    assert "<p>It is <strong>$20</strong>.</p>" in page.content.decode()
    assert "log-probability -4.2" in words(page)
    assert 'value="lamp; price: $20"' in page.content.decode()
    assert "hx-trigger" not in page.content.decode()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt": " "}, "Type what to ask."),
        ({"prompt": "x" * 4001}, "This has 4001 characters. Use 4000 or less."),
        ({"second": "same"}, "Choose another to compare it with."),
        ({"first": "999999"}, "This policy can’t be asked. Choose one of the list."),
        ({"first": "1); DROP"}, "This policy can’t be asked. Choose one of the list."),
    ],
)
def test_what_cannot_be_asked_is_said_beside_its_field(ada, project, changed, said):
    base = Policy.objects.base_of(project)
    other = staged.other_policy(project)
    posted = {"first": other.pk, "second": base.pk, "prompt": "How much?", **changed}
    if posted["second"] == "same":
        posted["second"] = other.pk

    answer = ada.post("/projects/demo/try/", posted)

    assert answer.status_code == 400
    assert said in words(answer)
    assert not Run.objects.exists()


def test_a_failed_answer_says_why_with_the_way_to_its_run(ada, project):
    other = staged.other_policy(project)
    messages = [records.Message(role="user", content="How much?")]
    run = trying.start(project, [other, Policy.objects.base_of(project)], messages, by="admin")
    transitions.fail(staged.claim(), code="out_of_memory", text="too large")

    page = ada.get(f"/projects/demo/try/{run.pk}/")

    assert "No answer: it ran out of memory" in words(page)
    assert f'href="/runs/{run.pk}/"' in page.content.decode()
