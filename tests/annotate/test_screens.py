import pytest
from django.template.loader import render_to_string
from django.test import RequestFactory

from annotate import screens
from annotate.assignment import next_for
from annotate.views.rating import shown


@pytest.fixture(autouse=True)
def nothing_drawn():
    screens._pages.clear()


def ask(user, role="rater", token="t" * 32):
    request = RequestFactory().get("/")
    request.user, request.role, request.session = user, role, {"_csrftoken": token}
    request.META["CSRF_COOKIE"] = token
    return request


def both(request, assignment, project) -> tuple[str, str]:
    """What is put into a drawn page, and what the template says of the same context; tokens are one-off."""
    context = shown(request, assignment, project)
    screens.draw(request, context)
    again = screens.draw(request, context)
    plain = render_to_string(screens.TEMPLATE, context, request)
    return without_tokens(again), without_tokens(plain)


def without_tokens(page: str) -> str:
    first, *rest = page.split('name="csrfmiddlewaretoken" value="')
    return first + "".join(part.partition('"')[2] for part in rest)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scheme": "strength", "rationale": "strong", "confidence": True},
        {"scheme": "ranking", "labels": ["untrue"], "criteria": ["honest", "kind"]},
        {"scheme": "scores", "content_warning": "Hard to read", "system_prompt": "Be *brief*."},
    ],
)
@pytest.mark.parametrize("count", [2, 4])
def test_a_drawn_page_is_what_the_template_says(project, alice, new_comparison, settings, count):
    project.settings = settings
    project.save()
    new_comparison(1, texts=tuple(f"**{n}** <script>& 'words'" for n in range(count)))
    if settings.get("scheme") == "strength" and count > 2:
        pytest.skip("a strength is asked of two")
    assignment = next_for(alice, project)

    drawn, plain = both(ask(alice), assignment, project)

    assert drawn == plain
    assert "\x00" not in drawn


def test_a_conversation_of_many_turns_is_drawn_with_its_turns(project, alice, new_comparison):
    comparison = new_comparison(1)
    turns = [
        {"role": ("user", "assistant")[n % 2], "content": f"turn {n} " + "long " * 200} for n in range(5)
    ]
    comparison.prompt.messages = turns
    comparison.prompt.save()

    drawn, plain = both(ask(alice), next_for(alice, project), project)

    assert drawn == plain
    assert drawn.index("turn 0") < drawn.index("turn 3") < drawn.index("turn 4")


def test_what_comes_anew_is_each_comparisons_own(project, alice, bob, new_comparison):
    project.settings = {"overlap": 2}
    project.save()
    new_comparison(1)
    new_comparison(2)
    hers, his = next_for(alice, project), next_for(bob, project)

    first = screens.draw(ask(alice, token="a" * 32), shown(ask(alice), hers, project))
    second = screens.draw(ask(bob, token="b" * 32), shown(ask(bob), his, project))

    assert len(screens._pages) == 1
    assert str(hers.key) in first
    assert "alice" in first
    assert str(his.key) in second
    assert "bob" in second
    assert str(hers.key) not in second
    assert "alice" not in second


def test_a_text_that_looks_like_a_mark_stays_a_text(project, alice, new_comparison):
    new_comparison(1, texts=("\x1bnumber\x1b key", "%(key)s {number}"))
    assignment = next_for(alice, project)

    drawn, plain = both(ask(alice), assignment, project)

    assert drawn == plain


def test_other_settings_names_or_keys_are_another_page(project, alice, new_comparison):
    new_comparison(1)
    assignment = next_for(alice, project)

    def draw() -> str:
        return screens.draw(ask(alice), shown(ask(alice), assignment, project))

    draw()
    project.settings = {**project.settings, "labels": ["untrue"]}
    vars(project).pop("rules", None)
    labelled = draw()
    alice.keys = {"skip": "q"}
    remapped = draw()
    project.name = "Another"
    renamed = draw()

    assert "untrue" in labelled
    assert 'data-key="q"' in remapped
    assert 'data-key="q"' not in labelled
    assert "Another" in renamed
    assert len(screens._pages) == 4


def test_only_so_many_pages_are_kept(project, alice, new_comparison, monkeypatch):
    monkeypatch.setattr(screens, "MOST", 2)
    new_comparison(1)
    assignment = next_for(alice, project)

    for name in "abc":
        project.name = name
        screens.draw(ask(alice), shown(ask(alice), assignment, project))

    assert len(screens._pages) == 2
