"""The kinds of jobs that make a round's policy and its fresh comparisons.

Each brings models and data into its run's `input/`, and, when it is done, stores what was found and queues
the next step. A run that no round waits for any more, as it was stopped or tried again, stores nothing.
"""

from django.conf import settings

from annotate.models import Prompt
from lm import records
from lm.config import ConfigError
from lm.run_directory import RunDirectory
from policy.app import comparing, rounds
from policy.app.models import Policy, PolicyKind, Round, RoundStep, StepName
from policy.app.settings import RoundSettings
from policy.config import PpoConfig, SampleConfig, SftConfig
from rewards.app.models import RewardModel
from runs.kinds import Kind
from runs.models import Run


class BaseSamples(Kind):
    """Draw responses of the base to the prompts to learn from; all rounds from it use them."""

    name = "base-samples"
    title = "Samples of the base"
    config = SampleConfig
    module = "policy.sample"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the base and the prompts."""
        base = Policy.objects.select_related("project").get(pk=run.config["names"][0])
        step = RoundStep.objects.filter(run=run).select_related("round").first()
        plan = step.round.plan if step else RoundSettings()
        bring_policy(base, directory)
        write_prompts(rounds.prompts_to_learn(base.project, plan), directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Let the round go on that waits for them, if one does."""
        if round := rounds.waiting_for(run):
            rounds.go_on(round)


class BestOfN(Kind):
    """Fine-tune the base on the best of its samples by the reward model."""

    name = "best-of-n"
    title = "Best of n"
    config = SftConfig
    module = "policy.sft"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the base, its samples and the reward model."""
        round = round_of(run)
        bring_policy(round.base, directory)
        bring_samples(round, directory)
        bring_reward_model(round, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the policy that PPO starts from."""
        if round := rounds.waiting_for(run):
            name = f"round {round.number}, best of {round.plan.best_of}"
            round.warm = made_by(run, name, PolicyKind.SFT, parent=round.base)
            round.save(update_fields=["warm"])
            rounds.go_on(round)


class Ppo(Kind):
    """Train the round's policy against its reward model."""

    name = "ppo"
    title = "PPO"
    config = PpoConfig
    module = "policy.ppo"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the policy to start from, the reference, the reward model and the prompts."""
        round = round_of(run)
        for policy in (round.warm, round.base):
            if policy is not None:
                bring_policy(policy, directory)
        bring_reward_model(round, directory)
        prompts = round.project.prompts.filter(split="train").order_by("content_hash")
        write_prompts(list(prompts), directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the round's policy."""
        if round := rounds.waiting_for(run):
            round.policy = made_by(run, f"round {round.number}", PolicyKind.PPO, parent=round.warm)
            round.save(update_fields=["policy"])
            rounds.go_on(round)


class RoundSamples(Kind):
    """Draw responses of the new policy and of those it is compared with."""

    name = "round-samples"
    title = "Fresh comparisons"
    config = SampleConfig
    module = "policy.sample"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the policies, the reward model and the prompts drawn for this round."""
        round = round_of(run)
        for policy in (round.policy, round.base, round.opponent):
            if policy is not None:
                bring_policy(policy, directory)
        bring_reward_model(round, directory)
        write_prompts(comparing.draw_prompts(round), directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Queue the comparisons; from here on it is the raters' turn."""
        if round := rounds.waiting_for(run):
            prompts = records.read(directory.path / rounds.PROMPTS, records.Prompt)
            responses = records.read(directory.path / "responses.jsonl", records.Response)
            comparing.put_out(round, list(prompts), list(responses))


def bring_for_reward_model(run: Run, directory: RunDirectory) -> None:
    """Bring the base and its samples, if the reward model is a round's."""
    if step := RoundStep.objects.filter(run=run).first():
        bring_policy(step.round.base, directory)
        bring_samples(step.round, directory)


def go_on_with_reward_model(run: Run, reward_model: RewardModel) -> None:
    """Let the round that waits for it go on."""
    if round := rounds.waiting_for(run):
        round.reward_model = reward_model
        round.save(update_fields=["reward_model"])
        rounds.go_on(round)


def round_of(run: Run) -> Round:
    """The round of which the run is a step."""
    return RoundStep.objects.select_related("round__project").get(run=run).round


def made_by(run: Run, name: str, kind: PolicyKind, *, parent: Policy | None) -> Policy:
    """A policy whose model files are what the run has written."""
    round = round_of(run)
    return Policy.objects.create(
        project=round.project,
        name=Policy.objects.free_name(round.project, name),
        kind=kind,
        parent=parent,
        run=run,
        model=str((run.directory.path / "model").relative_to(settings.DATA_DIR)),
    )


def bring_policy(policy: Policy, directory: RunDirectory) -> None:
    """Bring a policy's model files."""
    if policy.folder is None or not policy.folder.is_dir():
        raise ConfigError(f"policy {policy.name!r} has no model files at {policy.folder}")
    directory.bring(policy.folder, rounds.policy_input(policy).name)


def bring_reward_model(round: Round, directory: RunDirectory) -> None:
    """Bring the round's reward model."""
    if round.reward_model is None or not round.reward_model.folder.is_dir():
        raise ConfigError(f"{round} has no reward model")
    directory.bring(round.reward_model.folder, rounds.REWARD_MODEL.name)


def bring_samples(round: Round, directory: RunDirectory) -> None:
    """Bring the samples of the base that the round started with."""
    step = round.steps.filter(name=StepName.SAMPLES).select_related("run").latest("pk")
    directory.bring(step.run.directory.path, rounds.SAMPLES.name)


def write_prompts(prompts: list[Prompt], directory: RunDirectory) -> None:
    """Write prompts.jsonl, unless an earlier attempt has."""
    file = directory.path / rounds.PROMPTS
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        records.write(file, (rounds.as_record(prompt) for prompt in prompts))
