"""What pages say of reward models: right with today's figures, with later ones, and where some are missing."""

import json
import re

import pytest

from annotate.models import Role
from rewards.app import comparing, figures
from rewards.app.models import PAIRS, RewardModel, RewardModelEvaluation
from rewards.app.starting import standing
from runs import transitions
from runs.models import Run
from tests.policy.app import staged as policies
from tests.rewards.app import staged

LIST = "/projects/demo/reward-models/"


def words(answer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split())


def page(client, model: RewardModel, query: str = "") -> str:
    answer = client.get(f"{LIST}{model.pk}/{query}")
    assert answer.status_code == 200
    return words(answer)


def evaluate(model: RewardModel, sha256: str = "f" * 64, **changes) -> RewardModelEvaluation:
    """Figures on fresh pairs, as a run of rewards.evaluate would leave them."""
    run = Run.objects.start(
        "evaluate-reward-model",
        config={"reward_model": f"input/reward-model-{model.pk}", "pairs": str(PAIRS)},
        scope=model.project.scope,
    )
    transitions.cancel(run, by="ada")
    Run.objects.filter(pk=run.pk).update(state="succeeded")
    values = {**staged.EVALUATION, **changes}
    return RewardModelEvaluation.objects.create(
        reward_model=model, run=run, pairs_sha256=sha256, figures=values
    )


def test_a_run_becomes_a_row_with_all_that_is_known_of_it(demo):
    model = staged.reward_model(demo)

    assert (model.state, model.base, model.train, model.members) == ("candidate", "starter", "head", 8)
    assert (model.calibration, model.gain, model.bias) == (0.83, 1.31, -0.42)
    assert model.pairs_sha256 == comparing.digest(model.pairs_file)
    assert len(model.pairs_sha256) == 64


def test_the_list_without_any_says_what_waits(ada, demo):
    said = words(ada.get(LIST))

    assert "40 judgments by 12 raters wait to be learned from" in said
    assert "Train a reward model" in said


def test_the_list_shows_accuracy_with_its_interval_and_what_is_promoted(ada, demo):
    model = staged.reward_model(demo)
    ada.post(f"{LIST}{model.pk}/promote/")
    said = words(ada.get(LIST))

    assert "71% 64% to 78%" in said
    assert f"Reward model {model.pk} is promoted: it scores waiting comparisons" in said
    assert "no judgment came since the latest" in said or "came since" in said


def test_a_run_under_way_and_one_that_failed_are_listed(ada, demo):
    config = {"model": "input/none", "pairs": str(PAIRS)}
    run = Run.objects.start("reward-model", config=config, scope=demo.scope)
    said = ada.get(LIST).content.decode()

    assert f'href="/runs/{run.pk}/"' in said
    assert "Queued" in said


def test_todays_figures_are_shown_and_what_is_missing_says_why(ada, demo):
    said = page(ada, staged.reward_model(demo))

    assert "71.2% 64.1% to 77.6%" in said
    assert "117 pairs of 40 prompts, held out" in said
    assert "would reach 55%" in said
    assert "It knows more than length" in said
    assert "The human ceiling isn’t known" in said
    assert "The nine checks take judgments on prompts that it has not learned from" in said
    assert "How far to trust it" not in said
    assert "Its run kept no examples." in said
    assert "Gain 1.3100" in said


def test_later_figures_become_charts(ada, demo):
    model = staged.reward_model(demo, staged.LATER)
    html = ada.get(f"{LIST}{model.pk}/").content.decode()

    assert "human ceiling 84.2%" in html
    assert "Is it as sure as it should be: claims 54%, is right 51%" in html
    assert "Accuracy by strength: Slightly better 61%; Better 76%; Much better 87%" in html
    assert "Twice as many would bring +3.4 points (+1.1 to +5.8). Labels are the bottleneck." in html
    assert "Style that raters pay for: Length +0.42; Lists +0.09; Emphasis −0.21" in html
    assert "Where several raters judged: Unanimous 83%" in html


def test_a_group_of_few_raters_is_not_shown(ada, demo):
    said = page(ada, staged.reward_model(demo, staged.LATER))

    assert "Nurses" in said
    assert "founders" not in said
    assert "A group of fewer than ten raters is not shown." in said


def test_the_checks_of_a_measurement_pass_fail_or_are_unknown_with_a_reason(ada, demo):
    model = staged.reward_model(demo)
    evaluate(model)
    said = page(ada, model)

    assert (
        "One check fails Share of the human ceiling, lower 90 % bound. 1 of 3 passes, 1 can’t be told" in said
    )
    assert "Calibration slope, 95 % interval 0.61 to 1.09 meets 0.8 to 1.25 Pass" in said
    assert "Give pairs of the current policy with --policy-pairs at most 0.05 Unknown" in said
    assert "Spoiled answers: the clean one wins" in said


def test_mistakes_are_read_as_texts_and_do_nothing(ada, demo):
    model = staged.reward_model(demo, mistakes=staged.MISTAKES)
    html = ada.get(f"{LIST}{model.pk}/").content.decode()

    assert "How much is the lamp Fern 1?" in html
    assert "the model gives it 2%" in html
    assert "The other 2" in html
    assert "<script>alert" not in html


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"messages": 3}', '{"messages": [{"role": "user"}]}', "\x00"]
)
def test_a_line_of_examples_that_is_none_is_passed_over(tmp_path, line):
    file = tmp_path / "mistakes.jsonl"
    file.write_text(f"{line}\n{json.dumps(staged.MISTAKES[0])}\n")

    assert [one.chosen for one in figures.examples(file, 9)] == ["It is $19."]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"eval_accuracy": None, "eval_pairs": 0},
        {"gates": None, "reliability": [], "learning_curve": {"reason": "needs more"}, "by_group": None},
        {
            "gates": [{}],
            "reliability": [{"confidence": None}],
            "raters": [{}],
            "style": [{}],
            "probes": {"p": 1},
        },
        {"gates": "none", "learning_curve": [1], "by_strength": [3], "longer_wins": "often"},
    ],
)
def test_whatever_a_result_holds_the_page_opens(ada, demo, broken):
    facts = {"judgments": 40, "pairs": 40, "trunk": "0" * 64}
    said = page(ada, staged.reward_model(demo, {**facts, **broken}))

    assert "Not measured" in said


def test_figures_of_single_raters_are_for_admins_alone(ada, person, demo):
    model = staged.reward_model(demo, staged.LATER)
    researcher = person(Role.RESEARCHER)

    assert "rater-0123456789ab 12 0.80 ± 0.39" in page(ada, model)
    assert "rater-0123456789ab" not in page(researcher, model)
    assert "raters" not in researcher.get(f"/projects/demo/reward-models/{model.pk}.json").json()["figures"]
    assert "raters" in ada.get(f"/projects/demo/reward-models/{model.pk}.json").json()["figures"]


def test_files_that_are_gone_break_no_page(ada, demo):
    model = staged.reward_model(demo)
    model.pairs_file.unlink()

    assert "pairs.jsonl" not in page(ada, model)
    assert ada.get(f"{LIST}{model.pk}/pairs.jsonl").status_code == 404


def test_its_pairs_are_there_to_download(ada, demo):
    model = staged.reward_model(demo)
    answer = ada.get(f"{LIST}{model.pk}/pairs.jsonl")

    assert b"".join(answer.streaming_content) == model.pairs_file.read_bytes()


def test_the_page_of_its_run_points_to_it(ada, demo):
    model = staged.reward_model(demo)

    assert f'href="{LIST}{model.pk}/"' in ada.get(f"/runs/{model.run_id}/").content.decode()


def test_two_are_set_side_by_side_on_the_same_file_only(ada, demo):
    first, second = staged.reward_model(demo), staged.reward_model(demo)
    RewardModel.objects.filter(pk=second.pk).update(pairs_sha256="0" * 64)
    evaluate(first, "a" * 64)
    assert "were not measured on the same pairs yet" in page(ada, second)

    evaluate(second, "a" * 64, eval_accuracy=0.79, log_loss=0.5)
    said = page(ada, second)
    assert "both on 24 decided pairs of prompts that neither has learned from" in said
    assert "Accuracy 75% (55% to 88%) 79% (55% to 88%) +4.0 points" in said
    assert "Log-loss, lower is better 0.550 0.500 −0.050" in said


def test_both_are_measured_on_prompts_that_neither_has_learned_from(ada, demo):
    first, second = staged.reward_model(demo), staged.reward_model(demo)
    refused = ada.post(f"{LIST}{second.pk}/measure/", {"beside": first.pk})
    assert refused.status_code == 409
    assert "on prompts that neither has learned from; it takes 20 or more" in words(refused)

    for model in (first, second):  # as if they had learned from the half of it
        lines = model.pairs_file.read_text().splitlines(keepends=True)
        old = [line for line in lines if int(json.loads(line)["prompt_id"].removeprefix("lamp-")) <= 8]
        model.pairs_file.write_text("".join(old))
    for _ in range(2):
        answer = ada.post(f"{LIST}{second.pk}/measure/", {"beside": first.pk})
        assert answer.status_code == 302

    runs = list(Run.objects.filter(kind="evaluate-reward-model").order_by("pk"))
    assert [run.config["reward_model"] for run in runs] == [
        f"input/reward-model-{first.pk}",
        f"input/reward-model-{second.pk}",
    ]
    files = [(run.directory.path / PAIRS).read_text() for run in runs]
    assert files[0] == files[1]
    assert all(int(json.loads(line)["prompt_id"].removeprefix("lamp-")) > 8 for line in files[0].splitlines())
    for run in runs:
        staged.finish(staged.claimed(run), staged.EVALUATION)
    assert "both on 24 decided pairs" in page(ada, second)


def test_one_alone_is_measured_on_what_is_new_to_it(ada, demo):
    model = staged.reward_model(demo)
    lines = model.pairs_file.read_text().splitlines(keepends=True)
    model.pairs_file.write_text(lines[0])
    learned = json.loads(lines[0])["prompt_id"]
    ada.post(f"{LIST}{model.pk}/measure/")

    run = Run.objects.get(kind="evaluate-reward-model")
    prompts = {json.loads(line)["prompt_id"] for line in (run.directory.path / PAIRS).open()}
    assert prompts == {json.loads(line)["prompt_id"] for line in lines} - {learned}
    assert "Queued" in page(ada, model)
    staged.finish(staged.claimed(run), staged.EVALUATION)
    assert "One check fails" in page(ada, model)


def test_the_json_of_all_tells_what_rows_tell(ada, demo):
    model = staged.reward_model(demo)
    (row,) = ada.get("/projects/demo/reward-models.json").json()["reward_models"]

    assert (row["id"], row["state"], row["base"], row["accuracy"]) == (
        model.pk,
        "candidate",
        "starter",
        0.7123,
    )
    assert row["page"] == f"{LIST}{model.pk}/"
    assert "figures" not in row


def test_what_stands_is_counted_once(demo):
    found = standing(demo)

    assert (found.judgments, found.simulated, found.by_people, found.raters) == (40, 40, 0, 12)
    assert found.ties == demo.comparisons.filter(assignments__judgments__preferences__tie=True).count()


def test_a_round_stores_its_reward_model_with_its_base(demo):
    from policy.app import rounds
    from policy.app.settings import RoundSettings

    policies.to_ppo(rounds.start(demo, by="ada", settings=RoundSettings(fewest_judgments=1)))
    assert RewardModel.objects.get().base == "starter"
