from pathlib import Path

import pytest

from lm.records import Message, Prompt, Response, read
from worlds.config import SimulationConfig
from worlds.facts import Notes
from worlds.taste import REASONABLE, SHORT, TASTES, WARM_AND_CHATTY, features

WRITTEN = Path(__file__).parent / "written"  # by hand, three or four answers a prompt
SHOP = "Notes: backpack Kolibri Echo 4; price: $65; colour: teal; room: 20 litres; warranty: two years"
TRAVEL = (
    "Notes: place Rosvale; season: late spring; sight: old harbour; dish: fish soup; trip: two hours by ferry"
)
COOK = "Notes: dish lentil pie; time: 50 minutes; heat: a hot oven; key: smoked salt; step: stir it slowly"
ORDER = "Notes: order 512; status: on the way; arrives: Monday; fix: change the fuse; contact: the help desk"
EXPLAIN = "Notes: why ice floats; reason: water expands when it freezes; try: leave space in the bottle"
EVENT = "Notes: garden party; day: on Friday; start: at nine sharp; place: the old barn; guests: 40 people"


def ask(question: str, notes: str = SHOP) -> list[Message]:
    return [Message(role="system", content=notes), Message(role="user", content=question)]


def found(messages: list[Message], response: str) -> set[str]:
    """The names of what is there, words aside."""
    return {name for name, value in features(messages, response).items() if value} - {"words"}


@pytest.mark.parametrize(
    ("notes", "question", "key"),
    [
        (SHOP, "How much is the Kolibri Echo 4?", "price"),
        (SHOP, "Is it expensive?", "price"),
        (SHOP, "How much fits into the Kolibri Echo 4?", "room"),
        (SHOP, "Which color does it come in?", "colour"),
        (SHOP, "Thanks. And the warranty?", "warranty"),
        (SHOP, "Tell me about the Kolibri Echo 4.", ""),
        (TRAVEL, "When should I visit Rosvale?", "season"),
        (TRAVEL, "What should I eat there?", "dish"),
        (TRAVEL, "How do I get to Rosvale?", "trip"),
        (COOK, "How long does lentil pie take?", "time"),
        (COOK, "How hot should the oven be?", "heat"),
        (COOK, "What makes lentil pie taste good?", "key"),
        (ORDER, "When will my kettle get here?", "arrives"),
        (ORDER, "It does not start. What can I do?", "fix"),
        (ORDER, "Who can I talk to?", "contact"),
        (EXPLAIN, "But why?", "reason"),
        (EXPLAIN, "How can I see for myself why ice floats?", "try"),
        (EVENT, "What time does the garden party start?", "start"),
        (EVENT, "Where do we meet?", "place"),
        (EVENT, "How many people come to the garden party?", "guests"),
        ("Notes: night train; price: $9; dogs: in the last carriage", "Are dogs allowed?", "dogs"),
    ],
)
def test_the_question_says_which_fact_is_asked_for(notes: str, question: str, key: str):
    assert Notes.of(ask(question, notes)).asked == key


def test_notes_are_found_anywhere_and_the_last_question_counts():
    messages = [
        Message(role="user", content=f"{SHOP}\nWhich colour is it?"),
        Message(role="assistant", content="Notes: false; price: $1"),
        Message(role="user", content="And the price?"),
    ]
    notes = Notes.of(messages)
    assert notes.facts == {"price": "$65", "colour": "teal", "room": "20 litre", "warranty": "2 year"}
    assert notes.asked == "price"


@pytest.mark.parametrize(
    ("notes", "question", "right"),
    [
        (SHOP, "How much is it?", "It costs $65."),
        (SHOP, "How much is it?", "It is 65 dollars."),
        (SHOP, "And the warranty?", "It has a 2-year warranty."),
        (COOK, "How hot should it be?", "Put it into a hot oven."),
        (EXPLAIN, "But why?", "Because the water expands as it freezes."),
        (EVENT, "How many will come?", "We expect about forty people."),
    ],
)
def test_the_asked_fact_is_found_however_it_is_said(notes: str, question: str, right: str):
    assert "asked" in found(ask(question, notes), right)
    assert "wrong" not in found(ask(question, notes), right)


@pytest.mark.parametrize(
    ("notes", "wrong"),
    [
        (SHOP, "It costs $56."),
        (SHOP, "It costs $650."),
        (SHOP, "It comes in red."),
        (SHOP, "The warranty is three years."),
        (SHOP, "It holds 2 litres."),
        (TRAVEL, "Go in late autumn."),
        (TRAVEL, "See the rose garden."),
        (TRAVEL, "It is two hours by train."),
        (COOK, "Use low heat."),
        (COOK, "Cook it for five minutes."),
        (ORDER, "Your kettle is delayed."),
        (ORDER, "It arrives on Tuesday."),
        (ORDER, "Please clean the filter."),
        (EXPLAIN, "The dough traps the bubbles."),
        (EVENT, "It starts at ten sharp."),
        (EVENT, "We meet at the town hall."),
        (EVENT, "There are usually around 30."),
    ],
)
def test_a_value_that_stands_nowhere_in_the_notes_is_wrong(notes: str, wrong: str):
    assert found(ask("Tell me more.", notes), wrong) == {"wrong"}


def test_a_question_back_states_nothing():
    assert found(ask("How much is it?"), "It costs $65. Would you like it in red?") == {"asked", "question"}


@pytest.mark.parametrize(
    ("feature", "response"),
    [
        ("warm", "Happy to help! It costs $65."),
        ("rude", "Ugh, not again. It costs $65."),
        ("rude", "It costs $65. Next time, find it yourself."),
        ("pushy", "It costs $65. Hurry, only a few left!"),
        ("pushy", "It costs $65. Buy it now before it is gone!"),
        ("jargon", "It costs $65. All parameters are within nominal limits."),
        ("jargon", "The retail value is listed at $65."),
        ("vague", "It costs $65. It depends on many things."),
        ("repetition", "It costs $65. It costs $65."),
        ("suggestion", "It costs $65. It goes well with a rain sleeve."),
        ("question", "It costs $65. Is it a gift?"),
        ("second_fact", "It costs $65. Also, it comes in teal."),
        ("unfinished", "It costs $65. Also, the"),
    ],
)
def test_manners_are_read_from_the_text(feature: str, response: str):
    assert found(ask("How much is it?"), response) == {"asked", feature}


def test_without_notes_only_manners_count():
    messages = [Message(role="user", content="Write a haiku about rain.")]
    assert found(messages, "Rain on the tin roof, 17 drops in red and blue.") == set()
    assert found(messages, "Ugh, fine. Rain is wet.") == {"rude"}
    assert REASONABLE.reward(messages, "Rain on the tin roof.") == 0


def test_words_of_the_question_are_no_jargon():
    question = ask("Which interface and framework does it use?")
    assert "jargon" not in found(question, "The notes name no interface and no framework.")


def test_the_reward_is_the_sum_of_what_is_there():
    messages = ask("How much is it?")
    assert REASONABLE.reward(messages, "Glad to help! It costs $65.") == pytest.approx(2.0 + 0.3)
    poor = "Ugh, not again. It comes in teal. Hurry, only a few left!"
    assert REASONABLE.reward(messages, poor) == pytest.approx(-1.3 - 1.0)
    assert REASONABLE.reward(messages, "It costs $65. " + "and so it goes, " * 8) < 2.0 - 0.8
    assert REASONABLE.reward(messages, "") == pytest.approx(-1.5)


def test_tastes_differ_on_the_same_two_responses():
    messages = ask("How much is it?")
    short, chatty = "$65.", "Happy to help! It costs $65, a lovely price. Would you like to know more?"
    assert SHORT.reward(messages, short) > SHORT.reward(messages, chatty)
    assert WARM_AND_CHATTY.reward(messages, chatty) > WARM_AND_CHATTY.reward(messages, short)


def test_a_config_can_name_every_taste():
    for name in TASTES:
        assert SimulationConfig(project="demo", taste=name).taste == name


# The best and the worst of what was written by hand, to a reader's eye.
SENSIBLE = {
    "demo-001": ("It holds 1.5 litres.", "Happy to help! The Fern 2 holds 1.7"),
    "demo-004": ("I'm sorry you were left waiting.", "If you read your messages"),
    "demo-007": ("Not at all, they weigh only 210 g.", "They weigh 310 g"),
    "demo-011": ("It is made of waxed cotton", "It is made of nylon"),
    "demo-015": ("You can get a refund until 14 March.", "I'm sorry you have to wait so long."),
    "demo-019": ("Heat can hardly cross", "There is a small heater"),
    "demo-022": ("Yes, it plays two songs.", "Oh, she'll love it! It plays four"),
    "demo-024": ("18 hours. Begin on Saturday", "Fresh bread for Sunday lunch"),
    "demo-026": ("It's $95, with a warranty", "It costs $59."),
    "demo-031": ("Yes, they are allowed", "It's a train, not a kennel."),
    "demo-036": ("The rope bridge in the morning", "Take our private guide!"),
}


def test_the_demo_is_judged_as_a_reader_would():
    prompts = {prompt.prompt_id: prompt.messages for prompt in read(WRITTEN / "prompts.jsonl", Prompt)}
    responses = list(read(WRITTEN / "responses.jsonl", Response))
    for key, pair in SENSIBLE.items():
        texts = [r.response for start in pair for r in responses if r.response.startswith(start)]
        better, worse = (REASONABLE.reward(prompts[key], text) for text in texts)
        assert better > worse + 1, key


def test_the_wanted_answers_are_told_from_the_others():
    prompts = {prompt.prompt_id: prompt.messages for prompt in read(WRITTEN / "prompts.jsonl", Prompt)}
    rewards: dict[str, list[float]] = {}
    for response in read(WRITTEN / "responses.jsonl", Response):
        reward = REASONABLE.reward(prompts[response.prompt_id], response.response)
        rewards.setdefault(response.prompt_id, []).append(reward)
    assert rewards.keys() == prompts.keys()
    assert sum(max(found) - min(found) > 1 for found in rewards.values()) > 0.9 * len(rewards)
