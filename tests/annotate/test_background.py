from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate import background
from annotate.assignment import next_for
from annotate.judging import Answer, judge, withdraw
from annotate.models import (
    BackgroundAnswer,
    BackgroundQuestion,
    Comparison,
    Judgment,
    Membership,
    Role,
    User,
)


@pytest.fixture
def question(project) -> BackgroundQuestion:
    return BackgroundQuestion.objects.create(
        project=project,
        name="region",
        text="Where do you live?",
        options=["North", "South", "East"],
        declared={"North": 0.6, "South": 0.4},
    )


@pytest.fixture
def panel_of(project, person, question):
    """Make so many people for each option; an option of "" prefers not to say."""

    def make(**people: int) -> background.Answered:
        for option, count in people.items():
            for number in range(count):
                user = person(f"{option}-{number}", Role.RATER)
                background.answer(project, user, {question: [option] if option != "unsaid" else []})
        return background.panel(project)[0]

    return make


def test_answers_are_stored_by_consent_under_a_name_that_leads_to_nobody(project, question, alice, signed_in):
    client = signed_in(alice)

    assert client.post("/projects/shop/background/", {f"q{question.pk}": "North"}).status_code == 400
    assert not BackgroundAnswer.objects.exists()
    form = {f"q{question.pk}": "North", "consent": "on"}
    assert client.post("/projects/shop/background/", form).url == "/projects/shop/compare/"

    answer = BackgroundAnswer.objects.get()
    assert answer.options == ["North"]
    assert answer.consented_at is not None
    assert "alice" not in answer.person
    assert str(alice.pk) != answer.person
    columns = {field.name for field in BackgroundAnswer._meta.get_fields()}
    assert columns == {"id", "question", "person", "options", "consented_at"}


def test_every_question_offers_not_to_say_and_that_is_stored_as_such(project, question, alice, signed_in):
    client = signed_in(alice)
    assert "Prefer not to say" in client.get("/projects/shop/background/").content.decode()

    client.post("/projects/shop/background/", {f"q{question.pk}": background.UNSAID, "consent": "on"})

    assert BackgroundAnswer.objects.get().options == []


def test_nothing_is_chosen_before_the_rater_chooses(project, question, alice, signed_in):
    client = signed_in(alice)
    assert " checked" not in client.get("/projects/shop/background/").content.decode()

    background.answer(project, alice, {question: []})
    page = client.get("/projects/shop/background/").content.decode()
    assert page.count(" checked") == 1
    assert f'value="{background.UNSAID}" checked' in page


def test_a_question_left_out_stores_nothing(project, question, alice, signed_in):
    signed_in(alice).post("/projects/shop/background/", {"consent": "on"})

    assert not BackgroundAnswer.objects.exists()


def test_an_option_that_is_not_offered_is_refused(project, question, alice, signed_in):
    form = {f"q{question.pk}": "West", "consent": "on"}

    assert signed_in(alice).post("/projects/shop/background/", form).status_code == 400
    assert not BackgroundAnswer.objects.exists()


def test_several_may_hold_where_the_question_says_so(project, question, alice, signed_in):
    BackgroundQuestion.objects.update(several=True)
    client = signed_in(alice)
    client.post("/projects/shop/background/", {f"q{question.pk}": ["North", "East"], "consent": "on"})
    assert BackgroundAnswer.objects.get().options == ["North", "East"]

    client.post(
        "/projects/shop/background/", {f"q{question.pk}": [background.UNSAID, "North"], "consent": "on"}
    )
    assert BackgroundAnswer.objects.get().options == ["North"]


def test_a_person_takes_their_answers_back(project, question, alice, bob, signed_in):
    background.answer(project, bob, {question: ["South"]})
    client = signed_in(alice)
    client.post("/projects/shop/background/", {f"q{question.pk}": "North", "consent": "on"})

    client.post("/projects/shop/background/", {"forget": "1"})

    assert background.answers_of(project, alice) == {}
    assert background.answers_of(project, bob) == {question.pk: ["South"]}


def test_the_panel_stands_beside_the_declared_users(panel_of):
    answered = panel_of(North=20, South=20, East=10)

    north, south, east = answered.cells
    assert (north.people, south.people, east.people) == (20, 20, 10)
    assert answered.said == 50
    assert north.share == 0.4
    assert north.low < 0.4 < north.high
    assert north.apart, "60 % were declared and 26 to 54 % are here"
    assert not south.apart
    assert east.declared is None


@pytest.mark.parametrize(
    ("people", "shown"),
    [
        ({"North": 9, "South": 9}, set()),
        ({"North": 30, "South": 9, "East": 20}, {"North"}),  # East goes too, else South follows
        ({"North": 30, "South": 9, "East": 9}, {"North"}),  # two cells of 18 people
        ({"North": 30, "South": 4, "East": 4}, set()),  # 8 people outside: too few
        ({"North": 30}, set()),  # nobody outside: it would say it of each
        ({"North": 30, "South": 20, "East": 10, "unsaid": 3}, {"North", "South", "East"}),
    ],
)
def test_no_cell_of_fewer_than_ten_is_shown_or_follows_from_the_rest(panel_of, people, shown):
    answered = panel_of(**people)

    assert {cell.option for cell in answered.cells if cell.people is not None} == shown
    if not shown:
        assert answered.said is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(0, 60), min_size=2, max_size=8)
)
def test_what_is_kept_back_is_two_cells_of_ten_people_or_nothing_is_shown(counts):
    shown = background.visible(counts, sum(counts.values()), several=False)
    hidden = set(counts) - shown

    assert all(counts[one] >= background.ENOUGH for one in shown)
    if shown and hidden:
        assert len(hidden) >= 2
        assert sum(counts[one] for one in hidden) >= background.ENOUGH


def test_robots_and_those_who_see_everything_are_not_in_the_panel(panel_of, project, question, admin):
    panel_of(North=10, South=10)
    background.answer(project, admin, {question: ["North"]})
    User.objects.filter(username="South-0").update(simulated=True)

    assert [cell.people for cell in background.panel(project)[0].cells] == [None, None, None]


def test_groups_are_compared_only_where_ten_of_each_have_judged(panel_of, project, new_comparison):
    panel_of(North=10, South=11, East=10)
    new_comparison(1)
    Comparison.objects.update(wanted=30, places_left=30)
    for membership in Membership.objects.filter(role=Role.RATER).select_related("user"):
        if membership.user.username.startswith(("South-0", "East")):
            continue
        tie = membership.user.username.startswith("North")
        positions = [[1, 2]] if tie else [[1], [2]]
        judge(next_for(membership.user, project), Answer(client_key=uuid4(), positions=positions))

    north, south, _ = background.panel(project)[0].cells
    ties = {cell.option: cell.measures[0] for cell in (north, south)}
    assert (ties["North"].name, ties["North"].mean, ties["South"].mean) == ("Ties", 1, 0)
    assert ties["South"].people == 10

    last = Judgment.objects.filter(assignment__rater__username="South-1").get()
    withdraw(last.assignment)
    north, south, _ = background.panel(project)[0].cells
    assert north.measures == south.measures == ()


def test_an_admin_writes_a_question_with_declared_shares(project, admin, signed_in):
    form = {"text": "First languages?", "options": "German = 60\nTurkish=12.5\nOther", "several": "on"}

    assert signed_in(admin).post("/projects/shop/questions/new/", form).status_code == 302

    question = BackgroundQuestion.objects.get()
    assert question.options == ["German", "Turkish", "Other"]
    assert question.declared == {"German": 0.6, "Turkish": 0.125}
    assert question.several


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("only one", "Two to 40 options"),
        ("a\nb\na", "Line 3: “a” is there twice."),
        ("a = many\nb", "Line 1: “many” is no share"),
        ("a = 70\nb = 40", "The shares add up to 110%."),
        ("a\n" + "b" * 81, "Line 2: an option has at most 80 characters."),
    ],
)
def test_a_question_that_cannot_be_is_refused_by_its_line(project, admin, signed_in, options, words):
    answer = signed_in(admin).post("/projects/shop/questions/new/", {"text": "?", "options": options})

    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not BackgroundQuestion.objects.exists()


def test_an_option_that_was_chosen_stays_as_it_is(project, question, alice, admin, signed_in):
    background.answer(project, alice, {question: ["North"]})
    path = f"/projects/shop/questions/{question.pk}/"

    refused = signed_in(admin).post(path, {"text": "Where?", "options": "South\nEast"})
    assert refused.status_code == 400
    assert "“North” has answers already" in refused.content.decode()

    assert signed_in(admin).post(path, {"text": "Where?", "options": "South\nNorth\nWest"}).status_code == 302


def test_a_retired_question_is_asked_no_more_and_keeps_its_answers(
    project, question, alice, admin, signed_in
):
    background.answer(project, alice, {question: ["North"]})
    path = f"/projects/shop/questions/{question.pk}/retire/"

    signed_in(admin).post(path)
    assert "Where do you live?" not in signed_in(alice).get("/projects/shop/background/").content.decode()
    assert BackgroundAnswer.objects.count() == 1

    signed_in(admin).post(path, {"back": "1"})
    assert "Where do you live?" in signed_in(alice).get("/projects/shop/background/").content.decode()


def test_no_page_but_the_panel_holds_what_people_said(project, question, alice, admin, signed_in):
    background.answer(project, alice, {question: ["North"]})
    client = signed_in(admin)
    member = Membership.objects.get(user=alice).pk

    for path in ("people/", f"people/{member}/", "audit/", "pay/", "panel/", "audit.csv", "pay.csv"):
        answer = client.get(f"/projects/shop/{path}")
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        if path != "panel/":
            assert b"North" not in body
        assert background._person(project, alice.pk).encode() not in body
