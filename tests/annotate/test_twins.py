import random

import numpy as np
import pytest

from annotate import clusters
from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.judging import judge
from annotate.models import Prompt
from annotate.twins import Finder, pieces, similarity

WORDS = [
    "oven",
    "hour",
    "leave",
    "rest",
    "plate",
    "water",
    "salt",
    "river",
    "stone",
    "letter",
    "green",
    "answer",
    "window",
    "quiet",
    "paper",
    "garden",
]


def found(texts, threshold=0.7):
    finder = Finder(texts, threshold=threshold)
    list(finder.find())
    return finder.clusters()


def test_similarity_is_the_share_of_common_pieces_counted_by_hand():
    one, other = pieces("abcdefg"), pieces("abcdefx")  # abcde bcdef cdefg, abcde bcdef cdefx

    assert similarity(one, other) == 2 / 4
    assert np.array_equal(pieces("Abc,  DEFG"), pieces("abc defg"))
    assert similarity(pieces("ab"), pieces("ab!")) == 1


def test_near_duplicates_are_found_as_slow_comparison_of_all_finds_them():
    chance = random.Random(1)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(6, 20))) for _ in range(150)]
    for text in texts[:60]:
        words = text.split()
        words[chance.randrange(len(words))] = chance.choice(WORDS)
        texts.append(" ".join(words))
    hashed = [pieces(text) for text in texts]
    linked = {number: {number} for number in range(len(texts))}
    for one in range(len(texts)):
        for other in range(one):
            if similarity(hashed[one], hashed[other]) >= 0.7 and linked[one] is not linked[other]:
                linked[one] |= linked[other]
                for member in linked[other]:
                    linked[member] = linked[one]
    slow = {frozenset(group) for group in linked.values() if len(group) > 1}

    assert slow
    assert {frozenset(group) for group in found(texts)} == slow


def test_texts_that_differ_are_apart_and_twins_of_twins_together():
    long = " ".join(WORDS)

    assert found(["Why is the sky blue?", "How do I bake bread?", long, f"{long} x", f"{long} x yz"]) == [
        [2, 3, 4]
    ]
    assert found([]) == []


@pytest.fixture
def prompts(project, new_comparison):
    """Four prompts in splits of our choice."""
    made = [new_comparison(number).prompt for number in range(1, 5)]
    for prompt, split in zip(made, ("train", "policy_eval", "rm_holdout", "train"), strict=True):
        Prompt.objects.filter(pk=prompt.pk).update(split=split)
        prompt.refresh_from_db()
    return made


def test_a_cluster_comes_into_one_split_and_one_name(project, prompts):
    one, two, _, other = prompts

    moved = clusters.apply(project, [[one.pk, two.pk]])

    assert (moved.clusters, moved.prompts, moved.moved, moved.stuck) == (1, 2, 1, [])
    found = Prompt.objects.filter(pk__in=(one.pk, two.pk))
    assert set(found.values_list("cluster", "split")) == {(one.cluster, "train")}
    assert Prompt.objects.get(pk=other.pk).cluster == other.cluster
    assert clusters.apply(project, [[one.pk, two.pk]]).moved == 0


def test_a_judged_prompt_stays_and_its_twins_come_to_it(project, prompts, alice):
    assignment = next_for(alice, project)
    judge(assignment, Answer(client_key="11111111-1111-1111-1111-111111111111", positions=[[1], [2]]))
    judged = Prompt.objects.get(pk=assignment.comparison.prompt_id)

    clusters.apply(project, [[prompt.pk for prompt in prompts]])

    assert set(Prompt.objects.values_list("cluster", "split")) == {(judged.cluster, judged.split)}


def test_judged_twins_in_different_splits_are_named(project, prompts, alice):
    for number in range(2):
        assignment = next_for(alice, project)
        key = f"11111111-1111-1111-1111-11111111111{number}"
        judge(assignment, Answer(client_key=key, positions=[[1], [2]]))

    moved = clusters.apply(project, [[prompt.pk for prompt in prompts]])

    assert moved.stuck == ["p2"]
    assert Prompt.objects.get(name="p2").split == "policy_eval"
    assert set(Prompt.objects.exclude(name="p2").values_list("split", flat=True)) == {"train"}
