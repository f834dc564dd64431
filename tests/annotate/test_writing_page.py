import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from annotate.models import (
    AuditEvent,
    Demonstration,
    DemonstrationReview,
    DemonstrationVersion,
    Guideline,
    Membership,
    Prompt,
    Role,
    User,
)
from annotate.writing import next_to_write
from tests.annotate.writing_parts import accepted, prompt_wanting, said, sampled, written

WRITE, REVIEW, LIST = "/projects/shop/write/", "/projects/shop/review/", "/projects/shop/demonstrations/"


@pytest.fixture
def wanda(person) -> User:
    return person("wanda-the-writer", Role.WRITER)


@pytest.fixture
def will(person) -> User:
    return person("will-the-writer", Role.WRITER)


@pytest.fixture
def client(signed_in, wanda) -> Client:
    return signed_in(wanda)


@pytest.fixture
def demonstration(project, wanda) -> Demonstration:
    prompt_wanting(project)
    return next_to_write(wanda, project)


def address(demonstration: Demonstration, act: str) -> str:
    return f"/demonstrations/{demonstration.key}/{act}/"


def answer(text: str = "An answer.", **more) -> dict:
    return {"client_key": str(uuid4()), "text": text, "seen": "", **more}


def seen_on(page: str) -> str:
    return re.search(r'name="seen" value="([^"]*)"', page)[1]


# Writing


def test_the_page_shows_the_prompt_and_what_is_sent_is_stored_and_the_next_comes(
    client, demonstration, project
):
    prompt_wanting(project, 2)
    page = client.get(WRITE).content.decode()
    assert "Question 1?" in page
    assert 'name="guideline" value="1"' in page

    sent = client.post(
        address(demonstration, "send"), answer("  Well,\r\nso. ", guideline=1, active_ms=5000), follow=True
    )

    version = DemonstrationVersion.objects.get()
    assert (version.text, version.guideline.version, version.active_ms) == ("Well,\nso.", 1, 5000)
    assert sent.redirect_chain == [(WRITE, 302)]
    assert "Question 2?" in sent.content.decode()


def test_the_version_of_the_guideline_that_was_shown_is_kept(client, demonstration, project):
    Guideline.objects.create(project=project, version=2, text="New.")

    client.post(address(demonstration, "send"), answer(guideline=1))

    assert DemonstrationVersion.objects.get().guideline.version == 1


@pytest.mark.parametrize(
    ("posted", "reason"),
    [
        ({"text": " \n "}, "There is nothing to send yet."),
        ({"text": "x" * 50_001}, "This has 50,001 characters; up to 50,000 can be kept."),
        ({"client_key": "7"}, "client_key: Enter a valid UUID."),
        ({"guideline": "9"}, "guideline: Shop answers has no guideline version 9."),
        ({"active_ms": "-1"}, "active_ms: Ensure this value"),
        ({"text": "a\x00b"}, "Null characters are not allowed."),
    ],
)
def test_what_can_not_be_taken_is_refused_with_its_reason_and_stays_on_the_page(
    client, demonstration, posted, reason
):
    refused = client.post(address(demonstration, "send"), answer("Words to keep") | posted)

    assert refused.status_code == 400
    assert reason in refused.content.decode()
    assert posted.get("text", "Words to keep").strip() in refused.content.decode()
    assert not DemonstrationVersion.objects.exists()


def test_a_draft_is_saved_without_scripts_and_with_them(client, demonstration):
    plain = client.post(address(demonstration, "draft"), {"text": "Half", "seen": ""}, follow=True)
    page = plain.content.decode()
    assert ">\nHalf</textarea>" in page

    script = client.post(
        address(demonstration, "draft"),
        {"text": "Half of it", "seen": seen_on(page)},
        headers={"Accept": "application/json"},
    )

    demonstration.refresh_from_db()
    assert script.json()["version"] == demonstration.draft_saved_at.isoformat()
    assert demonstration.draft == "Half of it"


def test_of_two_tabs_the_one_behind_is_told_and_may_then_send(client, demonstration):
    client.post(address(demonstration, "draft"), {"text": "First tab", "seen": ""})

    script = client.post(
        address(demonstration, "draft"),
        {"text": "Second tab", "seen": ""},
        headers={"Accept": "application/json"},
    )
    told = client.post(address(demonstration, "send"), answer("Second tab"))

    assert (script.status_code, script.json()["text"]) == (409, "First tab")
    page = told.content.decode()
    assert told.status_code == 409
    assert "You changed this text in another tab" in page
    assert "First tab" in page
    assert "Second tab" in page
    assert not DemonstrationVersion.objects.exists()
    sent = client.post(address(demonstration, "send"), answer("Second tab", seen=seen_on(page)))
    assert sent.status_code == 302
    assert DemonstrationVersion.objects.get().text == "Second tab"


def test_a_response_to_edit_is_in_the_field_and_a_saved_draft_tells_what_changed(client, project, wanda):
    source = sampled(prompt_wanting(project), "It costs <b>$20</b>.")
    Demonstration.objects.create(project=project, prompt=source.prompt, source=source)
    page = client.get(WRITE).content.decode()
    assert ">\nIt costs &lt;b&gt;$20&lt;/b&gt;.</textarea>" in page
    demonstration = Demonstration.objects.get()

    saved = client.post(
        address(demonstration, "draft"),
        {"text": "It costs $25.", "seen": "", "changes": "1"},
        headers={"Accept": "application/json"},
    )

    assert ["+", "25"] in saved.json()["changes"]
    page = client.get(WRITE).content.decode()
    assert "<del>&lt;b&gt;" in page
    assert "<ins>25</ins>" in page


def test_a_skip_needs_a_reason_and_the_prompt_is_gone(client, demonstration):
    assert client.post(address(demonstration, "skip"), {}).status_code == 400
    assert client.post(address(demonstration, "skip"), {"reason": "bored"}).status_code == 400

    done = client.post(address(demonstration, "skip"), {"reason": "knowledge", "words": "taxes"}, follow=True)

    assert "Nothing to write now" in done.content.decode()
    demonstration.refresh_from_db()
    assert demonstration.skip_reason == "I don’t know enough about it: taxes"


def test_a_text_whose_prompt_went_to_somebody_else_is_shown_to_be_copied(
    client, demonstration, project, will
):
    Demonstration.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    next_to_write(will, project)

    refused = client.post(address(demonstration, "send"), answer("Much work"))

    assert refused.status_code == 409
    assert "went to somebody else" in refused.content.decode()
    assert "Much work</textarea>" in refused.content.decode()


def test_an_open_page_renews_its_lease(client, signed_in, demonstration, will):
    Demonstration.objects.update(leased_until=timezone.now() + timedelta(minutes=1))

    assert client.post(address(demonstration, "hold")).status_code == 204
    assert signed_in(will).post(address(demonstration, "hold")).status_code == 409

    demonstration.refresh_from_db()
    assert demonstration.leased_until > timezone.now() + timedelta(minutes=20)


def test_what_was_sent_can_be_taken_back_until_it_is_reviewed(client, signed_in, project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project)
    assert address(demonstration, "take-back") in client.get(WRITE).content.decode()
    prompt_wanting(project, 2)
    page = client.get(WRITE).content.decode()
    assert "Question 2?" in page
    assert address(demonstration, "take-back") in page

    page = client.post(address(demonstration, "take-back"), follow=True).content.decode()

    assert "You took this one back" in page
    client.post(address(demonstration, "send"), answer("Better", seen=seen_on(page)))
    signed_in(will).get(REVIEW)
    assert client.post(address(demonstration, "take-back")).status_code == 409


def test_the_setting_and_the_warning_are_shown_and_masked_words_are_not(client, project, wanda):
    project.settings = {"system_prompt": "You sell lamps.", "content_warning": "Rude.", "masks": ["Question"]}
    project.save()
    prompt_wanting(project)

    page = client.get(WRITE).content.decode()

    assert page.index("Rude.") < page.index("You sell lamps.")
    assert "Question 1?" not in page


# Reviewing


@pytest.mark.parametrize(
    ("verdict", "state"), [("accept", "accepted"), ("send_back", "sent_back"), ("reject", "rejected")]
)
def test_a_review_is_stored_and_done(signed_in, project, wanda, will, verdict, state):
    prompt_wanting(project)
    demonstration = written(wanda, project, "Read me")
    client = signed_in(will)
    assert "Read me" in client.get(REVIEW).content.decode()

    done = client.post(
        address(demonstration, "review"),
        {"client_key": uuid4(), "version": 1, "verdict": verdict, "note": "Because."},
        follow=True,
    )

    demonstration.refresh_from_db()
    assert demonstration.state == state
    assert "Nothing to review now" in done.content.decode()
    assert DemonstrationReview.objects.get().reviewer == will


@pytest.mark.parametrize(
    ("posted", "reason"),
    [
        ({"verdict": "send_back", "note": " "}, "Say why you send it back; its author reads this."),
        ({"verdict": "reject"}, "Say why you reject it; its author reads this."),
        ({"verdict": "burn"}, "verdict: Select a valid choice."),
        ({"version": "x"}, "version: Enter a whole number."),
        ({"note": "n" * 2001}, "at most 2000 characters"),
    ],
)
def test_a_review_that_says_too_little_is_refused(signed_in, project, wanda, will, posted, reason):
    prompt_wanting(project)
    demonstration = written(wanda, project)
    client = signed_in(will)
    client.get(REVIEW)

    refused = client.post(
        address(demonstration, "review"), {"client_key": uuid4(), "version": 1, "verdict": "accept"} | posted
    )

    assert refused.status_code == 400
    assert reason in refused.content.decode()
    assert not DemonstrationReview.objects.exists()


def test_author_and_reviewer_never_see_each_others_name(signed_in, project, wanda, will):
    prompt_wanting(project, 1)
    demonstration = written(wanda, project)
    author, reviewer = signed_in(wanda), signed_in(will)
    pages = [reviewer.get(REVIEW)]
    post = {"client_key": uuid4(), "version": 1, "verdict": "send_back", "note": "Say more."}
    pages.append(reviewer.post(address(demonstration, "review"), post, follow=True))
    back = author.get(WRITE)
    assert "Say more." in back.content.decode()
    author.post(address(demonstration, "send"), answer("More.", seen=seen_on(back.content.decode())))
    again = reviewer.get(REVIEW)
    assert "Say more." in again.content.decode()

    for page in [*pages, again]:
        assert "wanda-the-writer" not in page.content.decode()
    for page in (back, author.get(WRITE)):
        assert "will-the-writer" not in page.content.decode()


def test_left_to_others_it_comes_to_the_next_reviewer(signed_in, project, person, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project)
    judy = signed_in(person("judy", Role.ADJUDICATOR))
    signed_in(will).get(REVIEW)
    assert "Nothing to review now" in judy.get(REVIEW).content.decode()

    signed_in(will).post(address(demonstration, "leave"))

    assert "Would you send this response?" in judy.get(REVIEW).content.decode()


def test_a_decided_one_tells_the_second_reviewer_and_keeps_their_note(
    signed_in, project, person, wanda, will
):
    prompt_wanting(project)
    demonstration = accepted(wanda, will, project)

    refused = signed_in(person("judy", Role.ADJUDICATOR)).post(
        address(demonstration, "review"),
        {"client_key": uuid4(), "version": 1, "verdict": "reject", "note": "A long note."},
    )

    assert refused.status_code == 409
    assert "decided already" in refused.content.decode()
    assert "A long note." in refused.content.decode()


# Who may


@pytest.mark.parametrize("act", ["draft", "send", "skip", "take-back", "hold", "review", "leave"])
def test_what_is_not_ones_own_is_not_found(signed_in, demonstration, person, wanda, will, act):
    stranger = User.objects.create_user("stranger")
    rater = person("rated", Role.RATER)
    people = [stranger, rater] if act in ("hold",) else [stranger, rater, will]
    people += [wanda] if act in ("review", "leave") else []

    for who in people:
        posted = signed_in(who).post(address(demonstration, act), {**answer("Not mine"), "reason": "other"})
        assert posted.status_code == 404, who
    demonstration.refresh_from_db()
    assert (demonstration.state, demonstration.draft) == ("open", "")


@pytest.mark.parametrize("page", [WRITE, REVIEW, LIST, "/projects/shop/demonstrations.jsonl"])
def test_each_page_is_for_its_people(signed_in, person, project, admin, researcher, wanda, page):
    for_writers = page in (WRITE, REVIEW)
    judy, rita = person("judy", Role.ADJUDICATOR), person("rita", Role.RATER)
    allowed = {wanda, judy} if for_writers else {admin, researcher}

    for who in (wanda, judy, rita, admin, researcher):
        assert signed_in(who).get(page).status_code == (200 if who in allowed else 403), who
    assert signed_in(User.objects.create_user("stranger")).get(page).status_code == 404


def test_a_paused_writer_reads_why(client, demonstration, wanda):
    Membership.objects.filter(user=wanda).update(
        paused_at=timezone.now(), pause_reason="Read the guidelines."
    )

    page = client.get(WRITE).content.decode()

    assert "Read the guidelines." in page
    assert "Question 1?" not in page


# The admin's pages


def test_an_admin_asks_for_demonstrations_and_calls_them_off(signed_in, project, admin):
    for number in range(1, 4):
        prompt_wanting(project, number, wanted=0)
    client = signed_in(admin)

    asked = client.post(f"{LIST}ask/", {"count": 2, "people": 2, "how": "fresh"}, follow=True)

    assert "4 of 4 that are wanted wait for a writer" in asked.content.decode()
    assert sorted(Prompt.objects.values_list("demonstrations_wanted", flat=True)) == [0, 2, 2]
    client.post(f"{LIST}call-off/")
    assert not Prompt.objects.filter(demonstrations_wanted__gt=0).exists()
    events = AuditEvent.objects.filter(action__startswith="demonstrations-").order_by("pk")
    assert [(event.action, event.detail) for event in events] == [
        ("demonstrations-asked", {"count": 2, "people": 2, "how": "fresh"}),
        ("demonstrations-called-off", {"places": 4}),
    ]


@pytest.mark.parametrize(
    ("posted", "reason"),
    [
        ({"count": "0"}, "greater than or equal to 1"),
        ({"count": "many"}, "Enter a whole number."),
        ({"count": "2"}, "2 prompts are asked for, but 1 of the training split are free."),
        (
            {"how": "edit"},
            "1 prompts are asked for, but 0 of the training split are free and have a response",
        ),
        ({"how": "magic"}, "Select a valid choice."),
        ({"people": "10"}, "less than or equal to 9"),
    ],
)
def test_what_can_not_be_asked_is_refused_with_its_reason(signed_in, project, admin, posted, reason):
    prompt_wanting(project, wanted=0)

    refused = signed_in(admin).post(f"{LIST}ask/", {"count": "1", "people": "1", "how": "fresh"} | posted)

    assert refused.status_code == 400
    assert reason in refused.content.decode()
    assert not Prompt.objects.filter(demonstrations_wanted__gt=0).exists()


def test_a_researcher_reads_and_changes_nothing(signed_in, project, researcher, demonstration):
    client = signed_in(researcher)

    assert "Ask writers" not in client.get(LIST).content.decode()
    assert client.post(f"{LIST}ask/", {"count": 1, "people": 1, "how": "fresh"}).status_code == 403
    assert client.post(f"{LIST}call-off/").status_code == 403
    assert client.post(f"{LIST}{demonstration.key}/withdraw/", {"reason": "x"}).status_code == 403


def test_the_list_filters_by_state_and_goes_on_after_its_last_row(
    signed_in, project, admin, wanda, monkeypatch
):
    from annotate.views import writing as pages

    monkeypatch.setattr(pages, "PAGE", 2)
    for number in range(1, 6):
        prompt_wanting(project, number)
        written(wanda, project)
    client, seen = signed_in(admin), []
    page = client.get(f"{LIST}?state=submitted").content.decode()
    while True:
        seen += re.findall(r">Question (\d)\?<", page)
        link = re.search(r'href="(\?state=submitted&amp;before=\d+)"', page)
        if link is None:
            break
        page = client.get(LIST + link[1].replace("&amp;", "&")).content.decode()

    assert sorted(seen) == ["1", "2", "3", "4", "5"]
    assert "None is in this state." in client.get(f"{LIST}?state=accepted").content.decode()
    assert client.get(f"{LIST}?state=nonsense&before=nonsense").status_code == 200


def test_one_demonstration_shows_its_versions_with_names_and_can_be_withdrawn(
    signed_in, project, admin, wanda, will
):
    from annotate.reviewing import review

    prompt_wanting(project)
    demonstration = written(wanda, project, "One two three")
    review(demonstration, will, said("send_back", "Too short"))
    written(wanda, project, "One two four")
    client = signed_in(admin)

    page = client.get(f"{LIST}{demonstration.key}/").content.decode()

    for words in ("wanda-the-writer", "will-the-writer", "Too short", "<del>three</del>", "<ins>four</ins>"):
        assert words in page
    withdraw = f"{LIST}{demonstration.key}/withdraw/"
    assert client.post(withdraw, {"reason": ""}).status_code == 400
    client.post(withdraw, {"reason": "copied"})
    assert client.post(withdraw, {"reason": "copied"}).status_code == 409
    demonstration.refresh_from_db()
    assert demonstration.state == "given_up"
    assert AuditEvent.objects.get(action="demonstration-withdrawn").detail["reason"] == "copied"


def test_a_page_says_when_nobody_could_review(signed_in, project, admin, wanda):
    prompt_wanting(project)

    assert "Nobody can review what is written" in signed_in(admin).get(LIST).content.decode()


def test_what_people_write_can_not_act_on_any_page(signed_in, project, admin, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project, "<script>alert(1)</script> ![x](https://evil.example/p.png)")

    for who, page in ((will, REVIEW), (admin, f"{LIST}{demonstration.key}/")):
        html = signed_in(who).get(page).content.decode()
        assert "<script>alert" not in html
        assert "<img" not in html


def test_the_number_of_queries_does_not_grow_with_the_work(
    client, project, wanda, django_assert_max_num_queries
):
    prompt_wanting(project)
    client.get(WRITE)
    with django_assert_max_num_queries(18):
        client.get(WRITE)
    for number in range(2, 30):
        prompt_wanting(project, number)
    with django_assert_max_num_queries(18):
        client.get(WRITE)
