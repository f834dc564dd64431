"""The pages of rounds, and the one on which two policies answer."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.text import Truncator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRefresh

from annotate.access import PersonRequest, project_for
from annotate.models import Project, Role
from annotate.panels import Panel
from lm.records import Message
from policy.app import figures, rounds, trying
from policy.app.forms import DecisionForm, RoundForm, TryForm
from policy.app.models import Policy, PolicyKind, Round, RoundState
from policy.app.settings import RoundSettings
from runs import metrics
from runs.advice import advice
from runs.models import RefusedError, Run, State
from runs.views import lasting
from runs.waiting import waits_for

SHOWN = 20  # rounds of a list, and prompts answered before and after
EXAMPLES = 3
EXAMPLE_LENGTH = 60  # letters of a prompt on its button


# Rounds


def panel(request: PersonRequest, project: Project) -> Panel:
    """The rounds on the project's page."""
    return Panel("policy/_panel.html", _all_rounds(project))


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN, Role.RESEARCHER)
def all_rounds(request: PersonRequest, project: Project) -> HttpResponse:
    """All rounds of a project; an admin's post starts the next one."""
    if request.method == "GET":
        return _list(request, project)
    if request.role != Role.ADMIN:
        raise PermissionDenied(f"Rounds are started by admins of {project}; you are here as {request.role}.")
    form = RoundForm(request.POST)
    if not form.is_valid():
        return _list(request, project, form, status=400)
    settings = RoundSettings(**form.cleaned_data)
    try:
        started = rounds.start(project, by=request.user.get_username(), settings=settings)
    except RefusedError as error:
        return _list(request, project, form, refused=str(error), status=409)
    return redirect("policy:round", project.slug, started.number)


def _list(
    request: PersonRequest,
    project: Project,
    form: RoundForm | None = None,
    *,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {"project": project, "rounds": _all_rounds(project, form), "refused": refused}
    return render(request, "policy/rounds.html", context, status=status)


def _all_rounds(project: Project, form: RoundForm | None = None) -> dict[str, Any]:
    """What the list of rounds shows, and whether another can start."""
    found = list(
        project.rounds.select_related("project", "base", "opponent", "policy").order_by("-number")[:SHOWN]
    )
    ready = rounds.readiness(project)
    return {
        "readiness": ready,
        "offer": _offer(ready),
        "next_number": found[0].number + 1 if found else 1,
        "rows": [_row(one) for one in found],
        "form": form or RoundForm(),
        "can_try": len(trying.policies_of(project)) > 1,
    }


def _offer(ready: rounds.Readiness) -> str:
    """What the judgments so far allow."""
    many = f"{figures.counted(ready.judgments, 'judgment')} {'is' if ready.judgments == 1 else 'are'} in"
    if ready.judgments < ready.offered:
        return (
            f"{many}: enough to start. A round starts to pay at {ready.offered} to {ready.offered * 3 // 2}."
        )
    return (
        f"{many}: enough for a round. {ready.offered} to {ready.offered * 3 // 2} is where one starts to pay."
    )


def _row(round: Round) -> dict[str, Any]:
    rates = rounds.win_rates(round) if round.policy else []
    against = figures.Opponent(*rates[-1]) if rates else None
    return {"round": round, "opponent": against, "kl": figures.kl(round)}


@never_cache
@require_GET
@vary_on_headers("HX-Request")
@project_for(Role.ADMIN, Role.RESEARCHER)
def round_page(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """One round; as long as a run of it is active, htmx asks for its part again every two seconds."""
    found = _find(project, number)
    facts = _facts(found)
    if request.htmx and not facts["polls"]:
        return HttpResponseClientRefresh()  # the whole page once more, with the buttons of the new state
    page = "policy/_round.html" if request.htmx else "policy/round.html"
    return render(request, page, {"project": project, **facts})


@require_POST
@project_for(Role.ADMIN)
def promote(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """Take the round's policy for the one that the next round is compared with."""
    return _decide(request, project, number, promote=True)


@require_POST
@project_for(Role.ADMIN)
def reject(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """Leave things as they were before the round."""
    return _decide(request, project, number, promote=False)


@require_POST
@project_for(Role.ADMIN)
def retry(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """Take the step again that failed or was cancelled."""
    return _act(request, project, number, lambda found, by: rounds.retry(found, by=by))


@require_POST
@project_for(Role.ADMIN)
def stop(request: PersonRequest, project: Project, number: int) -> HttpResponse:
    """End a round before it has a policy."""
    return _act(request, project, number, lambda found, by: rounds.stop(found, by=by))


def _decide(request: PersonRequest, project: Project, number: int, *, promote: bool) -> HttpResponse:
    form = DecisionForm(request.POST)
    if not form.is_valid():
        note = len(request.POST.get("note", ""))
        reason = f"The reason has {note:,} characters; use {DecisionForm.LONGEST} or less."
        return _refuse(request, _find(project, number), reason, status=400)
    note = form.cleaned_data["note"]
    return _act(
        request, project, number, lambda found, by: rounds.decide(found, promote=promote, by=by, note=note)
    )


def _act(
    request: PersonRequest, project: Project, number: int, act: Callable[[Round, str], None]
) -> HttpResponse:
    found = _find(project, number)
    try:
        act(found, request.user.get_username())
    except RefusedError as error:
        return _refuse(request, _find(project, number), str(error), status=409)
    return redirect("policy:round", project.slug, number)


def _refuse(request: PersonRequest, round: Round, reason: str, *, status: int) -> HttpResponse:
    context = {"project": round.project, **_facts(round), "refused": reason}
    return render(request, "policy/round.html", context, status=status)


def _find(project: Project, number: int) -> Round:
    rows = Round.objects.select_related("project", "base", "opponent", "policy", "reward_model__run")
    return get_object_or_404(rows, project=project, number=number)


def _facts(round: Round) -> dict[str, Any]:
    """All that the page of a round shows."""
    steps = rounds.steps(round)
    current = next((step for step in steps if step.state != "done"), steps[-1])
    stuck = round.state == RoundState.RUNNING and current.state in ("failed", "cancelled", "paused")
    opponents = (
        [figures.opponent(round, *one) for one in rounds.win_rates(round)]
        if round.policy and round.finished_at
        else []
    )
    wanted, judged = figures.evaluation(round) if opponents else (0, 0)
    rates = [one.win_rate for one in opponents if one.win_rate]
    stages = [_stage(step, round, current) for step in steps]
    return {
        "round": round,
        "lead": _lead(round, stages, wanted - judged),
        "polls": round.state == RoundState.RUNNING and not stuck,
        "current": current,
        "can_retry": stuck,
        "trouble": _trouble(current.run) if stuck else None,
        "verdict": _verdict(round, opponents[-1], wanted - judged) if opponents else None,
        "opponents": opponents,
        "wanted": wanted,
        "judged": judged,
        "clustered": any(rate.clustered_by == "raters and prompts" for rate in rates),
        "stages": stages,
        "kl": figures.kl(round),
        "lineage": _lineage(round),
        "samples": rounds.before_after(round, SHOWN) if round.finished_at else [],
    }


def _stage(step: rounds.Step, round: Round, current: rounds.Step) -> dict[str, Any]:
    """A step as the page shows it."""
    run = step.run
    now = round.state == RoundState.RUNNING and step is current
    state = "stopped" if step.state == "waiting" and round.state == RoundState.STOPPED else step.state
    return {
        "title": step.title,
        "state": state,
        "run": run,
        "now": now,
        "words": figures.measured(step, round),
        "waits": waits_for(run) if run else "",
        "lasted": lasting(run.active_time()) if run and run.started_at else "",
        "left": _time_left(run) if run else "",
    }


def _time_left(run: Run) -> str:
    if run.state != State.RUNNING or run.started_at is None:
        return ""
    rows = metrics.sample(run.directory.path / "metrics.jsonl")
    left: timedelta | None = metrics.time_left(rows, since=run.started_at.timestamp())
    return lasting(left)


def _lead(round: Round, stages: list[dict[str, Any]], open_judgments: int) -> str:
    """What happens now, and what waits for whom."""
    match round.state:
        case RoundState.RUNNING:
            return _running(round, stages)
        case RoundState.LABELING if open_judgments > 0:
            return (
                f"A policy is trained. Raters have {figures.counted(open_judgments, 'judgment')} of it left;"
                " an admin then promotes or rejects it."
            )
        case RoundState.LABELING:
            return "A policy is trained and judged. It waits for an admin to promote or reject it."
    when = f" on {date_format(round.decided_at, 'j F')}" if round.decided_at else ""
    by = f" by {round.decided_by}" if round.decided_by else ""
    if round.state == RoundState.STOPPED:
        return f"Stopped{by}{when}, before a policy came out. What its steps made is kept."
    note = f": {round.note}" if round.note else "."
    return f"Its policy was {round.state}{by}{when}{note}"


def _running(round: Round, stages: list[dict[str, Any]]) -> str:
    place = next((number for number, stage in enumerate(stages) if stage["now"]), len(stages) - 1)
    title, state = stages[place]["title"], stages[place]["state"]
    if state in ("failed", "cancelled"):
        return (
            f"{title} {'has failed' if state == 'failed' else 'was cancelled'}. The steps before it are kept."
        )
    if state == "paused":
        return f"{title} is paused. It goes on where it was once somebody lets it."
    after = [stage["title"] for stage in stages[place + 1 :]]
    rest = f" Then: {', '.join(after)}." if after else ""
    doing = "runs now" if state == "running" else "is next"
    return f"{title} {doing}.{rest} Raters are asked when all is done; nothing waits for you."


def _trouble(run: Run | None) -> dict[str, str] | None:
    """Why a run ended, in words, with the last line of what it said; it does not try again by itself."""
    if run is None or not run.error_code or run.state in (State.RETRY_WAIT, State.RUNNING):
        return None
    what, _ = advice(run.error_code)
    return {"what": what, "text": run.error_text.strip().rpartition("\n")[2][:300]}


def _verdict(round: Round, against: figures.Opponent, open_judgments: int) -> dict[str, Any] | None:
    """What people's judgments advise, while the decision is open."""
    if round.state != RoundState.LABELING:
        return None
    if against.win_rate is None:
        title = "Nobody has judged it yet"
        text = "To decide now would be to trust the reward model alone."
    else:
        rate = f"{against.percent} against {against.policy}, interval {against.interval}."
        if against.better:
            title, text = "People prefer the new policy", f"{rate} All of it is above 50%."
        elif against.worse:
            title, text = f"People prefer {against.policy}", f"{rate} All of it is below 50%."
        else:
            more = (
                f" Still open: {figures.counted(open_judgments, 'judgment')}." if open_judgments > 0 else ""
            )
            title, text = "Not clear yet", f"{rate} 50% lies inside, so it may be chance.{more}"
    return {"title": title, "text": text, "better": against.better, "worse": against.worse}


def _lineage(round: Round) -> list[tuple[str, object, str]]:
    """What the round was made from: name, value, address."""
    plan = round.plan
    found: list[tuple[str, object, str]] = [("Base", round.base, "")]
    if round.opponent:
        found.append(("Promoted before", round.opponent, ""))
    if model := round.reward_model:
        found += [
            ("Reward model", model.pk, reverse("rewards:model", args=[round.project.slug, model.pk])),
            ("Judgments", f"{model.judgments:,}", ""),
            ("Pairs", f"{model.pairs:,} (input/pairs.jsonl)", ""),
        ]
    if round.warm:
        found.append(("Best of n", round.warm, ""))
    if round.policy:
        found.append(("Policy", round.policy, ""))
    return [
        *found,
        ("KL budget", f"{plan.kl_budget:g} nats", ""),
        ("Comparisons", f"{plan.comparisons:,}", ""),
        ("Started", f"{date_format(round.created_at, 'j F, H:i')} by {round.started_by or 'a command'}", ""),
    ]


# Trying policies


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN, Role.RESEARCHER)
def ask(request: PersonRequest, project: Project) -> HttpResponse:
    """Choose two policies and what they answer."""
    form = TryForm(request.POST or None, project=project, initial=_proposal(request, project))
    if request.method == "POST" and form.is_valid():
        asked = [form.cleaned_data["first"], form.cleaned_data["second"]]
        run = trying.start(project, asked, form.messages(), by=request.user.get_username())
        return redirect("policy:answers", project.slug, run.pk)
    context = {"project": project, "form": form, "examples": _examples(project)}
    return render(request, "policy/try.html", context, status=400 if form.errors else 200)


@never_cache
@require_GET
@vary_on_headers("HX-Request")
@project_for(Role.ADMIN, Role.RESEARCHER)
def answers(request: PersonRequest, project: Project, run: int) -> HttpResponse:
    """What the two said; htmx asks again every two seconds as long as they haven't."""
    found = get_object_or_404(Run, pk=run, kind=trying.TryPolicies.name, scope=project.scope)
    messages, asked = trying.asked(found), trying.policies(found)
    context = {
        "project": project,
        "run": found,
        "messages": messages,
        "answers": trying.answers(found),
        "trouble": _trouble(found) or _ended(found),
        "waits": waits_for(found),
        "names": " and ".join(policy.name for policy in asked),
        "form": TryForm(project=project, initial=_filled(asked, messages)),
    }
    page = "policy/_answers.html" if request.htmx else "policy/answers.html"
    return render(request, page, context)


def _ended(run: Run) -> dict[str, str] | None:
    """Why there will be no answers where nothing went wrong."""
    words = {State.CANCELLED: "the run was cancelled", State.PAUSED: "the run is paused"}
    return {"what": words[State(run.state)], "text": ""} if run.state in words else None


def _filled(asked: Sequence[Policy], messages: Sequence[Message]) -> dict[str, Any]:
    """The form as it was when this was asked."""
    first, second = [policy.pk for policy in asked] if len(asked) == 2 else (None, None)
    notes = messages[0].content.removeprefix("Notes:").strip() if messages[0].role == "system" else ""
    return {"first": first, "second": second, "prompt": messages[-1].content, "notes": notes}


def _proposal(request: PersonRequest, project: Project) -> dict[str, Any]:
    """The newest policy beside the base, and the example that was chosen."""
    able = trying.policies_of(project)
    base = next((policy for policy in able if policy.kind == PolicyKind.BASE), None)
    first = next((policy for policy in able if policy != base), None)
    second = base or next((policy for policy in able if policy != first), None)
    found: dict[str, Any] = {"first": first and first.pk, "second": second and second.pk}
    wanted = request.GET.get("example", "")
    example = project.prompts.filter(pk=wanted).first() if wanted.isdecimal() and len(wanted) < 19 else None
    if example is not None:
        messages = [Message(**message) for message in example.messages]
        found |= {name: text for name, text in _filled([], messages).items() if name in ("prompt", "notes")}
    return found


def _examples(project: Project) -> list[dict[str, Any]]:
    """Some held-out prompts of one question, the same for everybody."""
    found: list[dict[str, Any]] = []
    for prompt in project.prompts.filter(split="policy_eval").order_by("content_hash")[:50]:
        roles = [message["role"] for message in prompt.messages]
        if roles in (["user"], ["system", "user"]) and len(found) < EXAMPLES:
            question = prompt.messages[-1]["content"].strip().rpartition("\n")[2]
            found.append({"pk": prompt.pk, "words": Truncator(question).chars(EXAMPLE_LENGTH)})
    return found
