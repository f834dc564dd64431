import re
from itertools import combinations
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.answers import JudgingError, Posted, by_ranks, by_scores, cut, parse_judgment, parse_order
from annotate.settings import ProjectSettings

sizes = st.integers(2, 9)


@st.composite
def orders(draw, size: int | None = None) -> list[list[int]]:
    """Any order of some responses, with ties."""
    places = draw(st.permutations(range(1, (size or draw(sizes)) + 1)))
    groups = [[places[0]]]
    for place in places[1:]:
        if draw(st.booleans()):
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def written(order: list[list[int]]) -> str:
    return ">".join("=".join(map(str, group)) for group in order)


def wins(order: list[list[int]]) -> set[tuple[int, int]]:
    """Every ordered pair, by a slow count."""
    rank = {place: number for number, group in enumerate(order) for place in group}
    return {(a, b) for a in rank for b in rank if rank[a] < rank[b]}


def read(rules: dict, size: int = 2, **posted):
    return Posted(client_key=uuid4(), **posted).read(ProjectSettings(**rules), size)


@given(orders())
def test_an_order_is_read_as_it_was_written(order):
    assert parse_order(written(order), sum(map(len, order))) == order


@given(st.text(alphabet="0123456789>= ab-", max_size=12), sizes)
def test_whatever_is_no_order_is_refused(text, size):
    places = list(range(1, size + 1))
    groups = [group.split("=") for group in re.split(">+", text)]
    whole = all(re.fullmatch("0*[1-9]", one) for group in groups for one in group)
    if whole and sorted(int(one) for group in groups for one in group) == places and ">>" not in text:
        assert sorted(place for group in parse_order(text, size) for place in group) == places
    elif ">>" not in text:
        with pytest.raises(JudgingError) as refused:
            parse_order(text, size)
        assert repr(text) in str(refused.value)


@given(orders())
def test_ranks_give_the_order_that_they_number(order):
    ranks = {place: number for number, group in enumerate(order, 1) for place in group}

    assert wins(by_ranks(ranks, len(ranks))) == wins(order)


@given(st.lists(st.integers(1, 7), min_size=2, max_size=9))
def test_scores_give_the_order_of_their_values(scores):
    expected = {
        (a + 1, b + 1) if scores[a] > scores[b] else (b + 1, a + 1)
        for a, b in combinations(range(len(scores)), 2)
        if scores[a] != scores[b]
    }

    assert wins(by_scores(scores)) == expected


@given(orders(), st.integers(0, 9))
def test_below_the_top_nothing_is_told_apart(order, top):
    size = sum(map(len, order))

    kept = cut(order, top)

    assert sorted(place for group in kept for place in group) == list(range(1, size + 1))
    assert wins(kept) <= wins(order)
    told = {pair for pair in wins(order) if sum(b == pair[0] for _, b in wins(order)) < (top or size)}
    assert wins(kept) == told


@pytest.mark.parametrize(
    ("text", "order", "strength"),
    [("1>2", [[1], [2]], 1), ("2>>1", [[2], [1]], 2), ("1>>>2", [[1], [2]], 3), ("1=2", [[1, 2]], 0)],
)
def test_the_number_of_signs_says_how_much_better(text, order, strength):
    assert parse_judgment(text, 2) == (order, strength)


def test_a_seven_point_answer_keeps_its_strength_and_a_plain_one_has_none():
    assert read({"scheme": "strength"}, order="2>>>1").strength == 3
    assert read({"scheme": "strength"}, order="1=2").strength == 0
    assert read({}, order="2>1").strength is None


@pytest.mark.parametrize(
    ("rules", "posted", "reason"),
    [
        ({}, {"order": "1>>2"}, "how much better"),
        ({"tie": False}, {"order": "1=2"}, "no ties"),
        ({"tie": False, "scheme": "strength"}, {"order": "1=2"}, "no ties"),
        ({"all_bad": False}, {"all_bad": True}, "does not offer"),
        ({}, {"order": ""}, "order: '' is no order of the responses 1 to 2"),
        ({}, {"order": "1>2", "ranks": {1: 1, 2: 2}}, "does not ask for ranks"),
        ({"scheme": "scores"}, {"scores": {1: 3}}, "score_2: is missing"),
        ({"scheme": "scores"}, {"scores": {1: 3, 2: 6}}, "score_2: 6 is not from 1 to 5"),
        ({"rationale": "always"}, {"order": "1>2", "rationale": "  "}, "rationale: say in a few words why"),
        ({"rationale": "strong", "scheme": "strength"}, {"order": "1>>2"}, "rationale: say"),
        ({}, {"order": "1>2", "rationale": "because"}, "rationale: this project asks for none"),
        ({}, {"order": "1>2", "confidence": 3}, "confidence: this project does not ask"),
        ({"confidence": True}, {"order": "1>2", "confidence": 6}, "confidence: 6 is not from 1 to 5"),
        ({}, {"order": "1>2", "criteria": {1: "1>2"}}, "criterion_1: this project has no such"),
        ({"criteria": ("honest",)}, {"order": "1>2", "criteria": {1: "1>3"}}, "'1>3' is no order"),
        (
            {"criteria": ("honest", "kind"), "criteria_required": True},
            {"order": "1>2", "criteria": {1: "1>2", 2: ""}},
            "kind: not answered yet",
        ),
        ({"labels": ("untrue",)}, {"order": "1>2", "labels": {1: ["rude"]}}, "label_1: ['rude'] is no label"),
        ({"labels": ("untrue",)}, {"order": "1>2", "labels": {3: ["untrue"]}}, "label_3: there is no such"),
    ],
)
def test_what_a_project_does_not_ask_is_refused_by_name(rules, posted, reason):
    with pytest.raises(JudgingError) as refused:
        read(rules, **posted)

    assert reason in str(refused.value)


def test_a_ranking_without_a_script_may_leave_out_what_is_below_the_top():
    rules = {"scheme": "ranking", "top": 2}

    assert read(rules, size=4, ranks={3: 1, 1: 2}).positions == [[3], [1], [2, 4]]
    with pytest.raises(JudgingError, match="rank_2: give every response a place"):
        read({"scheme": "ranking"}, size=4, ranks={3: 1, 1: 2})


def test_a_tie_below_the_top_needs_no_leave_and_one_above_does():
    rules = {"scheme": "ranking", "top": 1, "tie": False}

    assert read(rules, size=3, order="2>1=3").positions == [[2], [1, 3]]
    with pytest.raises(JudgingError, match="no ties"):
        read(rules, size=3, order="1=2>3")


def test_criteria_of_a_ranking_name_the_best():
    answer = read({"scheme": "ranking", "criteria": ("honest",)}, size=3, order="1>2>3", criteria={1: "2"})

    assert answer.criteria == {"honest": [[2], [1, 3]]}


def test_what_was_never_opened_makes_an_answer_less_than_normal():
    assert read({}, order="1>2").normal
    assert read({}, order="1>2", opened=frozenset({1, 2})).normal
    assert not read({}, order="1>2", opened=frozenset({1})).normal
