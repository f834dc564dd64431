import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.assignment import next_for
from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Flag,
    Judgment,
    Membership,
    Project,
    Response,
)

COMPARE = "/projects/shop/compare/"


def judge_url(assignment: Assignment) -> str:
    return f"/assignments/{assignment.key}/judge/"


@pytest.fixture
def client(signed_in, alice):
    return signed_in(alice)


def test_the_page_shows_the_conversation_and_both_responses_in_the_order_shown(client, assignment):
    page = client.get(COMPARE).content.decode()

    first, second = (Response.objects.get(pk=pk).text for pk in assignment.shown)
    assert page.index("Question 1?") < page.index(first) < page.index(second)
    assert f'action="{judge_url(assignment)}"' in page


def test_a_vote_is_stored_and_the_next_comparison_comes(client, assignment, new_comparison):
    new_comparison(2)

    answer = client.post(judge_url(assignment), {"client_key": uuid4(), "order": "2>1"}, follow=True)

    assert Judgment.objects.get().order == [[assignment.shown[1]], [assignment.shown[0]]]
    assert answer.redirect_chain == [(COMPARE, 302)]
    assert "Question 2?" in answer.content.decode()


FETCH = {"X-Requested-With": "fetch"}


def test_a_script_gets_one_more_comparison_beside_those_it_holds(client, assignment, new_comparison):
    new_comparison(2)
    client.get(COMPARE)

    more = client.get("/projects/shop/next/", {"held": assignment.key}, headers=FETCH)

    assert more.content.decode().lstrip().startswith('<div id="screen"')
    assert "Question 2?" in more.content.decode()
    held = [one.key for one in Assignment.objects.all()]
    assert client.get("/projects/shop/next/", {"held": held}, headers=FETCH).status_code == 204


def test_a_scripts_answer_brings_the_next_and_says_what_became_of_it(client, assignment, new_comparison):
    new_comparison(2)
    new_comparison(3)
    client.get(COMPARE)
    client.get("/projects/shop/next/", {"held": assignment.key}, headers=FETCH)
    second = Assignment.objects.get(comparison__prompt__name="p2")
    answer = {"client_key": uuid4(), "order": "1>2", "held": second.key}

    stored = client.post(judge_url(assignment), answer, headers=FETCH)
    again = client.post(judge_url(assignment), answer, headers=FETCH)
    refused = client.post(judge_url(assignment), {"client_key": uuid4(), "order": "2>1"}, headers=FETCH)

    assert "Question 3?" in stored.content.decode()
    assert (stored["X-Judgment"], again["X-Judgment"]) == ("stored", "known")
    assert (refused.status_code, refused["Content-Type"]) == (409, "text/plain; charset=utf-8")
    assert "your first answer is kept" in refused.content.decode()
    assert Assignment.objects.count() == 3


def test_a_heartbeat_renews_what_is_open_and_says_when_it_is_gone(client, assignment):
    Assignment.objects.update(leased_until=timezone.now() + timedelta(minutes=1))

    assert client.post(f"/assignments/{assignment.key}/heartbeat/").status_code == 204
    assignment.refresh_from_db()
    assert assignment.leased_until > timezone.now() + timedelta(minutes=20)
    Assignment.objects.update(state=AssignmentState.EXPIRED, holds_place=False)
    assert client.post(f"/assignments/{assignment.key}/heartbeat/").status_code == 410


def test_what_was_in_hand_goes_back_at_once(client, assignment, bob, project):
    assert next_for(bob, project) is None

    assert client.post(f"/assignments/{assignment.key}/release/").status_code == 204

    assert next_for(bob, project).comparison == assignment.comparison


def test_one_of_the_last_ten_is_changed_and_both_answers_are_kept(client, assignment):
    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2"})
    page = client.get(f"/assignments/{assignment.key}/change/").content.decode()
    stands = Judgment.objects.get()

    assert str(stands.client_key) in page
    client.post(
        judge_url(assignment), {"client_key": uuid4(), "order": "2>1", "supersedes": stands.client_key}
    )

    assert Judgment.objects.count() == 2
    assert Judgment.objects.standing().get().order == [[assignment.shown[1]], [assignment.shown[0]]]


def test_when_the_round_is_closed_an_answer_stays(client, assignment):
    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2"})
    stands = Judgment.objects.get()
    Comparison.objects.update(closed_at=timezone.now())

    correction = {"client_key": uuid4(), "order": "2>1", "supersedes": stands.client_key}
    refused = client.post(judge_url(assignment), correction)

    assert client.get(f"/assignments/{assignment.key}/change/").status_code == 409
    assert client.post(f"/assignments/{assignment.key}/undo/").status_code == 409
    assert refused.status_code == 409
    assert Judgment.objects.get() == stands


def test_a_flag_is_kept_beside_the_judgment_and_once(client, assignment):
    flag = {"client_key": uuid4(), "kind": "unsafe", "position": 2, "note": "a recipe for harm"}

    for _ in range(3):
        assert client.post(f"/assignments/{assignment.key}/flag/", flag, headers=FETCH).status_code == 204

    kept = Flag.objects.get()
    assert (kept.response_id, kept.kind, kept.note) == (assignment.shown[1], "unsafe", "a recipe for harm")
    assert Assignment.objects.get().state == AssignmentState.OPEN
    unknown = client.post(f"/assignments/{assignment.key}/flag/", {**flag, "position": 3}, headers=FETCH)
    assert (unknown.status_code, unknown.content.decode()) == (400, "position: there is no such response.")


def test_words_of_the_project_are_masked_and_stay_stored(client, new_comparison, project):
    project.settings = {"masks": ["Zephyrion"]}
    project.save()
    new_comparison(texts=("I am Zephyrion, at your service", "Hello"))

    page = client.get(COMPARE).content.decode()

    assert "Zephyrion" not in page
    assert "at your service" in page
    assert Response.objects.filter(text__contains="Zephyrion").exists()


def test_a_paused_rater_reads_why_and_gets_nothing(client, assignment, alice):
    Membership.objects.update(paused_at=timezone.now(), pause_reason="Let us talk first.")

    page = client.get(COMPARE)

    assert "Let us talk first." in page.content.decode()
    assert client.get("/projects/shop/next/", headers=FETCH).status_code == 204


def test_own_keys_are_on_the_page_and_doubles_are_refused(client, assignment):
    client.post("/keys/", {"skip": "q", "first": "a"})
    page = client.get(COMPARE).content.decode()
    assert 'data-key="q"' in page

    refused = client.post("/keys/", {"skip": "a", "first": "a", "undo": "7", "flag": "Escape"})

    assert refused.status_code == 400
    for fault in ("a is taken", "7 is one of the answers", "Escape is no key"):
        assert fault in refused.content.decode()


def test_a_judgment_posted_ten_times_is_stored_once(client, assignment):
    answer = {"client_key": uuid4(), "order": "1>2"}

    statuses = {client.post(judge_url(assignment), answer).status_code for _ in range(10)}

    assert statuses == {302}
    assert Judgment.objects.count() == 1


def test_another_answer_to_a_judged_comparison_is_a_conflict(client, assignment):
    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2"})

    refused = client.post(judge_url(assignment), {"client_key": uuid4(), "order": "2>1"})

    assert refused.status_code == 409
    assert "You have judged this comparison already" in refused.content.decode()
    assert Judgment.objects.count() == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"order": "1>2"}, "client_key: This field is required."),
        ({"client_key": "7", "order": "1>2"}, "client_key: Enter a valid UUID."),
        ({"client_key": str(uuid4())}, "&#x27;&#x27; is no order of the responses 1 to 2"),
        (
            {"client_key": str(uuid4()), "order": "1>3"},
            "&#x27;1&gt;3&#x27; is no order of the responses 1 to 2",
        ),
        ({"client_key": str(uuid4()), "order": "1>2", "active_ms": "-5"}, "active_ms: Ensure this value"),
        (
            {"client_key": str(uuid4()), "order": "1>2", "shown_at": "yesterday"},
            "shown_at: Enter a valid date/time.",
        ),
        ({"client_key": str(uuid4()), "order": "1>2\x00"}, "order: Null characters are not allowed."),
    ],
)
def test_a_bad_answer_is_refused_with_its_field(client, assignment, answer, reason):
    refused = client.post(judge_url(assignment), answer)

    assert refused.status_code == 400
    assert reason in refused.content.decode()
    assert not Judgment.objects.exists()


def test_what_a_project_does_not_offer_is_refused(client, assignment, project):
    Project.objects.update(settings={"tie": False, "all_bad": False})

    tie = client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1=2"})
    bad = client.post(judge_url(assignment), {"client_key": uuid4(), "all_bad": "1"})
    page = client.get(COMPARE).content.decode()

    assert (tie.status_code, bad.status_code) == (400, 400)
    assert "This project has no ties" in tie.content.decode()
    assert "1=2" not in page
    assert "all_bad" not in page


def test_the_times_a_browser_posts_are_kept(client, assignment):
    shown, first = "2026-11-21T10:00:00.000Z", "2026-11-21T10:00:05.500Z"
    times = {
        "shown_at": shown,
        "first_input_at": first,
        "submitted_at": "2026-11-21T10:00:09Z",
        "active_ms": 8700,
    }

    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2", **times})

    judgment = Judgment.objects.get()
    assert judgment.first_input_at - judgment.shown_at == timedelta(seconds=5.5)
    assert judgment.active_ms == 8700


def test_undo_brings_the_comparison_back_with_its_answer(client, assignment):
    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "2>1"})

    page = client.post(f"/assignments/{assignment.key}/undo/", follow=True).content.decode()

    pressed = re.findall(r'<button class="vote[^>]*value="([^"]*)"[^>]*aria-pressed="true"', page)
    assert pressed == ["2&gt;1"]
    assert f'action="{judge_url(assignment)}"' in page


def test_undo_twice_is_a_conflict(client, assignment):
    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "2>1"})

    statuses = [client.post(f"/assignments/{assignment.key}/undo/").status_code for _ in range(2)]

    assert statuses == [302, 409]


def test_a_skip_gives_the_comparison_away(client, assignment, bob, project):
    client.post(f"/assignments/{assignment.key}/skip/", {"reason": "not my language"})

    assert 'data-state="empty"' in client.get(COMPARE).content.decode()
    assert next_for(bob, project).comparison == assignment.comparison


def test_a_judgment_after_its_lease_is_still_taken(client, assignment):
    Assignment.objects.update(leased_until=timezone.now() - timedelta(hours=1))

    client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2"})

    assert Judgment.objects.get().late


@pytest.mark.parametrize("act", ["judge", "undo", "skip"])
def test_somebody_elses_assignment_is_not_found(signed_in, bob, assignment, act):
    answer = {"client_key": uuid4(), "order": "1>2"}

    assert signed_in(bob).post(f"/assignments/{assignment.key}/{act}/", answer).status_code == 404
    assert signed_in(bob).post(f"/assignments/{uuid4()}/{act}/", answer).status_code == 404
    assert not Judgment.objects.exists()


def test_a_rater_who_was_removed_can_judge_no_more(client, assignment, alice):
    alice.memberships.all().delete()

    refused = client.post(judge_url(assignment), {"client_key": uuid4(), "order": "1>2"})

    assert refused.status_code == 404
    assert client.get(COMPARE).status_code == 404


def test_who_sees_model_names_does_not_rate(signed_in, admin, researcher, comparison):
    for person in (admin, researcher):
        refused = signed_in(person).get(COMPARE)
        assert refused.status_code == 403
        assert "This page is for raters, writers and adjudicators of Shop answers" in refused.content.decode()


def test_the_home_page_of_a_rater_with_one_project_is_its_comparisons(client, comparison):
    assert client.get("/").url == COMPARE


def test_nothing_of_a_rater_page_is_kept_by_the_browser(client, assignment):
    page = client.get(COMPARE)

    assert "no-store" in page["Cache-Control"]
    assert "ETag" not in page
    assert "Last-Modified" not in page


def test_what_a_model_wrote_cannot_act_on_the_page(client, new_comparison, alice, project):
    new_comparison(
        texts=("<script>alert(1)</script>", "[x](javascript:alert(1)) ![y](https://evil.example/p.png)")
    )

    page = client.get(COMPARE).content.decode()

    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert "<img" not in page
    assert Assignment.objects.get().state == AssignmentState.OPEN


def statements(context) -> list[str]:
    """What was asked of the database, less the frame of a transaction."""
    frame = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    return [query["sql"] for query in context.captured_queries if not query["sql"].startswith(frame)]


@pytest.mark.parametrize("mixed_in", ["nothing", "gold_share", "repeat_share"])
def test_judging_and_leasing_the_next_take_ten_statements_however_long_the_queue(
    client, new_comparison, project, alice, mixed_in
):
    shares = {"gold_share": 0.0, "repeat_share": 0.0, "repeat_gap": 1}
    project.settings = shares
    project.save()
    for number in range(1, 8):
        new_comparison(number)
    for number in range(101, 107):
        comparison = new_comparison(number)
        Comparison.objects.filter(pk=comparison.pk).update(
            purpose="gold", wanted=0, places_left=0, gold=[[one] for one in comparison.response_ids]
        )
    client.get(COMPARE)
    client.get("/projects/shop/next/", {"held": Assignment.objects.get().key}, headers=FETCH)
    counts = []
    for step in range(26):
        if step == 5:
            Project.objects.update(settings={**shares, **({mixed_in: 0.5} if mixed_in in shares else {})})
            for number in range(200, 230):
                new_comparison(number)
                new_comparison(number, texts=("fine", "bad"))  # of a prompt that the rater has met
        current, held = Assignment.objects.filter(state="open").order_by("offered_at")
        answer = {"client_key": uuid4(), "order": "1>2", "held": held.key}
        with CaptureQueriesContext(connection) as context:
            stored = client.post(judge_url(current), answer, headers=FETCH)
        assert stored.status_code == 200
        counts.append(len(statements(context)))

    rules = set(Assignment.objects.values_list("rule", flat=True))
    assert max(counts[1:]) <= 10, counts
    assert len(set(counts[1:])) == 1, counts
    if mixed_in != "nothing":
        assert len(rules) == 2, "chance mixed nothing in; at one half that happens once in a million times"


def test_the_page_asks_as_many_questions_with_a_short_queue_as_with_a_long_one(client, new_comparison):
    for number in range(1, 4):
        new_comparison(number)
    client.get(COMPARE)
    cache.clear()
    with CaptureQueriesContext(connection) as few:
        client.get(COMPARE)
    for number in range(4, 30):
        new_comparison(number)
    cache.clear()
    with CaptureQueriesContext(connection) as many:
        client.get(COMPARE)

    assert len(many.captured_queries) <= len(few.captured_queries) <= 16


def test_an_archived_project_takes_no_answer(client, assignment, project):
    Project.objects.update(archived_at=timezone.now())
    answer = {"client_key": uuid4(), "order": "1>2"}

    refused = client.post(judge_url(assignment), answer, headers=FETCH)
    skipped = client.post(f"/assignments/{assignment.key}/skip/")

    assert (refused.status_code, skipped.status_code) == (403, 403)
    assert not Judgment.objects.exists()
