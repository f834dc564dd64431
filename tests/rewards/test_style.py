import torch

from rewards import style


def test_what_is_counted_is_what_a_reader_would_count():
    text = "# Plan\n\n- **one**\n- two `x`\n1. see [it](https://a.b)\n\nDone! Really? \U0001f600\n"
    found = dict(zip(style.NAMES, style.counts([text])[0].tolist(), strict=True))
    assert found == {
        "length": 13, "lists": 3, "headers": 1, "emphasis": 1, "code": 1, "links": 1,
        "exclamations": 1, "questions": 1, "emojis": 1,
    }  # fmt: skip


def test_nothing_is_counted_in_an_empty_text():
    assert style.counts([""]).sum() == 0
    assert style.counts([]).shape == (0, len(style.NAMES))


def test_a_difference_is_a_bounded_share_that_turns_with_the_pair():
    found = style.counts(["a b c", "a", "word " * 10_000])
    there = style.differences(found, torch.tensor([0, 2]), torch.tensor([1, 1]))
    back = style.differences(found, torch.tensor([1, 1]), torch.tensor([0, 2]))
    assert there[0, 0] == (3 - 1) / (3 + 1 + 1)
    assert (there == -back).all()
    assert there.abs().max() < 1
