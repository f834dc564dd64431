from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate import browsing, exchange, judging, withdrawing
from annotate.answers import Posted
from annotate.assignment import next_for
from annotate.models import (
    AuditEvent,
    Comparison,
    Flag,
    Judgment,
    Preference,
    Prompt,
    Response,
    Role,
    Void,
    content_hash,
)


@pytest.fixture
def boss(admin, signed_in):
    return signed_in(admin)


@pytest.fixture
def judge(project):
    def answer(rater, order="1>2") -> Judgment:
        posted = Posted(client_key=uuid4(), order=order)
        return judging.judge(next_for(rater, project), posted.read(project.rules, 2))[0]

    return answer


def found(form) -> list:
    assert form.is_valid(), form.errors
    return list(form.page().rows)


def prompts(project, **values) -> list[str]:
    return [one.name for one in found(browsing.Prompts(values, project=project))]


def responses(project, **values) -> list[str]:
    return [one.text for one in found(browsing.Responses(values, project=project))]


def judgments(project, **values) -> list[int]:
    return [one.pk for one in found(browsing.Judgments(values, project=project, named=True))]


@pytest.fixture
def many_prompts(project):
    def make(count: int, text: str = "What is it?") -> None:
        start = Prompt.objects.count()
        Prompt.objects.bulk_create(
            Prompt(
                project=project,
                name=f"p{number}",
                messages=[{"role": "user", "content": text}],
                cluster="c",
                split="train",
                content_hash=str(number),
            )
            for number in range(start, start + count)
        )

    return make


# Words


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("parcel", ["p3", "p1"]),
        ("PARCEL", ["p3", "p1"]),
        ("parcel lost", ["p1"]),
        ('"lost parcel"', []),
        ("“parcel is lost”", ["p1"]),
        ("größe", ["p2"]),
        ("GRÖSSE", []),
        ("GRÖßE", ["p2"]),
        ("届きません", ["p3"]),
        ("50%", []),
        ("_", ["p4"]),
        ('say \\"hi', ["p4"]),
        ("p2", ["p2"]),
        ("nowhere", []),
    ],
)
def test_words_are_found_in_every_script_and_taken_literally(project, words, names):
    texts = (
        "My parcel is lost",
        "Welche Größe?",
        "Parcel 荷物が届きません",
        'A_B: say "hi"\nnow',
        "50 per cent",
    )
    for number, text in enumerate(texts, 1):
        Prompt.objects.create(
            project=project,
            name=f"p{number}",
            messages=[{"role": "user", "content": text}],
            cluster="c",
            split="train",
            content_hash=str(number),
        )
    words = words.replace('\\"', '"') if words.startswith("say") else words

    assert prompts(project, q=words) == names


def test_responses_are_found_by_words_state_and_split(project, new_comparison, admin):
    new_comparison(1, texts=("yes", "no"))
    new_comparison(2, texts=("yes", "never"))
    out = Response.objects.get(text="no 1")
    withdrawing.withdraw_response(out, "rude", admin)
    flagged = Response.objects.get(text="never 2")
    lone = Response.objects.create(prompt=flagged.prompt, text="alone", content_hash=content_hash("alone"))

    assert responses(project, q="yes") == ["yes 2", "yes 1"]
    assert responses(project, q="n", state="in use") == ["alone", "never 2"]
    assert responses(project, state="withdrawn") == ["no 1"]
    assert lone.text not in responses(project, state="compared")
    split = flagged.prompt.split
    assert "never 2" in responses(project, split=split)
    assert responses(project, split="train") == [
        one.text for one in Response.objects.filter(prompt__split="train").order_by("-pk")
    ]


def test_flagged_responses_are_found(project, assignment):
    Flag.objects.create(
        assignment=assignment, response_id=assignment.shown[0], kind="other", client_key=uuid4()
    )

    assert len(responses(project, state="flagged")) == 1


def test_prompts_are_found_by_tag_and_state(project, new_comparison, admin):
    for number, tags in ((1, ["lang:de"]), (2, ["lang:de", "größe"]), (3, [])):
        prompt = new_comparison(number).prompt
        Prompt.objects.filter(pk=prompt.pk).update(tags=tags)
    withdrawing.withdraw_prompt(Prompt.objects.get(name="p1"), "double", admin)

    assert prompts(project, tag="lang:de") == ["p2", "p1"]
    assert prompts(project, tag="größe") == ["p2"]
    assert prompts(project, tag="lang:de", state="in use") == ["p2"]
    assert prompts(project, state="withdrawn") == ["p1"]


def test_judgments_are_found_by_rater_batch_purpose_words_and_use(
    project, new_comparison, alice, bob, judge, admin
):
    new_comparison(1, batch="round 1")
    new_comparison(2)
    first, second = judge(alice), judge(alice)
    third = judge(bob) if next_for(bob, project) else None
    withdrawing.leave_out(second, "asleep", admin)

    assert third is None
    assert judgments(project) == [second.pk, first.pk]
    assert judgments(project, rater=project.pseudonym(alice.pk)) == [second.pk, first.pk]
    assert judgments(project, rater=project.pseudonym(bob.pk)) == []
    assert judgments(project, batch="round 1") == [first.pk]
    assert judgments(project, batch=browsing.NO_BATCH) == [second.pk]
    assert judgments(project, purpose="uniform") == [second.pk, first.pk]
    assert judgments(project, purpose="gold") == []
    assert judgments(project, state="used") == [first.pk]
    assert judgments(project, state="left out") == [second.pk]
    assert judgments(project, state="left out by an admin") == [second.pk]
    assert judgments(project, state="taken back") == []
    assert judgments(project, q="p1") == [first.pk]


def test_every_reason_of_the_model_can_be_asked_for():
    from annotate.models.judging import left_out

    reasons = [case.result.value for case in left_out("", "assignment__").cases]

    assert list(browsing.REASONS) == reasons


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("prompts/?split=best", "best"),
        ("prompts/?state=gone", "gone"),
        ("responses/?colour=red", "There is no filter “colour”."),
        ("judgments/?rater=alice", "alice"),
        ("judgments/?before=now", "Enter a whole number"),
        ("judgments/?before=0", "greater than or equal to 1"),
        ("prompts/?q=" + "x" * 201, "at most 200"),
    ],
)
def test_a_filter_that_is_none_is_refused_by_name(boss, project, alice, address, word):
    answer = boss.get(f"/projects/shop/{address}")

    assert answer.status_code == 400
    assert word in answer.content.decode()


# Pages


def test_pages_follow_each_other_without_a_gap_and_without_offset(project, many_prompts):
    many_prompts(browsing.PAGE * 2 + 7)
    seen, before = [], None
    with CaptureQueriesContext(connection) as queries:
        while True:
            form = browsing.Prompts({"before": before} if before else {}, project=project)
            assert form.is_valid()
            page = form.page()
            seen += [one.pk for one in page.rows]
            if (before := page.before) is None:
                break

    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == browsing.PAGE * 2 + 7
    assert not [
        query for query in queries if "OFFSET" in query["sql"] and "tags" not in query["sql"].split("FROM")[0]
    ]


def test_a_search_reads_windows_until_its_page_is_full(project, many_prompts, monkeypatch):
    monkeypatch.setattr(browsing, "WINDOW", 10)
    many_prompts(3, "a needle")
    many_prompts(45)
    many_prompts(2, "a needle")

    form = browsing.Prompts({"q": "needle"}, project=project)

    assert len(found(form)) == 5
    assert form.page().before is None


def test_a_search_whose_time_is_up_goes_on_where_it_stopped(project, many_prompts, monkeypatch):
    monkeypatch.setattr(browsing, "WINDOW", 10)
    monkeypatch.setattr(browsing, "PATIENCE", -1)
    many_prompts(1, "a needle")
    many_prompts(25)
    before, pages = None, 0
    while True:
        form = browsing.Prompts({"q": "needle", **({"before": before} if before else {})}, project=project)
        assert form.is_valid()
        page, pages = form.page(), pages + 1
        if page.rows:
            break
        assert page.unfinished
        before = page.before

    assert pages >= 3
    assert [one.name for one in page.rows] == ["p0"]


def test_a_full_page_of_a_search_leads_to_the_next(project, many_prompts, monkeypatch):
    monkeypatch.setattr(browsing, "WINDOW", 30)
    monkeypatch.setattr(browsing, "PAGE", 20)
    many_prompts(70, "a needle")
    names, before = [], None
    while True:
        form = browsing.Prompts({"q": "needle", **({"before": before} if before else {})}, project=project)
        assert form.is_valid()
        page = form.page()
        names += [one.name for one in page.rows]
        if (before := page.before) is None:
            break

    assert names == [f"p{number}" for number in reversed(range(70))]


def test_an_unfinished_search_says_so(boss, project, many_prompts, monkeypatch):
    monkeypatch.setattr(browsing, "WINDOW", 10)
    monkeypatch.setattr(browsing, "PATIENCE", -1)
    many_prompts(15)

    page = boss.get("/projects/shop/prompts/?q=needle").content.decode()

    assert "Look further back" in page
    assert "Nothing among the newest ones." in page


@pytest.mark.parametrize("what", ["prompts", "responses", "judgments"])
def test_a_list_takes_as_many_statements_however_long_it_is(
    boss, project, new_comparison, alice, judge, what, django_assert_max_num_queries
):
    for number in range(1, 12):
        new_comparison(number)
        judge(alice)

    with django_assert_max_num_queries(14):
        assert boss.get(f"/projects/shop/{what}/").status_code == 200


# One prompt, one judgment


def test_a_prompt_is_shown_with_its_responses_and_judgments(boss, comparison, alice, judge):
    judgment = judge(alice, "2>1")
    number = {key: place for place, key in enumerate(comparison.response_ids, 1)}
    best = number[judgment.order[0][0]]

    page = boss.get(f"/projects/shop/prompts/{comparison.prompt_id}/").content.decode()

    assert "Question 1?" in page
    assert "good 1" in page
    assert f"{best} &gt; {3 - best}" in page
    assert f"/projects/shop/judgments/{judgment.pk}/" in page


def test_a_judgment_is_shown_as_the_rater_saw_it(boss, alice, judge, comparison, project):
    first = judge(alice, "2>1")
    judging.withdraw(first.assignment)
    second = judge(alice, "1=2")

    page = boss.get(f"/projects/shop/judgments/{second.pk}/").content.decode()

    sides = [Response.objects.get(pk=key).text for key in first.assignment.shown]
    assert page.index(sides[0]) < page.index(sides[1])
    assert "alice answered <b>A = B</b>" in page.replace("\n", " ")
    assert "B &gt; A, taken back" in page


def test_model_text_is_harmless_on_these_pages(boss, new_comparison, alice, judge):
    comparison = new_comparison(1, texts=("<script>alert(1)</script>", "<img src=x onerror=alert(1)>"))
    judgment = judge(alice)

    for address in (f"prompts/{comparison.prompt_id}/", f"judgments/{judgment.pk}/", "responses/"):
        page = boss.get(f"/projects/shop/{address}").content.decode()
        assert "<script>alert" not in page
        assert "<img" not in page


def test_a_researcher_sees_pseudonyms_and_no_buttons(
    project, comparison, alice, judge, researcher, signed_in
):
    judgment = judge(alice)
    client = signed_in(researcher)

    for address in ("judgments/", f"judgments/{judgment.pk}/", f"prompts/{comparison.prompt_id}/"):
        page = client.get(f"/projects/shop/{address}").content.decode()
        assert "alice" not in page
        assert project.pseudonym(alice.pk) in page
        assert "Withdraw" not in page
    assert (
        client.post(f"/projects/shop/judgments/{judgment.pk}/leave-out/", {"reason": "x"}).status_code == 403
    )


def test_what_belongs_to_another_project_is_not_found(boss, project, comparison, alice, judge, admin):
    from annotate import projects

    judgment = judge(alice)
    projects.make("other", "Other", None, admin)
    response = comparison.response_ids[0]

    for address in (f"prompts/{comparison.prompt_id}/", f"judgments/{judgment.pk}/"):
        assert boss.get(f"/projects/other/{address}").status_code == 404
    for address in (
        f"prompts/{comparison.prompt_id}/withdraw/",
        f"prompts/{comparison.prompt_id}/bring-back/",
        f"responses/{response}/withdraw/",
        f"responses/{response}/bring-back/",
        f"judgments/{judgment.pk}/leave-out/",
        f"judgments/{judgment.pk}/take-in/",
    ):
        assert boss.post(f"/projects/other/{address}", {"reason": "x"}).status_code == 404
    assert not Void.objects.exists()


# Out and in again


def test_a_withdrawn_prompt_is_asked_no_more_and_its_judgments_are_not_used(
    boss, project, new_comparison, alice, bob, judge
):
    prompt = new_comparison(1).prompt
    judgment = judge(alice)
    new_comparison_of_it = Comparison.objects.get()
    Comparison.objects.filter(pk=new_comparison_of_it.pk).update(wanted=2, places_left=1)
    lease = next_for(bob, project)
    assert Preference.objects.used().count() == 1

    assert boss.post(f"/projects/shop/prompts/{prompt.pk}/withdraw/", {"reason": "double"}).status_code == 302

    lease.refresh_from_db()
    assert lease.state == "expired"
    assert next_for(bob, project) is None
    assert not Preference.objects.used().exists()
    assert Judgment.objects.with_reason().get(pk=judgment.pk).left_out == "text withdrawn"
    assert AuditEvent.objects.get(action="withdrew a prompt").detail == {
        "prompt": "p1",
        "reason": "double",
        "comparisons": 1,
    }

    boss.post(f"/projects/shop/prompts/{prompt.pk}/bring-back/")

    assert next_for(bob, project) is not None
    assert Preference.objects.used().count() == 1


def test_a_withdrawn_response_closes_its_comparisons_until_it_is_back(boss, project, comparison, alice):
    one, other = comparison.response_ids
    for response in (one, other):
        boss.post(f"/projects/shop/responses/{response}/withdraw/", {"reason": "rude"})
    assert next_for(alice, project) is None

    boss.post(f"/projects/shop/responses/{one}/bring-back/")
    assert next_for(alice, project) is None
    boss.post(f"/projects/shop/responses/{other}/bring-back/")
    assert next_for(alice, project).comparison == comparison


def test_what_was_held_back_stays_so_when_its_prompt_returns(project, comparison, admin, alice):
    Comparison.objects.update(closed_at="2026-01-01T00:00:00Z", closed_reason="near-identical")

    withdrawing.withdraw_prompt(comparison.prompt, "double", admin)
    withdrawing.bring_back_prompt(comparison.prompt, admin)

    comparison.refresh_from_db()
    assert comparison.closed_reason == "near-identical"


def test_a_prompt_that_returns_leaves_the_comparisons_of_withdrawn_responses_closed(comparison, admin):
    withdrawing.withdraw_prompt(comparison.prompt, "double", admin)
    withdrawing.withdraw_response(Response.objects.get(pk=comparison.response_ids[0]), "rude", admin)

    withdrawing.bring_back_prompt(comparison.prompt, admin)

    comparison.refresh_from_db()
    assert comparison.closed_reason == withdrawing.BY_RESPONSE


def test_a_withdrawn_comparison_can_return(boss, project, comparison, alice):
    address = f"/projects/shop/comparisons/{comparison.pk}"
    boss.post(f"{address}/withdraw/", {"reason": "silly"})
    assert next_for(alice, project) is None
    assert (
        "Closed: withdrawn: silly"
        in boss.get(f"/projects/shop/prompts/{comparison.prompt_id}/").content.decode()
    )

    boss.post(f"{address}/bring-back/")
    assert next_for(alice, project).comparison == comparison


def test_a_judgment_that_is_left_out_is_not_exported_until_it_is_taken_in(
    boss, project, comparison, alice, judge
):
    judgment = judge(alice)
    address = f"/projects/shop/judgments/{judgment.pk}"

    boss.post(f"{address}/leave-out/", {"reason": "asleep"})
    boss.post(f"{address}/leave-out/", {"reason": "again"})

    assert Void.objects.count() == 1
    assert not Preference.objects.used().exists()
    assert "asleep" in boss.get(f"{address}/").content.decode()

    boss.post(f"{address}/take-in/")

    assert Preference.objects.used().count() == 1
    assert list(exchange.pairs(project))
    assert Void.objects.get().undone_at is not None
    boss.post(f"{address}/leave-out/", {"reason": "once more"})
    assert Void.objects.count() == 2


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_nothing_is_withdrawn_without_a_reason(boss, comparison, alice, judge, reason):
    judgment = judge(alice)
    for address in (
        f"prompts/{comparison.prompt_id}/withdraw/",
        f"responses/{comparison.response_ids[0]}/withdraw/",
        f"comparisons/{comparison.pk}/withdraw/",
        f"judgments/{judgment.pk}/leave-out/",
    ):
        assert boss.post(f"/projects/shop/{address}", {"reason": reason}).status_code == 400
    assert not Void.objects.exists()
    assert not AuditEvent.objects.exists()


def test_raters_find_none_of_this(comparison, signed_in, person):
    client = signed_in(person("rita", Role.RATER))

    for address in ("prompts/", "responses/", "judgments/", "queue/", f"prompts/{comparison.prompt_id}/"):
        assert client.get(f"/projects/shop/{address}").status_code == 403
