"""A policy's history leads to exactly the judgments that stood when its reward model was trained."""

from annotate.judging import withdraw
from annotate.models import Judgment
from policy.app import rounds
from policy.app.lineage import lineage
from tests.policy.app.conftest import FEW, carry_through, claimed, do


def counted() -> set[int]:
    return set(Judgment.objects.standing().filter(counted=True).values_list("pk", flat=True))


def test_a_policy_leads_back_to_its_judgments_and_to_no_later_ones(project, judged):
    judged(6)
    withdraw(Judgment.objects.first().assignment)
    started = rounds.start(project, by="ada", settings=FEW)
    do(started.current.run)
    claimed(started.current.run)  # its pairs are written now
    then = counted()
    started.current.run.refresh_from_db()
    judged(1)
    from tests.policy.app.conftest import succeed, write_output

    write_output(started.current.run)
    succeed(started.current.run)
    carry_through(started)

    found = lineage(started.policy)

    assert len(then) == 5
    assert found.judgments == then != counted()
    assert found.policies == [started.policy, started.warm, started.base]
    assert [run.kind for run in found.runs] == ["base-samples", "reward-model", "best-of-n", "ppo"]
    assert found.round == started
    assert found.reward_model == started.reward_model
    assert found.file == started.reward_model.run.directory.path / "input" / "pairs.jsonl"
    assert found.reward_model.judgments == len(found.judgments)


def test_an_earlier_policy_keeps_its_own_judgments(project, started, judged):
    carry_through(started)
    then = lineage(started.policy).judgments
    judged(100)
    rounds.decide(started, promote=True, by="ada")
    now = counted()

    second = carry_through(rounds.start(project, by="ada", settings=FEW))

    assert lineage(started.policy).judgments == then < now
    assert lineage(second.policy).judgments == now
    assert lineage(started.warm).judgments == then


def test_the_base_has_no_history(base):
    found = lineage(base)

    assert (found.policies, found.runs, found.round, found.judgments) == ([base], [], None, frozenset())
