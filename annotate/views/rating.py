"""The rater's screen: a comparison, its judgment, and what can be done instead."""

from statistics import median
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.html import escape
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import assignment as leases
from annotate import judging, keys, progress, rendering, screens, stages
from annotate.access import PersonRequest, came_from, project_for
from annotate.answers import JudgingError
from annotate.forms import FlagForm, JudgmentForm, SkipForm, held_keys
from annotate.masking import mask
from annotate.models import (
    LABELING,
    Assignment,
    AssignmentState,
    Flag,
    Judgment,
    Membership,
    Project,
    RaterAction,
    Rule,
)

TOAST = 10  # seconds after a judgment during which the page offers to take it back
LETTERS = "ABCDEFGHI"
OPENING = 60  # characters of a response in the list of a ranking
RECENT = 30  # judgments from whose median the time left is told
HUSHED = (Rule.TRAINING, Rule.QUALIFICATION, Rule.ADJUDICATION)  # posted plainly, one at a time


# The comparison


@gzip_page  # nothing that somebody sends stands in it beside the token, which is masked anew each time
@never_cache
@require_GET
@project_for(*LABELING)
def compare(request: PersonRequest, project: Project) -> HttpResponse:
    """Show the rater the next comparison, or say that none is left."""
    membership = request.membership
    if membership.paused_at is None and membership.qualified_at is None:
        before = stages.next_before_the_queue(membership)
        if before is not None:
            return screen(request, before, project)
    if membership.paused_at is not None:
        context = {
            "project": project,
            "reason": stages.pause_reason(membership),
            "message": _message(membership),
        }
        return render(request, "annotate/paused.html", context)
    assignment = None if project.archived_at else leases.next_for(request.user, project)
    if assignment is None:
        figures = progress.of_rater(request.user, project)
        context = {"project": project, "last": _last_judged(request, project), "figures": figures}
        return render(request, "annotate/nothing_left.html", context)
    return screen(request, assignment, project, membership)


@gzip_page
@never_cache
@require_GET
@project_for(*LABELING)
def following(request: PersonRequest, project: Project) -> HttpResponse:
    """One more comparison for a browser that holds some already; no content where none is left."""
    membership = request.membership
    if membership.paused_at or membership.qualified_at is None or project.archived_at:
        return HttpResponse(status=204)
    assignment = leases.next_for(request.user, project, held=held_keys(request.GET))
    return _fragment(request, assignment, project)


def screen(
    request: PersonRequest, assignment: Assignment, project: Project, membership: Membership | None = None
) -> HttpResponse:
    """The whole page, with what only it shows."""
    context = shown(request, assignment, project)
    context["last"] = _last_judged(request, project)
    context["notice"] = request.session.pop("notice", "") if "notice" in request.session else ""
    if membership is not None:
        context["message"] = _message(membership)
        context["median_ms"] = _median_ms(request, project)
    minutes = project.rules.break_minutes
    sitting = timezone.now() - (assignment.sitting_at or timezone.now())
    context["break_due"] = bool(minutes) and sitting.total_seconds() > minutes * 60
    return render(request, "annotate/compare.html", context)


def _fragment(request: PersonRequest, assignment: Assignment | None, project: Project) -> HttpResponse:
    """A comparison by itself, as the page takes it in; no content where there is none."""
    if assignment is None:
        return HttpResponse(status=204)
    return HttpResponse(screens.draw(request, shown(request, assignment, project)))


def shown(request: PersonRequest, assignment: Assignment, project: Project) -> dict[str, Any]:
    """What the page shows of an assignment: texts and positions, no id but the assignment's key."""
    rules = project.rules
    system = [{"role": "system", "content": rules.system_prompt}] if rules.system_prompt else []
    messages = [
        {"role": message["role"], "content": mask(message["content"], rules.masks)}
        for message in system + assignment.comparison.prompt.messages
    ]
    turns = [{**message, "html": rendering.render(message["content"])} for message in messages]
    standing = None if assignment.fresh else assignment.judgment
    texts = leases.shown_responses(assignment)
    return {
        "project": project,
        "assignment": assignment,
        "plain": assignment.rule in HUSHED or assignment.state == AssignmentState.JUDGED,
        "training": assignment.rule == Rule.TRAINING,
        "client_key": uuid4(),
        "supersedes": standing.client_key if standing and not standing.withdrawn else "",
        "earlier": turns[:-1],
        "fold": sum(len(message["content"]) for message in messages[:-1]) > 1200,
        "asked": turns[-1],
        "sides": [
            _side(place, mask(response.text, rules.masks), named=rules.scheme == "ranking" or len(texts) > 2)
            for place, response in enumerate(texts, 1)
        ],
        "before": _as_shown(assignment, standing) if standing else None,
        "criteria": [{"number": number, "name": name} for number, name in enumerate(rules.criteria, 1)],
        "rules": rules,
        "warning": rules.content_warning,
        "reveal": bool(rules.content_warning),
        "number": assignment.since_break + 1,
        "share": progress.share_judged(project, old=_fetched(request)),
        "keys": keys.of(request.user),
    }


def _side(place: int, text: str, *, named: bool) -> dict[str, Any]:
    """A response as it stands in the page, and the words by which a ranking's list names it."""
    words = escape(Truncator(text).chars(OPENING)) if named else ""
    html, raw = rendering.render(text), rendering.raw(text)
    return {"position": place, "letter": LETTERS[place - 1], "html": html, "raw": raw, "words": words}


def _as_shown(assignment: Assignment, judgment: Judgment) -> dict[str, Any]:
    """A judgment by positions, as the page posts it."""
    signs = ">" * max(1, judgment.strength or 1)
    return {
        "order": "" if judgment.all_bad else _positions(assignment, judgment.order, signs),
        "all_bad": judgment.all_bad,
        "criteria": {
            name: _positions(assignment, order, ">") for name, order in (judgment.criteria or {}).items()
        },
        "labels": dict(enumerate(judgment.labels or [], 1)),
        "scores": dict(enumerate(judgment.scores or [], 1)),
        "confidence": judgment.confidence,
        "rationale": judgment.rationale,
    }


def _positions(assignment: Assignment, order: judging.Order, signs: str) -> str:
    place = {response: position for position, response in enumerate(assignment.shown, 1)}
    return signs.join("=".join(str(one) for one in sorted(place[r] for r in group)) for group in order)


def _last_judged(request: PersonRequest, project: Project) -> dict[str, Any] | None:
    """The rater's last judgment, which can be taken back: in words and as a form."""
    last = judging.changeable(request.user, project).first()
    if last is None:
        return None
    fresh = (timezone.now() - last.received_at).total_seconds() < TOAST
    return {"key": last.assignment.key, "words": in_words(last), "fresh": fresh}


def in_words(judgment: Judgment) -> str:
    """What a rater answered, as the page says it."""
    shown = judgment.assignment.shown
    place = {response: LETTERS[position] for position, response in enumerate(shown)}
    if judgment.all_bad:
        return _("Both bad") if len(shown) == 2 else _("All bad")
    if len(judgment.order) == 1:
        return _("Tie")
    if len(shown) > 2:
        groups = (" = ".join(sorted(place[one] for one in group)) for group in judgment.order)
        return " > ".join(groups)
    words = {
        1: _("%(letter)s slightly better"),
        2: _("%(letter)s better"),
        3: _("%(letter)s much better"),
        None: _("%(letter)s is better"),
    }
    return words[judgment.strength] % {"letter": place[judgment.order[0][0]]}


def _message(membership: Membership) -> RaterAction | None:
    """The first word of an admin that the rater has not read."""
    unread = membership.actions.filter(kind=RaterAction.Kind.MESSAGE, seen_at=None, undone_at=None)
    return unread.order_by("at").first()


def _median_ms(request: PersonRequest, project: Project) -> int | None:
    """How long the rater takes for one comparison."""
    mine = Judgment.objects.standing().filter(
        assignment__rater=request.user, assignment__comparison__project=project, active_ms__isnull=False
    )
    times = [ms for ms in mine.order_by("-pk").values_list("active_ms", flat=True)[:RECENT] if ms is not None]
    return round(median(times)) if times else None


# Answers


@never_cache
@require_POST
def judge(request: PersonRequest, key: UUID) -> HttpResponse:
    """Store the rater's answer and go on to the next comparison."""
    form = JudgmentForm(request.POST)
    if not form.is_valid():
        return _refusal(request, key, form.faults, status=400)
    try:
        outcome = judging.judge_posted(request.user, key, form.posted(), held=held_keys(request.POST))
    except judging.NoSuchAssignmentError:
        raise Http404 from None
    except judging.AlreadyJudgedError as error:
        return _refusal(request, key, str(error), status=409)
    except JudgingError as error:
        return _refusal(request, key, str(error), status=400)
    project = outcome.assignment.comparison.project
    if _fetched(request):
        request.role = vars(outcome.assignment)["role"]
        answer = _fragment(request, outcome.following, project)
        answer.headers["X-Judgment"] = _what_became(outcome)
        return answer
    if outcome.assignment.rule == Rule.TRAINING:
        return redirect("annotate:explained", key)
    if outcome.assignment.rule == Rule.ADJUDICATION:
        return redirect("annotate:adjudicated", key)
    return redirect("annotate:compare", project.slug)


def _what_became(outcome: judging.Outcome) -> str:
    if not outcome.new:
        return "known"
    if not outcome.judgment.counted:
        return "kept uncounted"
    return "stored late" if outcome.judgment.late else "stored"


@never_cache
@require_POST
def undo(request: PersonRequest, key: UUID) -> HttpResponse:
    """Take the judgment back; the comparison opens again."""
    assignment = _own_assignment(request, key)
    if assignment.rule in HUSHED or assignment.comparison.closed_at or not judging.withdraw(assignment):
        reason = _("This judgment was taken back already, or its round is closed.")
        return _refusal(request, key, reason, status=409)
    if _fetched(request):
        return _fragment(request, _own_assignment(request, key), assignment.comparison.project)
    return redirect("annotate:compare", assignment.comparison.project.slug)


@never_cache
@require_POST
def skip(request: PersonRequest, key: UUID) -> HttpResponse:
    """Give the comparison back; it does not return to this rater."""
    assignment = _own_assignment(request, key)
    project = assignment.comparison.project
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _refusal(request, key, form.faults, status=400)
    judging.skip(assignment, form.text)
    if _fetched(request):
        following = leases.next_for(request.user, project, held=held_keys(request.POST))
        return _fragment(request, following, project)
    return _back_to_work(assignment)


@never_cache
@require_POST
def flag(request: PersonRequest, key: UUID) -> HttpResponse:
    """Keep a note that something is wrong; the comparison stays to be judged."""
    assignment = _own_assignment(request, key)
    form = FlagForm(request.POST)
    position = form.cleaned_data.get("position") if form.is_valid() else None
    if not form.is_valid() or (position or 0) > len(assignment.shown):
        return _refusal(request, key, form.faults or _("position: there is no such response."), status=400)
    with transaction.atomic():
        Flag.objects.get_or_create(
            assignment=assignment,
            client_key=form.cleaned_data["client_key"],
            defaults={
                "kind": form.cleaned_data["kind"],
                "note": form.cleaned_data["note"],
                "response_id": assignment.shown[position - 1] if position else None,
            },
        )
    if _fetched(request):
        return HttpResponse(status=204)
    request.session["notice"] = _("Thank you. The flag is kept, and your judgment is still open.")
    return _back_to_work(assignment)


@never_cache
@require_GET
def change(request: PersonRequest, key: UUID) -> HttpResponse:
    """A judged comparison with its answer, to be answered anew."""
    assignment = _own_assignment(request, key)
    project = assignment.comparison.project
    if all(one.assignment_id != assignment.pk for one in judging.changeable(request.user, project)):
        reason = _("This judgment can’t be changed any more: only the last ten of an open round can.")
        return _refusal(request, key, reason, status=409)
    if _fetched(request):
        return _fragment(request, assignment, project)
    return screen(request, assignment, project)


@never_cache
@require_POST
def heartbeat(request: PersonRequest, key: UUID) -> HttpResponse:
    """The rater still looks at it: the leases of all that they have open run anew."""
    assignment = _own_assignment(request, key)
    renewed = leases.renew(request.user, assignment.comparison.project)
    progress.share_judged(assignment.comparison.project)
    return HttpResponse(status=204 if renewed and assignment.state == AssignmentState.OPEN else 410)


@never_cache
@require_POST
def release(request: PersonRequest, key: UUID) -> HttpResponse:
    """A comparison that was in hand goes back, to this rater or another."""
    assignment = _own_assignment(request, key)
    if assignment.fresh:
        leases.release(assignment, AssignmentState.EXPIRED)
    return HttpResponse(status=204)


# Beside it


@never_cache
@require_GET
def explained(request: PersonRequest, key: UUID) -> HttpResponse:
    """After an example: what was expected, and why."""
    assignment = _own_assignment(request, key)
    judgment = assignment.judgment
    if assignment.rule != Rule.TRAINING or judgment is None or assignment.comparison.gold is None:
        raise Http404
    expected = Judgment(assignment=assignment, order=assignment.comparison.gold)
    context = {
        **shown(request, assignment, assignment.comparison.project),
        "answered": in_words(judgment),
        "expected": in_words(expected),
        "right": judging.is_right(judgment.order, assignment.comparison.gold),
        "explanation": assignment.comparison.explanation,
    }
    return render(request, "annotate/explained.html", context)


@never_cache
@require_GET
@project_for(*LABELING)
def recent(request: PersonRequest, project: Project) -> HttpResponse:
    """The rater's last judgments, each to be changed or taken back."""
    rows = [
        {
            "key": judgment.assignment.key,
            "words": in_words(judgment),
            "asked": mask(judgment.assignment.comparison.prompt.messages[-1]["content"], project.rules.masks),
            "at": judgment.received_at,
        }
        for judgment in judging.changeable(request.user, project)
    ]
    page = "annotate/_recent.html" if _fetched(request) else "annotate/recent.html"
    return render(request, page, {"project": project, "rows": rows})


@never_cache
@require_GET
@project_for(*LABELING)
def record(request: PersonRequest, project: Project) -> HttpResponse:
    """What the rater did here, and what came of it; never how far others agree."""
    figures = progress.record_of(request.user, project)
    return render(request, "annotate/record.html", {"project": project, "figures": figures})


@never_cache
@require_http_methods(["GET", "POST"])
def own_keys(request: PersonRequest) -> HttpResponse:
    """The rater's own keys."""
    chosen, faults = keys.of(request.user), {}
    if request.method == "POST":
        try:
            keys.save(request.user, request.POST)
        except ValidationError as error:
            chosen, faults = request.POST, error.message_dict
        else:
            return HttpResponse(status=204) if _fetched(request) else redirect("home")
    rows = [
        {"name": name, "words": action.words, "key": chosen.get(name, ""), "faults": faults.get(name, [])}
        for name, action in keys.ACTIONS.items()
    ]
    return render(request, "annotate/keys.html", {"rows": rows}, status=400 if faults else 200)


@require_POST
def language(request: PersonRequest) -> HttpResponse:
    """Keep the rater's language."""
    wanted = request.POST.get("language", "")
    if wanted in dict(settings.LANGUAGES) or not wanted:
        request.user.language = wanted
        request.user.save(update_fields=["language"])
    return redirect(came_from(request))


@require_POST
def seen(request: PersonRequest, pk: int) -> HttpResponse:
    """The rater has read an admin's word."""
    message = get_object_or_404(RaterAction, pk=pk, kind="message", membership__user=request.user)
    RaterAction.objects.filter(pk=pk, seen_at=None).update(seen_at=timezone.now())
    return (
        HttpResponse(status=204)
        if _fetched(request)
        else redirect("annotate:compare", message.membership.project.slug)
    )


def _own_assignment(request: PersonRequest, key: UUID) -> Assignment:
    """The rater's assignment of this key; anybody else's is not found."""
    rows = Assignment.objects.select_related(
        "rater", "comparison__project", "comparison__prompt", "guideline"
    )
    memberships = Membership.objects.filter(user=request.user.pk, role__in=LABELING)
    assignment = get_object_or_404(
        rows, key=key, rater=request.user.pk, comparison__project__in=memberships.values("project")
    )
    project = assignment.comparison.project
    if project.archived_at is not None and request.method == "POST":
        text = _("%(project)s is archived: it can be read, not changed.")
        raise PermissionDenied(text % {"project": project})
    request.membership = memberships.get(project=project)
    request.role = request.membership.role
    return assignment


def _back_to_work(assignment: Assignment) -> HttpResponse:
    """The page that gives the next one: the queue's, or that of disagreements."""
    page = "annotate:adjudicate" if assignment.rule == Rule.ADJUDICATION else "annotate:compare"
    return redirect(page, assignment.comparison.project.slug)


def _fetched(request: PersonRequest) -> bool:
    """Whether the page's own script asks, not the browser for a page."""
    return request.headers.get("X-Requested-With") == "fetch"


def _refusal(request: PersonRequest, key: UUID, reason: str, *, status: int) -> HttpResponse:
    """Why an answer was not taken: a line for the page's script, or a page with the way on."""
    assignment = _own_assignment(request, key)
    if _fetched(request):
        return HttpResponse(reason, status=status, content_type="text/plain; charset=utf-8")
    context = {"reason": reason, "project": assignment.comparison.project}
    return render(request, "annotate/refusal.html", context, status=status)
