"""`manage.py demo`: the project that a newcomer finds; with `--simulate`, rounds by robots alone."""

import json
import urllib.error
import urllib.request
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import Sum

from annotate.comparisons import draw_pairs
from annotate.exchange import import_prompts
from annotate.models import Guideline, Project
from lm import records
from lm.config import ConfigError
from policy.app import rounds
from policy.app.exchange import import_responses
from policy.app.management.following import follow_round, follow_run
from policy.app.models import Round
from policy.app.settings import RoundSettings
from policy.app.storage import add_policy
from policy.app.winrate import WinRate
from runs.models import RefusedError, Run

FILES = settings.BASE_DIR / "starter" / "demo"
MODEL = settings.BASE_DIR / "starter" / "model"
PAIRS_PER_PROMPT = 3
BY = "simulation"


class Command(BaseCommand):
    """Load the demo project, or let robots go around the loop in it."""

    help = "Load the demo project: prompts, guidelines, the starter, its responses, comparisons of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """When to do nothing; what robots do."""
        parser.add_argument(
            "--if-empty", action="store_true", help="only where the database holds no project"
        )
        parser.add_argument(
            "--simulate",
            action="store_true",
            help="robots judge and rounds run, unattended; `make up` must be running",
        )
        parser.add_argument("--rounds", type=int, default=2)
        parser.add_argument("--judgments", type=int, default=150, help="before the first round")
        parser.add_argument("--raters", type=int, default=20)
        parser.add_argument("--taste", default="reasonable")
        parser.add_argument("--seed", type=int, default=1, help="draws the robots and the rounds")
        parser.add_argument("--url", default=settings.PUBLIC_URL, help="address of the server")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load it, all or none; then the rounds, if asked for."""
        if options["simulate"]:
            return self.simulate(options)
        if options["if_empty"] and Project.objects.exists():
            return None
        if Project.objects.filter(slug="demo").exists():
            raise CommandError("there is a project demo already")
        return self.stdout.write(f"{load_demo()} comparisons in the demo project")

    def simulate(self, options: dict[str, Any]) -> None:
        """Rounds with robots for raters; promotes whatever they prefer to the base."""
        refuse_without_server(options["url"])
        project = Project.objects.filter(slug="demo").first()
        if project is None:
            load_demo()
            project = Project.objects.get(slug="demo")
        if not project.demo:
            raise CommandError("robots judge demo projects only; the project demo holds people's judgments")
        try:
            self.judge(project, options, options["judgments"])
            done = [self.round(project, options) for _ in range(options["rounds"])]
        except (ConfigError, RefusedError) as error:
            raise CommandError(str(error)) from error
        for line in table(done, options["taste"]):
            self.stdout.write(line)

    def round(self, project: Project, options: dict[str, Any]) -> Round:
        """One round, judged and decided; one that was left undecided is gone on with."""
        round = project.rounds.undecided().first() or rounds.start(
            project, by=BY, settings=RoundSettings(seed=options["seed"])
        )
        follow_round(round, self.stdout.write)
        self.judge(project, options, 0)
        for opponent, win_rate in rounds.win_rates(round):
            self.stdout.write(f"round {round.number}: preferred to {opponent} in {_share(win_rate)}")
        against_base = rounds.win_rates(round)[0][1]
        promote = against_base is not None and against_base.rate > 0.5
        note = "preferred to the base more often than not" if promote else "not preferred to the base"
        rounds.decide(round, promote=promote, by=BY, note=note)
        round.refresh_from_db()
        self.stdout.write(f"round {round.number}: {round.state}")
        return round

    def judge(self, project: Project, options: dict[str, Any], wanted: int) -> None:
        """Let robots judge so many comparisons, or all that are open."""
        left = project.comparisons.filter(closed_at=None).aggregate(left=Sum("places_left"))["left"] or 0
        if not left:
            return
        config = {
            "project": project.slug,
            "raters": options["raters"],
            "judgments": min(wanted or left, left),
            "taste": options["taste"],
            "seed": options["seed"],
            "base_url": options["url"],
        }
        slot = f"simulated-raters:{project.slug}"
        run = Run.objects.start(
            "simulated-raters", config=config, scope=project.scope, slot=slot, started_by=BY
        )
        follow_run(run, self.stdout.write)
        self.stdout.write(f"{run.directory.result()['judgments']} judgments by {options['raters']} robots")


@transaction.atomic
def load_demo() -> int:
    """Make the project from the files of the repository; returns how many comparisons it has.

    The shipped model becomes its base, if it is here, and is sampled at once, so that the first round need
    not wait for that.
    """
    project = Project.objects.create(slug="demo", name="Everyday helper", demo=True)
    text = (FILES / "guidelines.md").read_text(encoding="utf-8")
    Guideline.objects.create(project=project, version=1, text=text)
    import_prompts(project, records.read(FILES / "prompts.jsonl", records.Prompt))
    base = add_policy(project, "starter", MODEL, base=True) if MODEL.is_dir() else None
    imported = import_responses(project, records.read(FILES / "responses.jsonl", records.Response))
    if base is not None:
        rounds.sample_base(base, by="the demo")
    return draw_pairs(project, imported.prompts, per_prompt=PAIRS_PER_PROMPT, seed=1, batch="demo")


def refuse_without_server(url: str) -> None:
    """End the command in one line where no server of ours answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310, whoever may run this may read files
            if json.load(answer).get("status") == "ok":
                return
    except (OSError, ValueError, AttributeError):
        pass
    raise CommandError(f"no Rankloop answers at {url}; start it with `make up` and leave it running")


def table(done: list[Round], taste: str) -> list[str]:
    """The rounds in figures, a line each."""
    lines = [
        "round  judgments  reward model agrees   KL    preferred to the base   by the taste itself   "
        "outcome   seconds per step"
    ]
    for round in done:
        model, policy = round.reward_model, round.policy
        agrees = _interval(model.accuracy, model.accuracy_low, model.accuracy_high) if model else "-"
        kl = f"{policy.kl_from_base:.2f}" if policy and policy.kl_from_base is not None else "-"
        seconds = ", ".join(
            f"{step.title} {step.run.active_time().total_seconds():.0f}"
            for step in rounds.steps(round)
            if step.run
        )
        judgments = model.judgments if model else 0
        share = _share(rounds.win_rates(round)[0][1])
        lines.append(
            f"{round.number:5}  {judgments:9}  {agrees:19}  {kl:>4}  {share:22}  {truth(round, taste):20}  "
            f"{round.state:9} {seconds}"
        )
    return [
        *lines,
        "By the taste itself: what the robots would prefer if they never erred, on the same prompts; their "
        "mean worth before and after.",
    ]


def truth(round: Round, taste: str) -> str:
    """What the robots' own taste, which nothing in the loop sees, says of base and policy."""
    from worlds.loop import mean, wins  # noqa: PLC0415, only here do robots and policies meet
    from worlds.taste import TASTES  # noqa: PLC0415

    reward = TASTES[taste].reward
    worth = [
        [reward(rounds.as_record(one.prompt).messages, text) for text in (one.before, one.after)]
        for one in rounds.before_after(round, count=round.plan.comparisons)
    ]
    if not worth:
        return "-"
    before, after = zip(*worth, strict=True)
    return f"{wins(after, before):.0%}, {mean(before):.2f} to {mean(after):.2f}"


def _share(win_rate: WinRate | None) -> str:
    return _interval(win_rate.rate, win_rate.low, win_rate.high) if win_rate else "no judgment"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0%}" if low is None or high is None else f"{value:.0%} [{low:.0%}, {high:.0%}]"
