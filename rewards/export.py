"""Write a reward model as a sequence classifier, which transformers loads without us.

    python -m rewards.export --reward-model DIR --output DIR [--member mean]

A classifier's score is linear in one state of the model. What isn't, is refused: likelihoods, a mean over an
encoder's tokens, and doubt taken off the mean of several members. What is written is read again by
transformers alone and held against our own scores before it gets its name.
"""

import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from lm import backbone
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import Message
from lm.tokens import Chat
from rewards.config import ExportConfig
from rewards.head import Head
from rewards.reward_model import RewardModel
from rewards.trunks import layout

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of a score, or of its share where it is above 1
SMALL = 1e-4  # a step that an encoder's dense layer makes, in which its activation is straight
PADDING = "<|padding|>"
DENSE = ("pooler.dense", "classifier.dense", "pre_classifier")  # as the families name it
BY_HAND = (
    "The chat template does not lay a row out as it was scored in training: tokenise prompt and response "
    "apart, without marks of the tokenizer's own,"
)
PROBES = (
    ("Is it raining?", "No."),
    ("What is the way to the station, and how long does it take on foot?", "Left, then left again."),
    ("When?", "At nine in the morning, or if you miss that one, at ten, " * 3 + "or at noon."),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What the folder can't say by itself."""

    bias: float  # reward = score + bias
    difference: float  # between the two scores, at most, on the probes
    notes: list[str]


def export(config: ExportConfig) -> Exported:
    """Write the folder, or refuse and leave none."""
    output = config.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"output is {str(output)!r}, which exists and isn't empty")
    reward_model = RewardModel.load(config.reward_model)
    weight, bias = linear(reward_model, config.member)
    aside = output.with_name(f".tmp-{output.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        found = write(reward_model, weight, bias, aside, member=config.member)
        if output.exists():
            output.rmdir()
        aside.rename(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return found


def linear(reward_model: RewardModel, member: str | None) -> tuple[Tensor, float]:
    """The weight (D,) and the constant that make the reward of what the head reads, in float64."""
    head, width = reward_model.head, reward_model.trunk.width
    weight, bias = folded(head, chosen_member(head, member))
    if reward_model.reads == "mean":
        raise ConfigError("reads the mean of an encoder's states, but a sequence classifier its first")
    if bool(weight[width:].any()):
        raise ConfigError(
            "reads how likely its trunk finds the words, which no sequence classifier does; "
            "train it with --train full to export it"
        )
    return weight[:width], bias


def chosen_member(head: Head, member: str | None) -> slice:
    """Which members the mean is of."""
    count = len(head.weights)
    if member not in {None, "mean"}:
        number = int(str(member))
        if not 1 <= number <= count:
            raise ConfigError(f"member is {number}, but there are {count}")
        return slice(number - 1, number)
    if member is None and count > 1 and head.pessimism:
        raise ConfigError(
            f"takes {head.pessimism} deviations of its {count} members off their mean, which isn't linear; "
            "--member mean exports the mean alone, whose rewards are others"
        )
    return slice(None)


def folded(head: Head, members: slice) -> tuple[Tensor, float]:
    """The head as one weight and one constant: gain, centres and scales are in them."""
    scale, mean = head.scale.double(), head.mean.double()
    each = head.weights.double()[members] / scale  # (members, D)
    spread = head.spread.double()[members]
    weight = head.gain * (each / spread[:, None]).mean(0)
    constant = -((each @ mean + head.centre.double()[members]) / spread).mean()
    return weight, head.bias + head.gain * float(constant)


@torch.no_grad()
def write(
    reward_model: RewardModel, weight: Tensor, bias: float, folder: Path, *, member: str | None
) -> Exported:
    """The classifier with its tokenizer, what it can't hold, and what a reader must know."""
    chat = layout(reward_model.folder, reward_model.reads)
    tokenizer, notes = chat.tokenizer, []
    if reward_model.reads == "score":
        model = backbone.load_classifier(reward_model.folder)
        out = _out(model)
        out.weight.mul_(weight.float())
        if out.bias is not None:
            out.bias.mul_(weight.float()[0])
    else:
        model = _classifier(reward_model)
        if isinstance(chat, Chat):
            notes += _give_padding(model, tokenizer, chat)
        dense = _dense(model)
        if dense is None:
            out = _out(model)
            out.weight.copy_(weight.float()[None])
        else:
            out = _straighten(model, dense, weight, reward_model)
    if out.bias is not None:  # then it holds the bias too
        out.bias.add_(bias)
        bias = 0.0
    if isinstance(chat, Chat) and reward_model.reads != "score":
        tokenizer.padding_side = "right"
        notes += _end_rows_like_ours(tokenizer, chat)
    backbone.save(model, chat, folder)
    difference = _check(reward_model, folder, bias, member)
    exported = Exported(bias, difference, notes)
    _describe(reward_model, exported, folder, member)
    return exported


def _classifier(reward_model: RewardModel) -> PreTrainedModel:
    """A classifier of one label with the trunk's weights."""
    trunk = reward_model.trunk.model
    config = type(trunk.config).from_dict(trunk.config.to_dict())
    config.num_labels, config.problem_type = 1, "regression"
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    try:
        made: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise ConfigError(f"transformers has no sequence classifier of {config.model_type}") from error
    missing, unknown = made.base_model.load_state_dict(trunk.base_model.state_dict(), strict=False)
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing or unknown:
        raise ConfigError(f"transformers' classifier of {config.model_type} has another trunk")
    model: PreTrainedModel = made.eval()
    return model


def _give_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: Chat) -> list[str]:
    """See to a PAD that is neither a word nor an end, for transformers looks for the end by it."""
    pad = tokenizer.pad_token_id
    if pad is None or pad in chat.stop_ids or pad not in tokenizer.all_special_ids:
        name = PADDING
        while name in tokenizer.get_vocab():
            name = name.replace("|>", "_|>")
        tokenizer.add_special_tokens({"pad_token": name})
        pad = tokenizer.pad_token_id
        if len(tokenizer) > model.config.get_text_config().vocab_size:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        note = f"Padding is a token of its own, `{name}`, which the tokenizer didn't have."
    else:
        note = (
            f"Padding is `{tokenizer.pad_token}`, as it was. A response whose last token is that one (a "
            "policy may draw it and be cut there) is read at the token before; ours reads the last."
        )
    model.config.get_text_config().pad_token_id = pad
    return [note]


def _end_rows_like_ours(tokenizer: PreTrainedTokenizerBase, chat: Chat) -> list[str]:
    """Let the chat template end a row with the stop token: some write a line's end after it."""
    template, end, closing = (
        tokenizer.chat_template,
        tokenizer.convert_ids_to_tokens(chat.end_id),
        chat.closing,
    )
    rows = [
        [*chat.prompt([Message(role="user", content=asked)]), *chat.response(text)] for asked, text in PROBES
    ]
    if _template_gives(tokenizer, rows):
        return []
    tokenizer.chat_template = (
        f"{{% set rendered %}}{template}{{% endset %}}"
        f"{{% if not add_generation_prompt and rendered.endswith({json.dumps(closing)}) %}}"
        f"{{{{ rendered[:rendered | length - {len(closing)}] ~ {json.dumps(end)} }}}}"
        "{% else %}{{ rendered }}{% endif %}"
    )
    if _template_gives(tokenizer, rows):
        return ["The chat template ends a conversation with the stop token and nothing after it."]
    tokenizer.chat_template = template
    return [f"{BY_HAND} and end the row with `{end}`."]


def _template_gives(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> bool:
    """Whether the template by itself gives the tokens that we score for the probes."""
    found = []
    for asked, text in PROBES:
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        found.append(list(tokenizer(rendered, add_special_tokens=False).input_ids))
    return found == rows


def _straighten(
    model: PreTrainedModel, dense: nn.Linear, weight: Tensor, reward_model: RewardModel
) -> nn.Linear:
    """Set an encoder's dense layer and head so that together they are linear.

    Two of its neurons see a small multiple of the score, once with each sign. The difference of what an
    activation makes of them is straight: exactly for ReLU and GELU, to a third of the square for tanh.
    """
    out = _out(model)
    for layer in (dense, out):
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    dense.weight[0], dense.weight[1] = SMALL * weight.float(), -SMALL * weight.float()
    out.weight[0, 0], out.weight[0, 1] = 1 / SMALL, -1 / SMALL
    rows = _rows(reward_model)
    states = reward_model.features([prompt for prompt, _ in rows], [response for _, response in rows])
    expected = states.double() @ weight
    found = torch.stack([_score(model, reward_model, *row) for row in rows]).double()
    out.weight.div_(float(found @ expected / (expected @ expected)))  # by the activation's slope at 0
    return out


def _dense(model: PreTrainedModel) -> nn.Linear | None:
    """The layer between an encoder's pooled state and its head."""
    for name, module in model.named_modules():
        if name.endswith(DENSE) and isinstance(module, nn.Linear):
            return module
    return None


def _out(model: PreTrainedModel) -> nn.Linear:
    """The layer that gives the score."""
    found = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 1]
    if len(found) != 1:
        raise ConfigError(f"transformers' classifier of {model.config.model_type} has no single last layer")
    return found[0]


def _rows(reward_model: RewardModel) -> list[tuple[list[int], list[int]]]:
    """The probes' tokens; the last of them is cut."""
    chat = reward_model.chat
    rows = [
        (chat.prompt([Message(role="user", content=asked)]), chat.response(text)) for asked, text in PROBES
    ]
    asked, text = PROBES[1]
    cut = chat.response(text, ended=False)
    rows.append((chat.prompt([Message(role="user", content=asked)]), cut[: len(cut) // 2]))
    return rows


def _score(
    model: PreTrainedModel, reward_model: RewardModel, prompt: list[int], response: list[int]
) -> Tensor:
    """What transformers' model says of a row alone."""
    ids = torch.tensor([[*prompt, *response]])
    more = {}
    if reward_model.trunk.has_segments:
        more["token_type_ids"] = torch.tensor([[0] * len(prompt) + [1] * len(response)])
    score: Tensor = model(input_ids=ids, **more).logits[0, 0]
    return score


def _check(reward_model: RewardModel, folder: Path, bias: float, member: str | None) -> float:
    """Hold the folder's scores of the probes, each alone and all padded, against ours; the largest gap."""
    model = backbone.load_classifier(folder)
    rows = _rows(reward_model)
    prompts, responses = [prompt for prompt, _ in rows], [response for _, response in rows]
    if member is None:
        expected = reward_model.score(prompts, responses) - bias
    else:
        weight, constant = folded(reward_model.head, chosen_member(reward_model.head, member))
        features = reward_model.features(prompts, responses).double()
        expected = (features @ weight + constant - bias).float()
    alone = torch.stack([_score(model, reward_model, *row) for row in rows])
    gaps = [alone - expected]
    pad = model.config.get_text_config().pad_token_id
    if reward_model.reads != "score" and pad is not None and not reward_model.trunk.has_segments:
        width = max(len(prompt) + len(response) for prompt, response in rows) + 3
        ids = torch.tensor([[*a, *b] + [pad] * (width - len(a) - len(b)) for a, b in rows])
        real = torch.tensor([[1] * (len(a) + len(b)) + [0] * (width - len(a) - len(b)) for a, b in rows])
        gaps.append(model(input_ids=ids, attention_mask=real).logits[:, 0] - expected)
    gap = float(torch.stack(gaps).abs().div(expected.abs().clamp_min(1)).max())
    if not gap <= TOLERANCE:
        raise ConfigError(
            f"transformers' classifier of {model.config.model_type} can't give these scores: "
            f"they differ by {gap:.2g}, over {TOLERANCE:g}"
        )
    return gap


def _describe(reward_model: RewardModel, found: Exported, folder: Path, member: str | None) -> None:
    """Say in the folder itself what it holds and what not."""
    chat = reward_model.chat
    about = {
        "reward_model": reward_model.digest,
        "gain": reward_model.head.gain,
        "bias": found.bias,
        "member": member,
        "largest_difference": found.difference,
        "notes": found.notes,
    }
    (folder / "export.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    if any(note.startswith(BY_HAND) for note in found.notes):
        row = "row = ...  # laid out as the note below says"
    elif isinstance(chat, Chat):
        row = (
            "turns = [{'role': 'user', 'content': prompt}, {'role': 'assistant', 'content': response}]\n"
            "text = tokenizer.apply_chat_template(turns, tokenize=False)\n"
            "row = tokenizer(text, add_special_tokens=False, return_tensors='pt')"
        )
    else:
        row = "row = tokenizer(prompt, response, return_tensors='pt')"
    names = {None: "", "mean": " (of the mean of all members)"}
    whose = names.get(member, f" (of member {member})")
    notes = "".join(f"- {note}\n" for note in found.notes)
    (folder / "README.md").write_text(
        f"""# A reward model as a sequence classifier

The reward{whose} of a response is the model's one logit plus {found.bias!r}. That bias, which a head without
one of its own can't hold, is in `export.json` too. The gain is in the weights.

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32").eval()
{row}
reward = model(**row).logits[0, 0].item() + {found.bias!r}
```

Pad batches on the right, as this tokenizer does.

{notes}""",
        encoding="utf-8",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Export one reward model."""
    config = parse(ExportConfig, argv)
    try:
        found = export(config)
    except ConfigError as error:
        logger.error("%s: can't be exported: %s", config.reward_model, error)
        sys.exit(EX_CONFIG)
    print(f"{config.output}: reward = score + {found.bias!r}")
    print("\n".join(found.notes))


if __name__ == "__main__":
    main()
