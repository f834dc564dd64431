"""Raters' pages in the rater's language: German is complete, and everything else stays English."""

import ast
import gettext
import re
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone, translation

from annotate import people
from annotate.models import Guideline, Membership, Role, SignInLink, User
from annotate.writing import next_to_write
from annotate.writing_forms import LONGEST, DraftForm
from config.pages import broken
from tests.annotate import catalogue
from tests.annotate.rater_screen import enter, press
from tests.annotate.writing_parts import prompt_wanting

COMPARE = "/projects/shop/compare/"
GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}
CATALOGUE = catalogue.ROOT / "locale/de/LC_MESSAGES/django.po"
NAMED = re.compile(r"%(?:\(\w+\))?[sdr%]|{\w*}|<[^>]+>")  # what a translation must keep
SAME_EVERYWHERE = {"Rankloop", "min", "Esc"}
SPEAKERS = (
    *("answers", "forms", "judging", "keys", "reviewing", "writing", "writing_forms"),
    *(f"views/{name}" for name in ("account", "doors", "joining", "rating", "writing")),
)


def shown(response) -> str:
    """The words of a page, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def speak(user: User, language: str) -> None:
    User.objects.filter(pk=user.pk).update(language=language)


# The catalogue


def test_every_text_has_a_german_one():
    wanted = {*catalogue.in_templates(), *catalogue.in_modules()}
    known = {entry.key: entry for entry in catalogue.read(CATALOGUE)}
    assert len(wanted) > 400
    assert wanted - known.keys() == set()
    assert [key for key in wanted if known[key].fuzzy or not all(known[key].forms)] == []


def test_the_catalogue_has_no_text_that_nobody_says():
    said_somewhere = {*catalogue.in_templates(), *catalogue.in_modules()}
    assert {entry.key for entry in catalogue.read(CATALOGUE)[1:]} - said_somewhere == set()


def test_a_translation_keeps_each_placeholder_and_tag():
    changed = [
        (entry.key[0], text)
        for entry in catalogue.read(CATALOGUE)[1:]
        for number, text in enumerate(entry.forms)
        if kept(text) != kept(entry.key[number] or "")
    ]
    assert changed == []


def kept(text: str) -> Counter:
    return Counter(NAMED.findall(text))


def test_a_text_of_several_has_both_forms():
    for entry in catalogue.read(CATALOGUE)[1:]:
        assert len(entry.forms) == (2 if entry.key[1] else 1), entry.key


def test_the_compiled_catalogue_is_what_the_file_says():
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        found = gettext.GNUTranslations(file)._catalog
    assert found == catalogue.compiled(catalogue.read(CATALOGUE))


def test_german_says_du_and_stays_calm():
    for entry in catalogue.read(CATALOGUE)[1:]:
        for text in entry.forms:
            assert not re.search(r"!|\b[Bb]itte\b|\b(Ihnen|Ihre?[nmrs]?)\b", text), text
            assert '"' not in re.sub(r"<[^>]+>", "", text), text


def test_no_page_of_raters_says_anything_outside_the_translation():
    found = {
        path.name: words
        for path in catalogue.raters_templates()
        if (words := [w for w in catalogue.bare_words(path.read_text()) if w not in SAME_EVERYWHERE])
    }
    assert found == {}


@pytest.mark.parametrize("name", SPEAKERS)
def test_no_refusal_to_a_rater_is_only_english(name):
    module = ast.parse((catalogue.ROOT / f"annotate/{name}.py").read_text())
    bare = [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and (catalogue.name_of(node.func).endswith("Error") or catalogue.name_of(node.func) == "add_error")
        for one in node.args[-1:]
        if isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and " " in str(one.value))
    ]
    assert bare == []


# Who is spoken to how


def test_a_raters_page_is_german_where_the_browser_asks_for_it(signed_in, alice, assignment):
    page = signed_in(alice).get(COMPARE, **GERMAN)
    assert '<html lang="de"' in page.content.decode()
    for words in ("A ist besser", "Gleich gut", "Beide schlecht", "Überspringen", "Leitfaden", "Rückgängig"):
        assert words in shown(page)
    assert "is better" not in shown(page)


def test_the_raters_own_choice_wins_over_the_browser(signed_in, alice, assignment):
    client = signed_in(alice)
    client.post("/language/", {"language": "en"})
    assert "A is better" in shown(client.get(COMPARE, **GERMAN))
    client.post("/language/", {"language": "de"})
    assert "A ist besser" in shown(client.get(COMPARE, HTTP_ACCEPT_LANGUAGE="en"))
    client.post("/language/", {"language": ""})
    assert "A is better" in shown(client.get(COMPARE, HTTP_ACCEPT_LANGUAGE="en"))


def test_the_account_offers_the_languages_and_leads_back(signed_in, alice):
    client = signed_in(alice)
    for words in ("English", "Deutsch", "Wie dein Browser es will"):
        assert words in shown(client.get("/account/", **GERMAN))
    answer = client.post(
        "/language/", {"language": "de", "next": "/account/"}, HTTP_REFERER="/account/", follow=True
    )
    assert answer.redirect_chain[-1][0] == "/account/"
    assert "Dein Konto" in shown(answer)


def test_a_language_that_we_do_not_speak_is_english(signed_in, alice, assignment):
    page = signed_in(alice).get(COMPARE, HTTP_ACCEPT_LANGUAGE="fr")
    assert '<html lang="en"' in page.content.decode()
    assert "A is better" in shown(page)


def test_a_stranger_with_a_german_browser_signs_in_in_german(db):
    page = Client().get("/sign-in/", **GERMAN)
    assert '<html lang="de"' in page.content.decode()
    assert "Passwort" in shown(page)
    page = Client().post("/sign-in/", {"username": "nobody", "password": "nothing"}, **GERMAN)
    assert "Name und Passwort passen nicht zusammen." in shown(page)


@pytest.mark.parametrize(
    "path", ["/", "/projects/shop/", "/projects/shop/demonstrations/", "/projects/shop/quality/"]
)
def test_an_admins_page_stays_english_with_a_german_browser(signed_in, admin, path):
    speak(admin, "de")
    page = signed_in(admin).get(path, **GERMAN)
    assert page.status_code == 200
    assert '<html lang="en"' in page.content.decode()
    assert "Signed in as" in shown(page)


def test_one_request_does_not_speak_for_the_next(signed_in, alice, admin, assignment):
    signed_in(alice).get(COMPARE, **GERMAN)
    assert translation.get_language() == "en"
    assert '<html lang="en"' in signed_in(admin).get("/").content.decode()


def test_a_rater_is_refused_in_their_language(signed_in, alice, assignment):
    speak(alice, "de")
    client = signed_in(alice)
    page = client.get("/projects/shop/quality/")
    assert page.status_code == 403
    assert "Deine Rolle hier: Bewertung." in shown(page)
    page = client.post(reverse("annotate:judge", args=[assignment.key]), {"client_key": "x"})
    assert page.status_code == 400
    assert "Dieses Urteil wurde nicht angenommen" in shown(page)
    assert client.get("/projects/other/compare/").status_code == 404
    assert "Unter dieser Adresse ist nichts" in shown(client.get("/projects/other/compare/"))


def test_a_form_that_is_too_old_is_refused_in_the_raters_language(alice, assignment):
    speak(alice, "de")
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    page = client.post(reverse("annotate:judge", args=[assignment.key]))
    assert page.status_code == 403
    assert "Diese Seite ist älter als deine Anmeldung" in shown(page)


def test_the_page_of_what_broke_is_german_without_a_request():
    with translation.override("de"):
        page = broken(RequestFactory().get("/"))
    assert "Bei uns ist etwas kaputtgegangen" in shown(page)
    assert '<html lang="de"' in page.content.decode()


# What is stored, counted and dated


def test_a_pause_by_the_qualification_set_is_read_in_each_language(signed_in, alice, project):
    reason = "5 of 8 answers of the qualification set were as expected, and it takes 6."
    Membership.objects.filter(user=alice).update(paused_at=timezone.now(), pause_reason=reason)
    client = signed_in(alice)
    assert "waren 5 von 8 Urteilen wie erwartet; nötig sind 6." in shown(client.get(COMPARE, **GERMAN))
    assert reason in shown(client.get(COMPARE))


def test_an_admins_own_words_stay_as_they_are(signed_in, alice, project):
    Membership.objects.filter(user=alice).update(paused_at=timezone.now(), pause_reason="Call me first.")
    assert "Call me first." in shown(signed_in(alice).get(COMPARE, **GERMAN))


def test_dates_on_a_raters_page_are_german(signed_in, alice, project, comparison):
    day = datetime(2025, 3, 5, 12, tzinfo=UTC)
    guideline = Guideline.objects.create(pk=20250305, project=project, version=2, text="Pick one.")
    Guideline.objects.filter(pk=guideline.pk).update(created_at=day)
    assert "Fassung 2, gilt seit 5. März 2025." in shown(signed_in(alice).get(COMPARE, **GERMAN))


def test_the_day_an_invitation_ended_is_german(project, admin):
    invitation, address = people.invite(project, admin, people.Terms())
    invitation.expires_at = datetime(2025, 3, 5, 12, tzinfo=UTC)
    invitation.save()
    page = Client().get(urlsplit(address).path, **GERMAN)
    assert page.status_code == 410
    assert "Diese Einladung galt bis zum 5. März 2025." in shown(page)


def test_joining_is_german_from_the_link_to_the_account(project, admin):
    _, address = people.invite(project, admin, people.Terms(role=Role.ADJUDICATOR))
    client = Client(headers={"accept-language": "de"})
    path = urlsplit(address).path
    assert "Deine Rolle: Entscheidung." in shown(client.get(path))
    page = client.post(path, {"name": "a b", "password": "short"})
    assert page.status_code == 400
    assert "Ein Name besteht nur aus Buchstaben" in shown(page)
    assert "Dieses Passwort ist zu kurz. Es braucht mindestens 12 Zeichen." in shown(page)
    client.post(path, {"name": "nora"})
    assert "Entscheidung in Shop answers." in shown(client.get("/account/"))


def test_a_one_time_link_greets_in_german(alice):
    page = Client().get(f"/sign-in/{SignInLink.issue(alice)}/", **GERMAN)
    assert "Willkommen, alice" in shown(page)
    assert "Deine Rolle in Shop answers: Bewertung." in shown(page)


def test_writing_is_german(signed_in, person, project):
    writer = person("wanda", Role.WRITER)
    prompt_wanting(project)
    page = signed_in(writer).get("/projects/shop/write/", **GERMAN)
    assert "Schreib die beste Antwort, die du geben kannst" in shown(page)
    demonstration = next_to_write(writer, project)
    page = signed_in(writer).post(f"/demonstrations/{demonstration.key}/send/", {"text": " "}, **GERMAN)
    assert "Es gibt noch nichts zum Abschicken." in shown(page)


def test_the_last_judgments_are_listed_in_german(signed_in, alice, assignment):
    client = signed_in(alice)
    client.get(COMPARE)
    client.post(
        reverse("annotate:judge", args=[assignment.key]),
        {"client_key": "0b2f6e9e-6a0e-4b0b-9a3d-0d1d1f0a0001", "order": "1>2"},
    )
    page = client.get("/projects/shop/recent/", **GERMAN)
    assert "Deine letzten zehn Urteile" in shown(page)
    assert "A ist besser" in shown(page)
    assert "gerade eben" in shown(page)


def test_numbers_on_a_raters_page_are_german(signed_in, alice, project):
    with translation.override("de"):
        form = DraftForm({"text": "a" * (LONGEST + 1)})
        assert "Das sind 50.001 Zeichen; höchstens 50.000" in str(form.errors["text"])


def test_a_german_rater_judges_in_the_browser(open_page, alice, new_comparison):
    speak(alice, "de")
    new_comparison(1)
    new_comparison(2)
    page = enter(open_page(viewport={"width": 1440, "height": 900}, locale="de-DE"), alice)
    assert page.locator("html").get_attribute("lang") == "de"
    press(page, "1")
    page.locator("#saved").filter(has_text="Gesichert").wait_for()
    assert page.locator("#toast").inner_text().startswith("A ist besser")
