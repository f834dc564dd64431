import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from annotate import demonstrations
from annotate.models import (
    Demonstration,
    DemonstrationReview,
    DemonstrationState,
    DemonstrationVersion,
    Membership,
    Project,
    Prompt,
    Role,
    User,
)
from annotate.reviewing import leave, next_to_review, review
from annotate.writing import (
    GoneError,
    OtherDraftError,
    draft_version,
    expire,
    next_to_write,
    save_draft,
    send,
    skip,
    take_back,
    waiting,
)
from tests.annotate.writing_parts import accepted, prompt_wanting, said, sampled, sent, written


@pytest.fixture
def wanda(person) -> User:
    return person("wanda", Role.WRITER)


@pytest.fixture
def will(person) -> User:
    return person("will", Role.WRITER)


@pytest.fixture
def judy(person) -> User:
    return person("judy", Role.ADJUDICATOR)


def let_leases_run_out() -> None:
    past = timezone.now() - timedelta(seconds=1)
    Demonstration.objects.exclude(leased_until=None).update(leased_until=past)
    Demonstration.objects.exclude(review_until=None).update(review_until=past)


def test_a_writer_gets_a_prompt_and_a_reload_gives_the_same_with_its_lease_renewed(project, wanda):
    prompt_wanting(project)
    first = next_to_write(wanda, project)
    Demonstration.objects.update(leased_until=timezone.now() + timedelta(minutes=1))

    again = next_to_write(wanda, project)

    assert again == first
    assert again.prompt.name == "p1"
    assert again.leased_until > timezone.now() + timedelta(minutes=20)


def test_a_prompt_goes_to_as_many_writers_as_it_wants_and_nobody_gets_it_twice(project, person):
    prompt_wanting(project, wanted=2)
    writers = [person(f"w{number}", Role.WRITER) for number in range(3)]

    taken = [next_to_write(writer, project) for writer in writers]
    send(taken[0], sent())

    assert [found is not None for found in taken] == [True, True, False]
    assert next_to_write(writers[0], project) is None


def test_a_skipped_prompt_goes_to_somebody_else_and_never_comes_back(project, wanda, will):
    prompt_wanting(project)
    demonstration = next_to_write(wanda, project)

    assert skip(demonstration, "Not my language")

    assert next_to_write(wanda, project) is None
    assert next_to_write(will, project).prompt == demonstration.prompt
    let_leases_run_out()
    expire(project)
    assert next_to_write(wanda, project) is None
    demonstration.refresh_from_db()
    assert (demonstration.state, demonstration.skip_reason) == ("given_up", "Not my language")


def test_a_lease_that_ran_out_frees_its_place_and_a_draft_waits_for_a_return(project, wanda, will):
    prompt_wanting(project)
    demonstration = next_to_write(wanda, project)
    save_draft(demonstration, "Half of it", seen="")
    assert next_to_write(will, project) is None
    let_leases_run_out()

    theirs = next_to_write(will, project)
    assert theirs is not None
    assert next_to_write(wanda, project) is None
    skip(theirs, "No")

    again = next_to_write(wanda, project)
    assert again == demonstration
    assert again.draft == "Half of it"
    assert again.state == DemonstrationState.OPEN


def test_a_text_sent_after_its_lease_counts_while_the_place_is_free(project, wanda, will):
    prompt_wanting(project)
    late, gone = next_to_write(wanda, project), None
    let_leases_run_out()
    expire(project)

    send(late, sent("Late"))

    late.refresh_from_db()
    assert late.state == DemonstrationState.SUBMITTED
    prompt_wanting(project, 2)
    gone = next_to_write(wanda, project)
    let_leases_run_out()
    assert next_to_write(will, project).prompt == gone.prompt
    with pytest.raises(GoneError, match="went to somebody else"):
        send(gone, sent("Too late"))
    assert Demonstration.objects.filter(prompt=gone.prompt, state="open").count() == 1


def test_a_draft_is_kept_and_the_tab_that_is_behind_is_told(project, wanda):
    prompt_wanting(project)
    demonstration = next_to_write(wanda, project)
    first = save_draft(demonstration, "From the first tab", seen="")

    with pytest.raises(OtherDraftError) as told:
        save_draft(demonstration, "From the second tab", seen="")
    with pytest.raises(OtherDraftError):
        send(demonstration, sent("From the second tab", seen=""))

    assert told.value.demonstration.draft == "From the first tab"
    assert save_draft(demonstration, "From the first tab", seen="").draft_saved_at == first.draft_saved_at
    second = save_draft(demonstration, "From the second tab", seen=draft_version(first))
    assert second.draft == "From the second tab"


def test_a_text_sent_ten_times_is_one_version(project, wanda):
    prompt_wanting(project)
    demonstration, posted = next_to_write(wanda, project), sent(guideline=project.guideline, active_ms=9000)

    results = [send(demonstration, posted) for _ in range(10)]

    assert [new for _, new in results] == [True] + [False] * 9
    version = DemonstrationVersion.objects.get()
    assert (version.number, version.text, version.active_ms) == (1, "An answer.", 9000)
    assert version.guideline.version == 1
    with pytest.raises(GoneError, match="sent this one already"):
        send(demonstration, sent("Another"))


def test_what_was_taken_back_comes_to_its_author_first_and_not_once_it_is_reviewed(project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project, "With a typo")
    prompt_wanting(project, 2)

    assert take_back(demonstration)

    again = next_to_write(wanda, project)
    assert (again, again.draft) == (demonstration, "With a typo")
    assert next_to_review(will, project) is None
    send(again, sent("Without", seen=draft_version(again)))
    assert next_to_review(will, project) == demonstration
    assert not take_back(demonstration)


def test_nobody_reviews_what_they_wrote(project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project)

    assert next_to_review(wanda, project) is None
    with pytest.raises(GoneError, match="Nobody reviews what they wrote"):
        review(demonstration, wanda, said("accept"))
    with pytest.raises(IntegrityError), transaction.atomic():
        Demonstration.objects.update(reviewer=wanda)
    assert next_to_review(will, project) == demonstration


def test_one_person_at_a_time_reviews_and_a_lapsed_review_goes_on(project, wanda, will, judy):
    prompt_wanting(project)
    demonstration = written(wanda, project)

    assert next_to_review(will, project) == next_to_review(will, project) == demonstration
    assert next_to_review(judy, project) is None
    with pytest.raises(GoneError, match="Somebody else reviews"):
        review(demonstration, judy, said("accept"))
    let_leases_run_out()
    assert next_to_review(judy, project) == demonstration


def test_what_a_reviewer_left_to_others_comes_back_last(project, wanda, will):
    for number in (1, 2):
        prompt_wanting(project, number)
        written(wanda, project)
    first = next_to_review(will, project)

    leave(first, will)

    second = next_to_review(will, project)
    assert second != first
    review(second, will, said("accept"))
    assert next_to_review(will, project) == first


def test_sent_back_it_goes_to_its_author_before_anything_else_with_the_note(project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project, "Short.")
    prompt_wanting(project, 2)
    in_hand = next_to_write(wanda, project)
    assert in_hand.prompt.name == "p2"

    review(demonstration, will, said("send_back", "Say why."))

    again = next_to_write(wanda, project)
    assert (again, again.draft) == (demonstration, "Short.")
    assert next_to_write(will, project) is None  # neither prompt has a place
    send(again, sent("Short, because.", seen=draft_version(again)))
    assert next_to_write(wanda, project) == in_hand
    assert next_to_review(will, project) == demonstration
    review(demonstration, will, said("accept", version=2))
    demonstration.refresh_from_db()
    assert demonstration.state == DemonstrationState.ACCEPTED
    history = [(v.number, v.text, v.review.verdict, v.review.note) for v in demonstration.versions.all()]
    assert history == [(1, "Short.", "send_back", "Say why."), (2, "Short, because.", "accept", "")]


def test_a_review_of_a_version_that_was_replaced_is_refused(project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project)
    take_back(demonstration)
    written(wanda, project, "Second")

    with pytest.raises(GoneError, match="another version"):
        review(demonstration, will, said("accept", version=1))
    assert not DemonstrationReview.objects.exists()


def test_a_review_posted_twice_is_stored_once_and_another_is_refused(project, wanda, will, judy):
    prompt_wanting(project)
    demonstration, posted = written(wanda, project), said("accept")

    assert [review(demonstration, will, posted)[1] for _ in range(3)] == [True, False, False]

    with pytest.raises(GoneError, match="decided already"):
        review(demonstration, judy, said("reject", "No"))


def test_rejected_its_place_goes_to_somebody_else(project, wanda, will, judy):
    prompt_wanting(project)
    demonstration = written(wanda, project)

    review(demonstration, judy, said("reject", "Off the point"))

    assert next_to_write(wanda, project) is None
    assert next_to_write(will, project).prompt == demonstration.prompt


def test_an_edit_keeps_its_difference_and_passes_its_source_on_when_it_is_given_up(project, wanda, will):
    prompt = prompt_wanting(project, wanted=0)
    source = sampled(prompt, "It costs $20.")
    demonstrations.ask_for(project, 1, people=1, edited=True)
    skip(next_to_write(wanda, project), "No")

    demonstration = written(will, project, "It costs $25.")

    assert demonstration.source == source
    steps = demonstration.versions.get().difference
    assert steps == [["=", "It costs $"], ["-", "20"], ["+", "25"], ["=", "."]]
    assert Demonstration.objects.count() == 2


def test_prompts_are_drawn_from_those_to_train_on_and_never_more_than_there_are(project):
    for number in range(1, 9):
        prompt_wanting(project, number, wanted=0)
    Prompt.objects.filter(name="p8").update(split="policy_eval")
    sampled(Prompt.objects.get(name="p1"), "One")

    with pytest.raises(demonstrations.AskingError, match="8 prompts are asked for, but 7"):
        demonstrations.ask_for(project, 8, people=1, edited=False)
    with pytest.raises(demonstrations.AskingError, match="2 prompts are asked for, but 1 "):
        demonstrations.ask_for(project, 2, people=1, edited=True)
    assert not Prompt.objects.filter(demonstrations_wanted__gt=0).exists()
    demonstrations.ask_for(project, 3, people=2, edited=False, seed=1)

    assert (
        list(Prompt.objects.filter(demonstrations_wanted=2).values_list("split", flat=True)) == ["train"] * 3
    )
    assert demonstrations.figures(project)["waiting"] == 6


def test_people_who_edit_get_different_responses_and_none_that_names_a_model(project, wanda, will):
    project.settings = {"masks": ["Rankbot"]}
    project.save()
    prompt = prompt_wanting(project, wanted=0)
    for text in ("I am rankbot.", "One", "Two"):
        sampled(prompt, text)

    demonstrations.ask_for(project, 1, people=2, edited=True)

    texts = {next_to_write(writer, project).source.text for writer in (wanda, will)}
    assert texts == {"One", "Two"}


def test_called_off_what_is_begun_is_seen_through(project, wanda, will):
    for number in (1, 2):
        sampled(prompt_wanting(project, number, wanted=0), f"Text {number}")
    demonstrations.ask_for(project, 2, people=2, edited=True)
    begun = next_to_write(wanda, project)

    assert demonstrations.call_off(project) == 3

    assert next_to_write(will, project) is None
    assert Demonstration.objects.get() == begun
    assert demonstrations.figures(project)["waiting"] == 0


def test_what_an_admin_withdraws_leaves_the_file_and_its_place_opens(project, wanda, will, judy):
    prompt_wanting(project)
    demonstration = accepted(wanda, judy, project)

    assert demonstrations.withdraw(demonstration, "copied from a book")
    assert not demonstrations.withdraw(demonstration, "again")

    assert list(demonstrations.demonstrations(project)) == []
    demonstration.refresh_from_db()
    assert demonstration.skip_reason == "Withdrawn: copied from a book"
    assert demonstration.versions.count() == 1
    assert next_to_write(will, project) is not None


def test_a_writer_who_is_paused_or_whose_project_is_archived_gets_nothing(project, wanda, will):
    prompt_wanting(project, wanted=2)
    written(will, project)
    Membership.objects.filter(user=wanda).update(paused_at=timezone.now())

    assert next_to_write(wanda, project) is None
    assert next_to_review(wanda, project) is None
    Membership.objects.update(paused_at=None)
    project.archived_at = timezone.now()
    assert next_to_write(wanda, project) is None
    assert next_to_review(wanda, project) is None


def test_prompts_go_to_writers_who_have_their_tags(project, wanda, will):
    project.settings = {"routes": ["lang:"]}
    project.save()
    prompt_wanting(project, tags=("lang:de", "topic:lamps"))
    Membership.objects.filter(user=will).update(tags=["lang:de"])

    assert next_to_write(wanda, project) is None
    assert waiting(Membership.objects.get(user=wanda))["to_write"] == 0
    assert next_to_write(will, project) is not None


def test_withdrawn_prompts_and_those_of_other_projects_are_not_asked(project, wanda):
    prompt_wanting(Project.objects.create(slug="other", name="Other"))
    Prompt.objects.filter(pk=prompt_wanting(project).pk).update(withdrawn_at=timezone.now())

    assert next_to_write(wanda, project) is None


# Nobody rates what they wrote


def test_an_accepted_one_becomes_a_response_of_its_author_once(project, wanda, judy):
    prompt_wanting(project)
    demonstration = written(wanda, project, "Mine")
    with pytest.raises(ValueError, match="only an accepted one"):
        demonstrations.as_response(demonstration)
    review(demonstration, judy, said("accept"))
    demonstration.refresh_from_db()

    response = demonstrations.as_response(demonstration)

    assert demonstrations.as_response(demonstration) == response
    assert (response.text, response.author, response.prompt) == ("Mine", wanda, demonstration.prompt)


def test_own_words_are_those_of_a_response_and_those_left_as_they_were_sampled(project, wanda, will, judy):
    prompt = prompt_wanting(project, wanted=0)
    same, other = sampled(prompt, "Good as it is."), sampled(prompt, "Another.")
    Prompt.objects.update(demonstrations_wanted=1)
    demonstration = accepted(wanda, judy, project, "Good as it is.")

    assert demonstrations.as_response(demonstration) == same
    assert same.author is None
    assert set(demonstrations.own_words(wanda)) == {same}
    assert not demonstrations.own_words(will).exists()
    assert other not in demonstrations.own_words(wanda)


def test_comparisons_with_own_words_are_left_out_by_the_rule(project, wanda, will, judy, new_comparison):
    from annotate.comparisons import add_comparison
    from annotate.models import Comparison

    prompt = prompt_wanting(project, 7)
    response = demonstrations.as_response(accepted(wanda, judy, project, "Mine"))
    mine = add_comparison(project, prompt, [response, sampled(prompt, "Theirs")], probability=1, place=0.5)
    others = new_comparison(1)

    for_wanda = Comparison.objects.exclude(demonstrations.with_own_words(wanda))
    for_will = Comparison.objects.exclude(demonstrations.with_own_words(will))

    assert set(for_wanda) == {others}
    assert set(for_will) == {mine, others}


def test_the_queue_gives_nobody_their_own_words(project, wanda, will, judy):
    from annotate.assignment import next_for
    from annotate.comparisons import add_comparison

    prompt = prompt_wanting(project)
    response = demonstrations.as_response(accepted(wanda, judy, project, "Mine"))
    add_comparison(project, prompt, [response, sampled(prompt, "Theirs")], probability=1, place=0.5)

    assert next_for(wanda, project) is None
    assert next_for(will, project) is not None


# Many at once


def in_threads(work, items) -> list:
    """Run the work for all items at once, each with a database connection of its own."""
    barrier = threading.Barrier(len(items))

    def run(item):
        try:
            barrier.wait(timeout=30)
            return work(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(run, items))


@pytest.mark.django_db(transaction=True)
def test_twenty_writers_at_once_take_every_place_once(project, person):
    for number in range(1, 6):
        prompt_wanting(project, number, wanted=2)
    writers = [person(f"w{number}", Role.WRITER) for number in range(20)]

    taken = [found for found in in_threads(lambda one: next_to_write(one, project), writers) if found]

    assert len(taken) == 10
    assert set(Counter(found.prompt_id for found in taken).values()) == {2}
    assert len({found.author_id for found in taken}) == 10


@pytest.mark.django_db(transaction=True)
def test_twenty_writers_who_edit_at_once_share_no_source(project, person):
    for number in range(1, 6):
        prompt = prompt_wanting(project, number, wanted=0)
        for letter in "ab":
            sampled(prompt, f"{letter} {number}")
    demonstrations.ask_for(project, 5, people=2, edited=True)
    writers = [person(f"w{number}", Role.WRITER) for number in range(20)]

    taken = [found for found in in_threads(lambda one: next_to_write(one, project), writers) if found]

    assert len(taken) == len({found.source_id for found in taken}) == 10


@pytest.mark.django_db(transaction=True)
def test_two_tabs_of_one_writer_get_one_prompt(project, person):
    for number in range(1, 6):
        prompt_wanting(project, number)
    writer = person("wanda", Role.WRITER)

    taken = in_threads(lambda _: next_to_write(writer, project), range(6))

    assert len({found.pk for found in taken}) == 1


@pytest.mark.django_db(transaction=True)
def test_eight_reviewers_at_once_share_nothing(project, person):
    wanda = person("wanda", Role.WRITER)
    for number in range(1, 5):
        prompt_wanting(project, number)
        written(wanda, project)
    people = [person(f"r{number}", Role.ADJUDICATOR) for number in range(8)]

    taken = [found for found in in_threads(lambda one: next_to_review(one, project), people) if found]

    assert len(taken) == len({found.pk for found in taken}) == 4


@pytest.mark.django_db(transaction=True)
def test_writers_and_reviewers_who_do_all_they_can_leave_counts_that_close(project, person):
    for number in range(1, 13):
        prompt_wanting(project, number, wanted=2)
    people = [person(f"w{number}", Role.WRITER) for number in range(6)]

    def step(one: User) -> bool:
        demonstration = next_to_write(one, project)
        if demonstration is not None and demonstration.pk % 7 == one.pk % 7:
            skip(demonstration, "No")
        elif demonstration is not None:
            send(demonstration, sent(f"By {one}", seen=draft_version(demonstration)))
        found = next_to_review(one, project)
        if found is not None:
            review(found, one, said("accept", version=found.versions.latest("number").number))
        return demonstration is not None or found is not None

    def work(one: User) -> None:
        while step(one):
            pass

    in_threads(work, people)
    for one in people:  # who stopped while others still wrote
        work(one)

    begun = Counter(Demonstration.objects.exclude(state="given_up").values_list("prompt_id", flat=True))
    assert max(begun.values()) <= 2
    assert DemonstrationVersion.objects.count() == DemonstrationReview.objects.count()
    states = Counter(Demonstration.objects.values_list("state", flat=True))
    assert set(states) <= {"accepted", "given_up"}
    assert states["accepted"] == DemonstrationVersion.objects.count()
