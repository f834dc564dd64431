"""A round goes from step to step exactly once, and says no in a sentence."""

import dataclasses
import json

import pytest

from annotate.models import AuditEvent, Comparison, Judgment, Preference, Purpose
from annotate.progress import record_of
from lm import records
from policy.app import rounds
from policy.app.models import Evaluation, Policy, Round, RoundState, RoundStep, Sample
from policy.app.rounds import readiness
from rewards.app.models import RewardModel
from runs import kinds, transitions
from runs.models import RefusedError, Run, State
from tests.policy.app.conftest import FEW, carry_through, claimed, do, succeed, write_output

KINDS = ["base-samples", "reward-model", "best-of-n", "ppo", "round-samples"]


def stages(round):
    return [(step.name, step.state) for step in rounds.steps(round)]


# Whether one can start


def test_without_a_base_no_round_can_start(project):
    assert "no base policy with model files" in readiness(project).reason


def test_a_round_needs_judgments_that_count(project, judged):
    judged(3)

    ready = readiness(project, FEW)

    assert (ready.judgments, ready.fewest) == (3, 4)
    assert ready.reason == "A round needs 4 judgments; there are 3."
    with pytest.raises(RefusedError, match="needs 4 judgments; there are 3"):
        rounds.start(project, by="ada", settings=FEW)
    assert not Round.objects.exists()
    judged(1)
    assert readiness(project, FEW).reason == ""


def test_ties_alone_teach_no_reward_model(project, judged):
    judged(5, order="1=2")

    assert readiness(project, FEW).reason.startswith("All judgments are ties")


def test_without_a_held_out_prompt_nothing_can_be_evaluated(project, judged):
    judged(5)
    project.prompts.update(split="train")

    assert readiness(project, FEW).reason == "No prompt is set aside for evaluation; import more prompts."


def test_one_round_at_a_time(project, started):
    assert readiness(project, FEW).active == started
    with pytest.raises(RefusedError, match="Round 1 is running"):
        rounds.start(project, by="ada", settings=FEW)

    carry_through(started)

    assert readiness(project, FEW).undecided == started
    with pytest.raises(RefusedError, match="Round 1 waits to be promoted or rejected"):
        rounds.start(project, by="ada", settings=FEW)


def test_a_round_waits_for_the_run_of_a_stopped_one(project, started):
    do(started.current.run)
    run = claimed(started.current.run)
    rounds.stop(started, by="ada")

    with pytest.raises(RefusedError, match=f"Run {run.pk} of an earlier round has not ended"):
        rounds.start(project, by="ada", settings=FEW)


# From step to step


def test_a_round_goes_through_its_steps_to_fresh_comparisons(project, started):
    assert stages(started)[0] == ("samples", "queued")
    assert [state for _, state in stages(started)[1:]] == ["waiting"] * 4

    carry_through(started)

    assert [run.kind for run in Run.objects.order_by("pk")] == KINDS
    assert [state for _, state in stages(started)] == ["done"] * 5
    assert started.state == RoundState.LABELING
    assert started.finished_at is not None
    assert started.reward_model.accuracy_low == 0.6
    assert (started.warm.parent, started.policy.parent) == (started.base, started.warm)
    assert (started.warm.kind, started.policy.kind) == ("sft", "ppo")
    assert (started.policy.folder / "model.safetensors").read_text() == f"of run {started.policy.run_id}"
    assert started.policy.kl_from_base == pytest.approx(1.5)
    assert [step.title for step in rounds.steps(started)][2] == "Best of 8"


def test_each_run_finds_its_input(project, started):
    expected = {
        "base-samples": {"policy-{base}", "prompts.jsonl"},
        "reward-model": {"policy-{base}", "pairs.jsonl", "samples"},
        "best-of-n": {"policy-{base}", "reward-model", "samples"},
        "ppo": {"policy-{base}", "policy-{warm}", "prompts.jsonl", "reward-model"},
        "round-samples": {"policy-{base}", "policy-{policy}", "prompts.jsonl", "reward-model"},
    }
    carry_through(started)
    ids = {"base": started.base_id, "warm": started.warm_id, "policy": started.policy_id}

    for run in Run.objects.all():
        folder = run.directory.path / "input"
        assert {path.name for path in folder.iterdir()} == {name.format(**ids) for name in expected[run.kind]}
        values = [run.config[name] for name in run.config if isinstance(run.config[name], str)]
        for path in [*values, *run.config.get("policies", [])]:
            if path.startswith("input/"):
                assert (run.directory.path / path).exists(), path
    prompts = Run.objects.get(kind="base-samples").directory.path / "input" / "prompts.jsonl"
    assert len(list(records.read(prompts, records.Prompt))) == FEW.warm_prompts


def test_a_step_that_is_finished_twice_is_followed_by_one(project, started):
    do(started.current.run)
    run = claimed(started.current.run)
    write_output(run)
    succeed(run)

    with pytest.raises(RefusedError):  # a second worker with the same result
        succeed(run)
    kinds.get("best-of-n")  # and whoever calls finish again finds that nothing waits for it
    assert rounds.waiting_for(run) is None

    assert [step.run.kind for step in started.steps.all()] == KINDS[:3]
    assert RewardModel.objects.count() == 1


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_a_finish_that_breaks_midway_leaves_nothing_and_is_repeated(project, started, number, monkeypatch):
    for _ in range(number):
        do(started.current.run)
    run = claimed(started.current.run)
    write_output(run)
    before = [model.objects.count() for model in (Policy, RewardModel, Sample, Comparison, RoundStep, Run)]

    def breaks(*args, **options):
        raise RuntimeError("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr(RoundStep.objects, "create", breaks)
        patch.setattr(Round, "save", breaks if number == 4 else Round.save)
        with pytest.raises(RuntimeError):
            succeed(run)
    run.refresh_from_db()
    assert run.state == State.RUNNING
    after = [model.objects.count() for model in (Policy, RewardModel, Sample, Comparison, RoundStep, Run)]
    assert after == before

    succeed(run)
    carry_through(Round.objects.get())
    assert [step.run.kind for step in started.steps.all()] == KINDS


def test_the_pairs_are_those_of_the_first_attempt(project, started, judged):
    do(started.current.run)
    run = claimed(started.current.run)
    judged(2)

    kinds.get("reward-model").prepare(run, run.directory)

    pairs = list(records.read(run.directory.path / "input" / "pairs.jsonl", records.Pair))
    assert len(pairs) == 6


def test_a_second_round_uses_the_samples_that_are_there(project, started, judged):
    carry_through(started)
    rounds.decide(started, promote=False, by="ada")

    second = rounds.start(project, by="ada", settings=FEW)

    assert second.current.run.kind == "reward-model"
    assert second.steps.first().run == started.steps.first().run
    assert stages(second)[0] == ("reward_model", "queued")
    assert Run.objects.filter(kind="base-samples").count() == 1


def test_samples_of_other_prompts_are_drawn_anew(project, started):
    carry_through(started)
    rounds.decide(started, promote=False, by="ada")
    first = project.prompts.filter(split="train").order_by("content_hash").first()
    first.split = "rm_holdout"
    first.save()

    second = rounds.start(project, by="ada", settings=FEW)

    assert second.current.run.kind == "base-samples"
    assert Run.objects.filter(kind="base-samples").count() == 2


def test_a_round_waits_for_samples_that_are_being_drawn(project, base, judged):
    early = rounds.sample_base(base, by="the demo", settings=FEW)
    judged(6)

    round = rounds.start(project, by="ada", settings=FEW)

    assert round.current.run == early
    do(early)
    assert round.current.run.kind == "reward-model"
    assert Run.objects.filter(kind="base-samples").count() == 1


def test_a_round_with_another_seed_takes_the_samples_that_are_there(project, base, judged):
    early = rounds.sample_base(base, by="the demo", settings=FEW)
    judged(6)

    round = rounds.start(project, by="ada", settings=dataclasses.replace(FEW, seed=1))

    assert round.current.run == early


def test_samples_with_other_settings_are_waited_for_in_words(project, base, judged):
    early = rounds.sample_base(base, by="the demo", settings=FEW)
    judged(6)

    with pytest.raises(RefusedError, match=f"Run {early.pk} samples the base with other settings"):
        rounds.start(project, by="ada", settings=dataclasses.replace(FEW, best_of=3))
    assert not Round.objects.exists()


# The second round


def test_a_second_round_learns_from_all_judgments_and_meets_the_promoted_policy(project, started, judged):
    carry_through(started)
    judged(100)
    rounds.decide(started, promote=True, by="ada", note="reads better")
    counted = set(map(str, Judgment.objects.standing().filter(counted=True).values_list("pk", flat=True)))
    evaluations = Evaluation.objects.filter(comparison__assignments__judgments__isnull=False)
    assert evaluations.exists()

    second = carry_through(rounds.start(project, by="ada", settings=FEW))

    pairs = list(records.read(second.reward_model.pairs_file, records.Pair))
    assert {pair.judgment_id for pair in pairs} == counted
    assert {pair.purpose for pair in pairs} - {"overlap"} == {"uniform", "evaluation"}
    assert second.opponent == started.policy
    assert second.policy.parent.parent == second.base
    asked = {
        opponent: second.evaluations.filter(opponent=opponent).count()
        for opponent in (second.base, second.opponent)
    }
    assert asked == {second.base: 4, second.opponent: 4}
    assert [opponent for opponent, _ in rounds.win_rates(second)] == [second.base, second.opponent]


def test_a_rejected_policy_is_no_opponent(project, started):
    carry_through(started)
    rounds.decide(started, promote=False, by="ada")

    assert rounds.start(project, by="ada", settings=FEW).opponent is None


# Fresh comparisons


def test_policies_are_evaluated_on_held_out_prompts_only(project, started):
    carry_through(started)

    fresh = Comparison.objects.filter(batch="round 1")
    assert fresh.count() == FEW.comparisons
    evaluating = fresh.filter(purpose=Purpose.EVALUATION)
    assert evaluating.count() == 8
    assert set(evaluating.values_list("prompt__split", flat=True)) == {"policy_eval"}
    assert set(fresh.exclude(purpose=Purpose.EVALUATION).values_list("prompt__split", flat=True)) == {"train"}
    assert fresh.values("prompt").distinct().count() == FEW.comparisons
    assert all(0 < one.probability <= 1 and 0 <= one.place < 1 for one in fresh)
    assert set(fresh.filter(purpose=Purpose.UNIFORM).values_list("probability", flat=True)) == {4 / 32}


def test_half_of_what_is_learned_from_is_the_policy_beside_itself(project, started):
    carry_through(started)

    authors = []
    for comparison in Comparison.objects.filter(batch="round 1", purpose=Purpose.UNIFORM):
        wrote = Sample.objects.filter(response__in=comparison.responses.all()).values_list(
            "policy", flat=True
        )
        authors.append(set(wrote))
    assert authors.count({started.policy_id}) == 4
    assert authors.count({started.policy_id, started.base_id}) == 4


def test_the_same_words_of_both_are_no_comparison_but_a_tie(project, started):
    carry_through(started, says=lambda policy, name, which: f"{name} {which}")

    assert not started.evaluations.exists()
    assert started.identical == {str(started.base_id): 8}
    fresh = Comparison.objects.filter(batch="round 1")
    assert set(fresh.values_list("purpose", flat=True)) == {"uniform"}
    assert [score.value for score in rounds.scores(started, started.base)] == [0.5] * 8


def test_where_all_words_are_the_same_nothing_is_asked(project, started):
    carry_through(started, says=lambda policy, name, which: name)

    assert not Comparison.objects.filter(batch="round 1").exists()
    assert started.state == RoundState.LABELING


def test_scores_follow_the_judgments(project, started, judged, alice):
    carry_through(started)
    judged(100)

    own = dict(started.evaluations.values_list("comparison", "response"))
    expected = {}
    for judgment in Judgment.objects.filter(assignment__comparison__in=own).select_related("assignment"):
        comparison = judgment.assignment.comparison_id
        expected[str(judgment.assignment.comparison.prompt_id)] = float(
            judgment.order[0] == [own[comparison]]
        )
    found = rounds.scores(started, started.base)
    assert {score.prompt: score.value for score in found} == expected
    assert {score.rater for score in found} == {str(alice.pk)}
    assert len(found) == 8
    ((opponent, win_rate),) = rounds.win_rates(started)
    assert opponent == started.base
    assert win_rate.rate == pytest.approx(sum(expected.values()) / 8)


def test_before_and_after_are_of_this_round_and_of_held_out_prompts(project, started):
    carry_through(started)

    shown = rounds.before_after(started, count=5)

    assert len(shown) == 5
    for one in shown:
        assert one.prompt.split == "policy_eval"
        assert one.before == f"{started.base_id} {one.prompt.name} 0"
        assert one.after == f"{started.policy_id} {one.prompt.name} 0"


def test_comparisons_of_earlier_batches_stay_open(project, started):
    earlier = Comparison.objects.filter(batch="import", places_left__gt=0).count()

    carry_through(started)

    assert Comparison.objects.filter(batch="import", places_left__gt=0, closed_at=None).count() == earlier


# Stopping, trying again, deciding


def test_a_failed_step_is_tried_again_as_a_new_run(project, started):
    do(started.current.run)
    run = claimed(started.current.run)
    transitions.fail(run, code="crashed", text="it broke")
    assert stages(started)[1] == ("reward_model", "failed")

    rounds.retry(started, "ada")

    assert stages(started)[1] == ("reward_model", "queued")
    assert started.current.run != run
    carry_through(started)
    assert started.steps.filter(name="reward_model").count() == 2


def test_a_run_of_an_earlier_try_changes_nothing_any_more(project, started):
    do(started.current.run)
    run = started.current.run
    transitions.cancel(run, by="ada")
    rounds.retry(started, "ada")
    do(started.current.run)  # the second try of the reward model
    transitions.cancel(started.current.run, by="ada")
    transitions.resume(run, by="ada")

    do(run)

    started.refresh_from_db()
    assert started.reward_model.run != run
    assert started.current.name == "best_of_n"
    assert stages(started)[2] == ("best_of_n", "cancelled")


def test_a_paused_step_goes_on_where_it_was(project, started):
    run = claimed(started.current.run)
    transitions.pause(run)
    assert stages(started)[0] == ("samples", "paused")

    rounds.retry(started, "ada")

    run.refresh_from_db()
    assert run.state == State.QUEUED
    assert started.steps.count() == 1


def test_samples_that_failed_are_drawn_again(project, started):
    transitions.cancel(started.current.run, by="ada")

    rounds.retry(started, "ada")

    assert started.steps.count() == 2
    carry_through(started)


def test_nothing_is_tried_again_that_is_under_way_or_over(project, started):
    with pytest.raises(RefusedError, match="Nothing of round 1 has failed"):
        rounds.retry(started, "ada")
    carry_through(started)
    with pytest.raises(RefusedError, match="only a running one can go on"):
        rounds.retry(started, "ada")


def test_a_stopped_round_goes_nowhere(project, started):
    do(started.current.run)
    run = claimed(started.current.run)
    write_output(run)
    rounds.stop(started, by="ada")
    started.refresh_from_db()
    assert (started.state, started.decided_by) == (RoundState.STOPPED, "ada")
    run.refresh_from_db()
    assert run.want == "cancel"

    transitions.stop(run)

    assert started.steps.count() == 2
    second = rounds.start(project, by="ada", settings=FEW)
    assert second.number == 2
    with pytest.raises(RefusedError, match="Round 1 is stopped"):
        rounds.stop(started, by="ada")


def test_a_run_that_was_done_as_its_round_was_stopped_starts_nothing(project, started):
    do(started.current.run)
    run = claimed(started.current.run)
    write_output(run)
    Round.objects.update(state=RoundState.STOPPED)

    succeed(run)

    assert started.steps.count() == 2
    assert Run.objects.count() == 2


@pytest.mark.parametrize(("promote", "state"), [(True, "promoted"), (False, "rejected")])
def test_a_decision_is_made_once_and_noted(project, started, alice, promote, state):
    with pytest.raises(RefusedError, match="nothing to decide"):
        rounds.decide(started, promote=promote, by="alice")
    carry_through(started)

    rounds.decide(started, promote=promote, by="alice", note="reads better")

    started.refresh_from_db()
    assert (started.state, started.decided_by, started.note) == (state, "alice", "reads better")
    assert started.decided_at is not None
    event = AuditEvent.objects.get(action=f"round {state}")
    assert (event.actor, event.project, event.detail) == (
        alice,
        project,
        {"round": 1, "note": "reads better"},
    )
    with pytest.raises(RefusedError, match=f"Round 1 is {state}"):
        rounds.decide(started, promote=promote, by="alice")


def test_a_name_that_is_taken_gets_a_number(project, started):
    Policy.objects.create(project=project, name="round 1", kind="imported")

    carry_through(started)

    assert started.policy.name == "round 1 (2)"


def test_uncounted_and_withdrawn_judgments_do_not_count(project, judged, alice):
    from annotate.judging import withdraw

    judged(5)
    withdraw(Judgment.objects.first().assignment)

    assert readiness(project, FEW).judgments == 4
    assert Preference.objects.count() == 4


def test_the_settings_of_a_round_are_kept(project, started):
    assert started.plan == FEW
    assert json.loads(json.dumps(started.settings)) == started.settings


def test_a_rater_reads_where_their_judgments_went_without_a_name(project, started, judged, alice):
    carry_through(started)

    uses = record_of(alice, project)["uses"]

    assert len(uses) == 2
    assert {use.judgments for use in uses} == {Judgment.objects.used().count()}
    told = " ".join(str(use.what) for use in uses)
    names = Policy.objects.values_list("name", flat=True)
    assert not [name for name in (*names, "round", "Round") if name in told]
