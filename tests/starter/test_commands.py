import pytest

from lm.records import Conversation, Prompt, read
from starter import corpus, prompts
from starter.scenes import is_held_out


def run(program, monkeypatch, *argv: object) -> None:
    monkeypatch.setattr("sys.argv", ["program", *map(str, argv)])
    program.main()


def test_a_corpus_is_written_the_same_each_time(tmp_path, monkeypatch):
    for name in ("one", "two"):
        run(corpus, monkeypatch, "--rows", 40, "--seed", 5, "--output", tmp_path / name)
    run(corpus, monkeypatch, "--rows", 40, "--seed", 6, "--output", tmp_path / "three")
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    rows = list(read(tmp_path / "one", Conversation))
    assert len(rows) == 40
    assert {row.properties[0] is None for row in rows} == {True, False}  # drills, and others


def test_the_mix_for_fine_tuning_has_no_drills(tmp_path, monkeypatch):
    run(corpus, monkeypatch, "--mix", "sft", "--rows", 60, "--output", tmp_path / "rows")
    assert all(None not in row.properties for row in read(tmp_path / "rows", Conversation))


def test_held_out_prompts_are_about_held_out_names(tmp_path, monkeypatch):
    run(prompts, monkeypatch, "--count", 30, "--held-out", "--output", tmp_path / "held")
    run(prompts, monkeypatch, "--count", 30, "--output", tmp_path / "trained")

    def orders(name: str) -> list[str]:
        heads = [prompt.messages[0].content.partition(";")[0] for prompt in read(tmp_path / name, Prompt)]
        return [head.split()[2].rstrip(",") for head in heads if head.startswith("Notes: order ")]

    assert orders("held")
    assert all(map(is_held_out, orders("held")))
    assert orders("trained")
    assert not any(map(is_held_out, orders("trained")))


@pytest.mark.parametrize("program", [corpus, prompts])
@pytest.mark.parametrize("flag", ["--rows", "--count", "--seed"])
def test_a_number_that_cannot_work_is_named(program, flag, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(program, monkeypatch, flag, -1, "--output", tmp_path / "rows")
    error = capsys.readouterr().err
    assert "-1" in error or "unrecognized" in error
    assert stop.value.code == 78
