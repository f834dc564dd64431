from types import SimpleNamespace

from django.template import Context, Template
from django.utils import translation

PART = Template(
    "{% load kept i18n %}{% kept name %}{% translate 'Sign in' %} {{ name }} {{ drawn.pop }} "
    "{{ csrf_token }} /assignments/{{ assignment.key }}/{% endkept %}"
)


def draw(name: str, token: str, key: str, drawn: list[int]) -> str:
    context = {"name": name, "csrf_token": token, "assignment": SimpleNamespace(key=key), "drawn": drawn}
    return PART.render(Context(context))


def test_a_part_is_drawn_once_and_holds_each_pages_own_token_and_key():
    drawn = [2, 1]

    first = draw("Ada", "token-1", "key-1", drawn)
    second = draw("Ada", "token-2", "key-2", drawn)

    assert first.endswith("Ada 1 token-1 /assignments/key-1/")
    assert second.endswith("Ada 1 token-2 /assignments/key-2/")
    assert drawn == [2]


def test_another_name_or_language_is_another_part():
    drawn = [3, 2, 1]

    draw("Bea", "t", "k", drawn)
    draw("Cleo", "t", "k", drawn)
    with translation.override("de"):
        draw("Bea", "t", "k", drawn)

    assert drawn == []
