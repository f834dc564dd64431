"""A config is the same thing on the command line, in a file and in the database."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.config import ConfigError, from_json, parse, settings_of, to_json


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to train."""

    name: Annotated[str, "what to call it"] = "base"
    epochs: Annotated[int, "passes over the data, at most 100% of them"] = 1
    rate: Annotated[float | None, "left out, by the model's size"] = None
    shuffle: Annotated[bool, "whether to shuffle"] = True
    frozen: Annotated[bool | None, "left out, by the model's size"] = None
    pairs: Annotated[Path, "where from"] = Path("pairs.jsonl")
    train: Annotated[Literal["head", "full", 3], "what to train"] = "head"
    colour: Annotated[Colour, "a colour"] = Colour.RED
    seeds: Annotated[tuple[int, ...], "any number of seeds"] = (1, 2)
    betas: Annotated[tuple[float, float], "two of them"] = (0.9, 0.95)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """Something that must be given."""

    pairs: Annotated[Path, "where from"]


configs = st.builds(
    Config,
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    epochs=st.integers(1, 10**9),
    rate=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    shuffle=st.booleans(),
    frozen=st.none() | st.booleans(),
    pairs=st.sampled_from([Path("a"), Path("/b/c d")]),
    train=st.sampled_from(["head", "full", 3]),
    colour=st.sampled_from(Colour),
    seeds=st.lists(st.integers()).map(tuple),
    betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)


@given(configs)
def test_a_config_survives_json(config):
    assert from_json(Config, json.loads(json.dumps(to_json(config)))) == config


def test_flags_are_the_fields_in_snake_case():
    config = parse(
        Config,
        [
            "--name",
            "x",
            "--epochs",
            "3",
            "--rate",
            "1e-4",
            "--no-shuffle",
            "--frozen",
            "true",
            "--pairs",
            "p",
            "--train",
            "3",
            "--colour",
            "blue",
            "--seeds",
            "4",
            "5",
            "6",
            "--betas",
            "0.5",
            "0.6",
        ],
    )
    assert config == Config(
        name="x",
        epochs=3,
        rate=1e-4,
        shuffle=False,
        frozen=True,
        pairs=Path("p"),
        train=3,
        colour=Colour.BLUE,
        seeds=(4, 5, 6),
        betas=(0.5, 0.6),
    )


def test_without_flags_the_defaults_hold():
    assert parse(Config, []) == Config()


def test_none_on_the_command_line_leaves_an_optional_setting_out(tmp_path):
    (tmp_path / "c.json").write_text('{"rate": 0.5}')
    assert parse(Config, ["--config", str(tmp_path / "c.json"), "--rate", "none"]).rate is None


def test_a_flag_overrules_the_file(tmp_path):
    (tmp_path / "c.json").write_text('{"epochs": 5, "name": "file"}')
    config = parse(Config, ["--config", str(tmp_path / "c.json"), "--name", "flag"])
    assert (config.epochs, config.name) == (5, "flag")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 2}, "epoch is 2, but there is no such setting"),
        ({"epochs": "2"}, "epochs is '2'; it must be a whole number"),
        ({"epochs": True}, "epochs is True; it must be a whole number"),
        ({"epochs": 2.0}, "epochs is 2.0; it must be a whole number"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"rate": "fast"}, "rate is 'fast'; it must be a finite number or null"),
        ({"rate": float("nan")}, "rate is nan; it must be a finite number or null"),
        ({"shuffle": 1}, "shuffle is 1; it must be true or false"),
        ({"name": "a\0b"}, r"name is 'a\x00b'; it must be text"),
        ({"name": "\ud800"}, r"name is '\ud800'; it must be text"),
        ({"name": None}, "name is None; it must be text"),
        ({"pairs": 3}, "pairs is 3; it must be a path"),
        ({"train": "tail"}, "train is 'tail'; it must be one of head, full, 3"),
        ({"train": ["head"]}, "train is ['head']; it must be one of head, full, 3"),
        ({"colour": "green"}, "colour is 'green'; it must be one of red, blue"),
        ({"seeds": 1}, "seeds is 1; it must be a list"),
        ({"seeds": ["1"]}, "seeds is ['1']; it must be a list, each a whole number"),
        ({"betas": [1]}, "betas is [1]; it must be a list of 2"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name_and_value(values, message):
    with pytest.raises(ConfigError) as refusal:
        from_json(Config, values)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs two", "epochs is 'two'; it must be a whole number"),
        ("--frozen maybe", "frozen is 'maybe'; it must be true or false or null"),
        ("--betas 1", "--betas: expected 2 arguments"),
        ("--epoch 2", "unrecognized arguments: --epoch 2"),
        ("--config missing.json", "config is 'missing.json', which can't be read"),
    ],
)
def test_a_bad_command_line_is_one_clear_line_and_exit_code_78(words, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(Config, words.split())
    assert exit_.value.code == 78
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["[1]", "{", '"x"'])
def test_a_config_file_that_holds_no_object_is_refused(text, tmp_path, capsys):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(SystemExit) as exit_:
        parse(Config, ["--config", str(tmp_path / "c.json")])
    assert exit_.value.code == 78
    assert "which" in capsys.readouterr().err


def test_a_required_setting_must_be_given(capsys):
    with pytest.raises(SystemExit):
        parse(Required, [])
    assert "pairs must be given" in capsys.readouterr().err


def test_help_says_what_each_setting_is_and_its_default(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(Config, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert exit_.value.code == 0
    assert "passes over the data, at most 100% of them (default 1)" in text
    assert "How to train." in text


def test_pages_can_offer_the_fields():
    settings = {setting.name: setting for setting in settings_of(Config)}
    assert settings["epochs"].help.startswith("passes over the data")
    assert settings["epochs"].default == 1
    assert not settings["epochs"].required
