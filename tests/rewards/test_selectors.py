"""The check that takes active choice back: against a slow reference, and on worlds where it is of use or not."""

import random

import pytest
import torch

from lm import records
from rewards import selectors, train
from rewards.batches import FOLDS, fold_of, read_pairs
from rewards.bradley_terry import fit_head
from rewards.selectors import SelectorCheck, check, keeps_active, purposes
from tests.rewards.conftest import pair
from tests.torch_models import save_tiny, tiny_chat

SIZE, PENALTY = 6, 1.0
TASTE = torch.tensor([2.0, -1.5, 1.0, -1.0, 0.5, 0.5], dtype=torch.float64)


def feature(text: str) -> torch.Tensor:
    """Responses are named by the seed of their features, and by how much these vary."""
    _, seed, scale = text.split()
    generator = torch.Generator().manual_seed(int(seed))
    return float(scale) * torch.randn(SIZE, generator=generator, dtype=torch.float64)


def judged(count: int, purpose: str, scale: float, chance: random.Random, *, noise: bool = False):
    """Pairs that somebody judged by the taste, or by a coin."""
    found = []
    for number in range(count):
        one, other = (f"r {chance.randrange(10**9)} {scale}" for _ in range(2))
        first = 0.5 if noise else float(torch.sigmoid((feature(one) - feature(other)) @ TASTE))
        chosen, rejected = (one, other) if chance.random() < first else (other, one)
        name = f"{purpose} {number // 2}"
        found.append(
            pair(0, chosen, rejected, prompt_id=name, purpose=purpose, judgment_id=f"{name}.{number}")
        )
    return found


@pytest.fixture
def read(pairs_file):
    """Preferences, the features of their responses, and which are uniform and active."""

    def make(pairs):
        file = pairs_file(pairs)
        preferences = read_pairs(file, tiny_chat(), max_length=1000)
        rows = torch.stack([feature(text) for text in preferences.texts])
        uniform, active = purposes(file, preferences)
        return rows, preferences, {"uniform": uniform, "active": active, "penalty": PENALTY, "seed": 0}

    return make


def test_accuracies_are_those_of_heads_fitted_one_by_one(read):
    chance = random.Random(0)
    pairs = judged(60, "uniform", 1.0, chance) + judged(60, "active", 1.0, chance)
    rows, preferences, given = read(pairs)

    found = check(rows, preferences, **given)

    x = rows[preferences.chosen] - rows[preferences.rejected]
    folds = torch.tensor([fold_of(preferences.prompt_ids[p], 0) for p in preferences.prompt.tolist()])
    right = {"uniform": [], "active": []}
    for fold in range(FOLDS):
        test = given["uniform"] & (folds == fold)
        for name, results in right.items():
            train = given[name] & (folds != fold)
            head, _ = fit_head(x[train], preferences.outcomes[train], preferences.weight[train], PENALTY)
            results.extend((x[test] @ head > 0).double().tolist())
    assert found.uniform_accuracy == pytest.approx(sum(right["uniform"]) / 60)
    assert found.active_accuracy == pytest.approx(sum(right["active"]) / 60)
    assert (found.judgments, found.held_out) == (60, 60)
    assert 0 <= found.standard_error < 0.2


def test_pairs_that_tell_more_make_active_choice_better(read):
    chance = random.Random(1)
    rows, preferences, given = read(judged(300, "uniform", 0.3, chance) + judged(400, "active", 2.0, chance))
    found = check(rows, preferences, **given)
    assert found.better
    assert found.judgments == 300


def test_pairs_that_tell_nothing_make_it_worse(read):
    chance = random.Random(2)
    pairs = judged(200, "overlap", 1.0, chance) + judged(200, "active", 1.0, chance, noise=True)
    rows, preferences, given = read(pairs)
    found = check(rows, preferences, **given)
    assert not found.better
    assert found.uniform_accuracy - found.active_accuracy > 3 * found.standard_error


def test_too_few_judgments_say_nothing(read):
    chance = random.Random(3)
    rows, preferences, given = read(judged(60, "uniform", 1.0, chance) + judged(19, "active", 1.0, chance))
    assert check(rows, preferences, **given) is None


def told(active: float) -> SelectorCheck:
    return SelectorCheck(
        judgments=50, held_out=50, uniform_accuracy=0.7, active_accuracy=active, standard_error=0.02
    )


@pytest.mark.parametrize(
    ("accuracies", "keeps"),
    [
        ([], True),
        ([0.6], True),
        ([0.6, 0.7], False),  # as good is not better
        ([0.6, 0.8], True),
        ([0.8, 0.6], True),
        ([0.8, 0.6, 0.6], False),
        ([0.6, None, 0.6], False),
        ([0.6, None], True),
    ],
)
def test_twice_running_not_better_takes_active_choice_back(accuracies, keeps):
    assert keeps_active([None if one is None else told(one) for one in accuracies]) is keeps


def test_the_command_prints_the_figures_of_a_saved_model(tmp_path, pairs_file, capsys):
    base = save_tiny(tmp_path / "tiny")
    chance = random.Random(4)
    file = pairs_file(judged(60, "uniform", 1.0, chance) + judged(60, "active", 1.0, chance))
    train.main(f"--model {base} --pairs {file} --train head --members 1 --output {tmp_path}/run".split())
    capsys.readouterr()

    selectors.main(f"--reward-model {tmp_path}/run --labels {file}".split())

    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert (lines["judgments"], lines["held_out"]) == ("60", "60")
    assert lines["better"] in ("active", "uniform")
    records.write(file, judged(60, "uniform", 1.0, chance))
    selectors.main(f"--reward-model {tmp_path}/run --labels {file}".split())
    assert "fewer than 20 judgments" in capsys.readouterr().out
