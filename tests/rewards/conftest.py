"""A tiny model on disk, and preferences with a known cause."""

import random

import pytest
import torch

from lm import records
from lm.records import Message, Pair
from rewards.batches import NOBODY, Preferences
from tests.torch_models import SENTENCES, save_tiny

WORDS = sorted(set(" ".join(SENTENCES).split()))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """So that sums are added in one order, and no thread waits for another test."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a tiny Llama."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def words(chance: random.Random, least: int = 3, most: int = 9) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(least, most)))


def pair(
    number: int = 0, chosen: str = "The lamp is red.", rejected: str = "The soup is warm.", **more
) -> Pair:
    asked = (Message(role="user", content=f"What is the price of lamp {number}?"),)
    return Pair(
        **{"prompt_id": f"p{number}", "messages": asked, "chosen": chosen, "rejected": rejected, **more}
    )


def thanking_pairs(count: int, seed: int = 0, tie_every: int = 7) -> list[Pair]:
    """Raters prefer what opens with thanks; now and then they see no difference."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        better, worse = f"Thank you. {words(chance)}", f"The soup. {words(chance)}"
        found.append(pair(number, better, worse, judgment_id=str(number)))
        if number % tie_every == tie_every - 1:
            found[-1] = pair(number, words(chance), words(chance), judgment_id=str(number), tie=True)
    return found


@pytest.fixture
def pairs_file(tmp_path):
    def write(pairs, name="pairs.jsonl"):
        records.write(tmp_path / name, pairs)
        return tmp_path / name

    return write


def judged(prompt, won, *, first=None, second=None, rater=None, texts=(), **columns) -> Preferences:
    """Judgments on pairs of numbered responses: `won` where the first is preferred; no text is tokenised."""
    prompt, won = torch.as_tensor(prompt), torch.as_tensor(won).bool()
    count = len(prompt)
    one = 2 * torch.arange(count) if first is None else torch.as_tensor(first)
    other = one + 1 if second is None else torch.as_tensor(second)
    responses = int(torch.maximum(one, other).max()) + 1
    texts = list(texts) or [""] * responses
    names = columns.pop("groups", []), columns.pop("purposes", []), columns.pop("criteria", [])
    given = {
        "chosen": torch.where(won, one, other),
        "rejected": torch.where(won, other, one),
        "tie": torch.zeros(count, dtype=torch.bool),
        "all_bad": torch.zeros(count, dtype=torch.bool),
        "weight": torch.ones(count, dtype=torch.float64),
        "margin": torch.zeros(count, dtype=torch.float64),
        "soft_label": torch.ones(count, dtype=torch.float64),
        "prompt": prompt,
        "judgment": torch.arange(count),
        "comparison": torch.arange(count),
        "rater": torch.full((count,), NOBODY) if rater is None else torch.as_tensor(rater),
        **{name: torch.full((count,), NOBODY) for name in ("group", "criterion", "purpose")},
        "side": torch.zeros(count, dtype=torch.long),
        **{name: torch.full((count,), -1) for name in ("strength", "since_break")},
    }
    given |= {name: torch.as_tensor(column) for name, column in columns.items()}
    return Preferences(
        prompts=[[1, 2]] * responses,
        responses=[text.encode() or [1] for text in texts],
        asked=[(Message(role="user", content="What is it?"),)] * responses,
        texts=texts,
        prompt_ids=[f"p{number}" for number in range(int(prompt.max()) + 1)],
        raters=[f"r{number}" for number in range(int(given["rater"].max()) + 1)],
        groups=names[0],
        purposes=names[1],
        criteria=names[2],
        dropped=0,
        **given,
    )
