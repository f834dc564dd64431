"""A tiny model on disk, and preferences with a known cause."""

import random

import pytest
import torch

from lm import records
from lm.records import Message, Pair
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
