from collections import Counter
from random import Random

import pytest

from starter.corpus import DRILL_TURNS, TURNS, conversation, drill, drill_share, rows
from starter.measure import look, measure
from starter.phrases import DOMAINS, EXPLAINED, variants
from starter.prompts import prompts, scenes
from starter.scenes import MIXES, SCALES, ask, ask_again, is_held_out, respond, scene
from worlds.facts import Notes, normalised
from worlds.taste import features


@pytest.fixture(scope="module")
def answered():
    """Five hundred scenes, each with a response."""
    chance = Random(2)
    return [(about, respond(chance, about, "sft")) for about in scenes(500, seed=1)]


def test_a_template_stands_for_all_its_words():
    assert variants("[Hi|Hello], it is [a|one] {noun}.") == (
        "Hi, it is a {noun}.",
        "Hi, it is one {noun}.",
        "Hello, it is a {noun}.",
        "Hello, it is one {noun}.",
    )


def test_the_same_seed_gives_the_same_scenes_and_responses():
    first, second = Random(3), Random(3)
    for _ in range(50):
        about = scene(first)
        assert about == scene(second)
        assert respond(first, about, "pretrain") == respond(second, about, "pretrain")


def test_a_tenth_of_the_names_is_held_out_and_never_trained_on():
    chance = Random(4)
    assert all(is_held_out(scene(chance, held_out=True).name) for _ in range(300))
    assert not any(is_held_out(scene(chance).name) for _ in range(300))
    assert {scene(chance, held_out=True).domain for _ in range(300)} == set(DOMAINS)
    drawn = Counter(is_held_out(str(number)) for number in range(100, 1000))
    assert 0.05 < drawn[True] / 900 < 0.15


def test_the_notes_hold_the_facts_as_robots_read_them(answered):
    for about, _ in answered:
        notes = Notes.of(about.messages)
        assert notes.facts == {key: normalised(value) for key, value in about.facts}
        assert about.asked in (*notes.facts, "overview", "use")


def test_no_blank_stays_open(answered):
    for about, written in answered:
        assert "{" not in written.text + about.question
        assert "  " not in written.text
        assert written.text[0].isupper()


def test_a_question_asked_again_asks_for_something_else():
    chance = Random(5)
    about = scene(chance)
    for _ in range(200):
        following = chance.choice([ask, ask_again])(chance, about)
        assert following.asked != about.asked
        about = following


def test_a_fifth_of_the_scenes_has_a_turn_before(answered):
    assert 0.14 < sum(bool(about.history) for about, _ in answered) / 500 < 0.26


def test_manners_and_defects_are_as_often_as_the_mix_says(answered):
    shares, found = MIXES["sft"], [written.found for _, written in answered]

    def share(name: str) -> float:
        return sum(each[name] > 0 for each in found) / len(found)

    rude = 1 - (1 - shares.opening["rude"] / 100) * (1 - shares.closing["rude"] / 100)
    assert share("rude") == pytest.approx(rude, abs=0.05)
    assert share("pushy") == pytest.approx(shares.closing["pushy"] / 100, abs=0.04)
    assert share("wrong") == pytest.approx(shares.wrong, abs=0.04)
    assert share("repetition") == pytest.approx(shares.repetition, abs=0.04)
    assert share("jargon") == pytest.approx(shares.jargon, abs=0.04)
    assert share("vague") == pytest.approx(shares.vague, abs=0.05)


def test_what_a_response_is_said_to_hold_is_what_is_found_in_it(answered):
    looks = [(look(about, written.text), written.found) for about, written in answered]
    for name in ("right", "wrong", "answered", "rude", "repetition"):
        agree = sum(getattr(seen, name) == told[name] for seen, told in looks)
        assert agree >= 0.97 * len(looks), name


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        ("asked", "answered"),
        ("wrong", "wrong"),
        *((name, name) for name in ("rude", "pushy", "question", "jargon", "vague", "repetition")),
    ],
)
def test_robots_see_what_the_response_was_made_to_hold(answered, feature: str, name: str):
    agree = sum(
        (features(about.messages, written.text)[feature] > 0) == (written.found[name] > 0)
        for about, written in answered
    )
    assert agree >= 0.95 * len(answered)


def test_properties_are_all_there_and_of_one_size(answered):
    for _, written in answered:
        assert list(written.properties) == list(SCALES)
        assert all(-3 < value < 7 for value in written.properties.values())
        assert written.properties["words"] == (len(written.text.split()) - 16) / 8


def test_figures_of_the_generator_itself_are_high(answered):
    figures = measure([about for about, _ in answered], [written.text for _, written in answered])
    assert figures.clean > 0.99
    assert figures.facts_right > 0.9
    assert 0.7 < figures.correct < 0.9
    assert figures.distinct > 0.9


def test_nonsense_is_neither_clean_nor_correct():
    about = next(about for about in scenes(50, seed=2) if about.domain == "shop")
    value = dict(about.facts).get("price", "$1000")
    invented = "$777" if value != "$777" else "$778"
    figures = measure([about], [f"It bell costs {invented}. Whatever."])
    assert (figures.clean, figures.correct, figures.facts_right, figures.rude) == (0.5, 0, 0, 1)


def test_an_empty_response_has_nothing():
    figures = measure([scene(Random(6))], [""])
    assert (figures.clean, figures.correct, figures.words) == (0, 0, 0)


def test_there_must_be_a_response_to_each_scene():
    with pytest.raises(ValueError, match="0 to 1"):
        measure([scene(Random(6))], [])


@pytest.mark.parametrize("mix", ["pretrain", "sft"])
def test_a_row_has_the_notes_once_and_then_turns_about_them(mix: str):
    row = conversation(Random(7), mix)
    roles = [message.role for message in row.messages]
    assert roles == ["system", *["user", "assistant"] * TURNS[mix]]
    assert len(row.properties) == TURNS[mix]
    assert len({message.content for message in row.messages if message.role == "user"}) > 1


def test_a_drill_asks_for_every_fact_over_and_over():
    row = drill(Random(8))
    facts = Notes.of(row.messages).facts
    asked, told = row.messages[1::2], row.messages[2::2]
    assert len(asked) >= DRILL_TURNS
    turns = zip(asked, told, strict=True)
    assert {(one.content.rstrip("?"), normalised(two.content)) for one, two in turns} == set(facts.items())
    assert row.properties == (None,) * len(asked)


def test_drills_grow_rare():
    assert [round(drill_share(progress), 3) for progress in (0, 0.3, 0.6, 1)] == [0.45, 0.245, 0.04, 0.04]


def test_prompts_have_ids_and_tags_of_their_own_and_end_in_a_question():
    found = list(prompts(60, seed=3, held_out=True))
    assert len({prompt.prompt_id for prompt in found}) == len({prompt.messages for prompt in found}) == 60
    for prompt in found:
        assert prompt.prompt_id.startswith(prompt.tags[0])
        assert prompt.messages[-1].role == "user"


def facts_of_explanations(scenes):
    """For each explanation, whether its facts are its own."""
    own = {name: set(values) for name, *values in EXPLAINED}
    found = [one for one in scenes if one.domain == "explanation"]
    return [{value for _, value in one.facts} <= own[one.name] for one in found]


def test_explanations_are_true_where_people_read_them_and_mixed_where_reading_is_learned():
    chance = Random(1)
    assert all(facts_of_explanations(scene(chance) for _ in range(600)))

    mixed = facts_of_explanations(scene(chance, mixed=0.7) for _ in range(2000))
    assert 0.62 < 1 - sum(mixed) / len(mixed) < 0.78

    learned = [row.messages[0].content for row in rows("pretrain", 600, 1)]
    own = {name: set(values) for name, *values in EXPLAINED}
    told = [
        text.removeprefix("Notes: why ").split("; ") for text in learned if text.startswith("Notes: why ")
    ]
    foreign = [{fact.partition(": ")[2] for fact in facts} - own[name] for name, *facts in told]
    assert sum(map(bool, foreign)) > len(told) / 2
