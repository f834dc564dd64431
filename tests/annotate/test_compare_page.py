import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from annotate.assignment import next_for
from annotate.models import Assignment, AssignmentState, Judgment, Project, Response

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


def test_htmx_gets_the_part_and_a_browser_without_it_the_page(client, assignment):
    part = client.get(COMPARE, headers={"HX-Request": "true"})
    page = client.get(COMPARE)

    assert part.content.decode().lstrip().startswith('<div id="screen"')
    assert page.content.decode().startswith("<!doctype html>")
    assert "HX-Request" in page["Vary"]


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
    assert "does not offer ties" in tie.content.decode()
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
        assert "This page is for raters of Shop answers" in refused.content.decode()


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


def test_the_number_of_queries_does_not_grow_with_the_queue(
    client, new_comparison, django_assert_max_num_queries
):
    for number in range(1, 4):
        new_comparison(number)
    client.get(COMPARE)
    with django_assert_max_num_queries(14):
        client.get(COMPARE)
    for number in range(4, 30):
        new_comparison(number)
    with django_assert_max_num_queries(14):
        client.get(COMPARE)
