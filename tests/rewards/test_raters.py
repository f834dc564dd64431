"""How a judgment comes about: against the model written out, and against raters that are known."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lm import records
from lm.records import Pair, RecordError
from rewards import group_heads, head, labels, train
from rewards.batches import Preferences
from rewards.bradley_terry import fit_head, rao_kupper, rao_kupper_loss
from rewards.joint import fit_jointly, rater_errors, refit, style_found
from rewards.raters import Observed, Raters, considered, loss_of
from rewards.reward_model import RewardModel
from rewards.style import NAMES, Terms
from tests.rewards.conftest import pair, thanking_pairs


def preferences(
    count: int,
    *,
    raters: int = 3,
    ties: bool = True,
    anonymous: bool = True,
    unknown_sides: bool = True,
    soft: bool = True,
    ranking: bool = True,
    seed: int = 0,
) -> Preferences:
    """Pairs of 2 * count responses, with whatever a file may hold."""
    draws = np.random.default_rng(seed)
    tie = torch.tensor(draws.random(count) < (0.25 if ties else 0))
    soft_label = torch.tensor(np.where(draws.random(count) < 0.3, draws.uniform(0.5, 1, count), 1.0))
    rater = torch.tensor(draws.integers(-1 if anonymous else 0, raters, count))
    judgment = torch.arange(count)
    chosen, rejected = torch.arange(count), torch.arange(count) + count
    if ranking:  # the first judgment ranks three: 0 > 1 > 2
        judgment[:3] = 0
        tie[:3] = False
        chosen[:3], rejected[:3] = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
        rater[:3] = rater[0]
    nobody = torch.full((count,), -1)
    return Preferences(
        prompts=[],
        responses=[[0]] * (2 * count),
        asked=[],
        texts=[],
        chosen=chosen,
        rejected=rejected,
        tie=tie,
        all_bad=torch.zeros(count, dtype=torch.bool),
        weight=torch.tensor(draws.uniform(0.2, 1.5, count)),
        margin=torch.tensor(np.where(draws.random(count) < 0.3, 0.4, 0.0)),
        prompt=judgment,
        judgment=judgment,
        comparison=judgment,
        rater=rater,
        group=nobody,
        criterion=nobody,
        side=torch.tensor(draws.integers(-1, 2, count) if unknown_sides else draws.choice([-1, 1], count)),
        strength=nobody,
        since_break=nobody,
        purpose=nobody,
        soft_label=soft_label if soft else torch.ones(count, dtype=torch.float64),
        prompt_ids=[f"p{number}" for number in range(count)],
        raters=[f"r{number}" for number in range(raters)],
        groups=[],
        criteria=[],
        purposes=[],
        dropped=0,
    )


def some_raters(given: Preferences, ties: str, terms: Terms, seed: int = 1, **more) -> Raters:
    """Raters whose every parameter is drawn."""
    raters = Raters(given, ties=ties, terms=terms, dtype=torch.float64, **more)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in raters.parameters.values():
            value.add_(torch.randn(value.shape, generator=draws, dtype=torch.float64))
    return raters


def two_terms(count: int, seed: int = 2) -> Terms:
    draws = torch.Generator().manual_seed(seed)
    return Terms.of(("length", "lists"), torch.rand(count, 2, generator=draws, dtype=torch.float64) - 0.5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def written_out(raters: Raters, given: Preferences, terms: Terms, differences, place: int) -> float:
    """The negative log-likelihood of one pair, as the module's first lines say it."""
    values = {name: value.detach().numpy() for name, value in raters.parameters.items()}
    rater, side = int(given.rater[place]), int(given.side[place])
    known = given.rater >= 0
    mean = sum(
        float(given.weight[i]) * values["scale"][int(given.rater[i])] for i in range(len(given)) if known[i]
    ) / float(given.weight[known].sum())

    def own(name: str) -> float:
        return float(values[name][rater]) if rater >= 0 else 0.0

    a = 1 + 0.5 * (own("scale") - mean) if rater >= 0 else 1.0
    b = 0.5 * float(values["mean_side"]) + 0.3 * own("side")
    e, p = sigmoid(-2 + 1.5 * own("lapse")), sigmoid(1.5 * own("lapse_first"))
    if "below_best" in values and place == 2:
        a *= 1 + 0.5 * float(values["below_best"])
    style = float(terms.columns[place].numpy() @ values["style"])
    seen = float(terms.columns[place].numpy() @ values["style_seen"])
    z = a * (float(differences[place]) - float(given.margin[place]) + seen) + b * side + style
    first_by_guess = {1: p, -1: 1 - p, 0: 0.5}[side]
    q = 0.0
    if raters.ties == "half":
        chances = [sigmoid(z), 0.0, sigmoid(-z)]
    else:
        q = sigmoid(-2.5 + float(values["mean_lazy"]) + own("lazy"))
        width = math.exp(float(values["width"]) + 0.5 * own("rater_width"))
        if raters.ties == "davidson":
            weights = [math.exp(z / 2), width, math.exp(-z / 2)]
            chances = [one / sum(weights) for one in weights]
        else:
            chances = [sigmoid(z - width), 0.0, sigmoid(-z - width)]
            chances[1] = 1 - sum(chances)
    guesses = [first_by_guess, 0.0, 1 - first_by_guess]
    mixed = [(1 - q) * ((1 - e) * one + e * other) for one, other in zip(chances, guesses, strict=True)]
    mixed[1] += q
    if given.tie[place] and raters.ties != "half":
        return -math.log(mixed[1])
    label = 0.5 if given.tie[place] else float(given.soft_label[place])
    return -label * math.log(mixed[0]) - (1 - label) * math.log(mixed[2])


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper", "half"])
def test_the_likelihood_is_the_model_written_out(ties):
    given, terms = preferences(40), two_terms(40)
    raters = some_raters(given, ties, terms)
    differences = torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2
    found = raters.losses(differences, Observed.of(given, terms))
    expected = [written_out(raters, given, terms, differences, place) for place in range(40)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper", "half"])
def test_gradients_are_those_of_finite_differences(ties):
    given, terms = preferences(12), two_terms(12)
    raters, observed = some_raters(given, ties, terms), Observed.of(given, terms)
    names = list(raters.parameters)
    start = [value.detach().clone().requires_grad_() for value in raters.parameters.values()]
    differences = torch.randn(12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def loss(differences, *values):
        raters.parameters = dict(zip(names, values, strict=True))
        return (observed.weight * raters.losses(differences, observed)).sum() + raters.prior_share()

    assert torch.autograd.gradcheck(loss, (differences.requires_grad_(), *start))


def test_the_prior_is_the_sum_of_squares_in_its_deviations():
    given, terms = preferences(30), two_terms(30)
    raters = some_raters(given, "davidson", terms, style_penalty=4.0)
    values = {name: float(value.detach().square().sum()) for name, value in raters.parameters.items()}
    width, style = values.pop("width"), values.pop("style") + values.pop("style_seen")
    assert width > 0  # and has no prior
    assert float(raters.prior().detach()) == pytest.approx((sum(values.values()) + 4 * style) / 2)
    assert float(raters.prior_share().detach()) == pytest.approx(
        float(raters.prior().detach() / given.weight.sum())
    )


def test_a_judgment_without_a_rater_is_that_of_an_average_one():
    given, terms = preferences(60), two_terms(60)
    raters = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    own = raters.own()
    assert all(bool((value == value[-1]).all()) for value in own.values())
    raters = some_raters(given, "davidson", terms)
    own = raters.own()
    assert own["scale"][-1].item() == 1.0
    assert (raters.share * own["scale"][:-1]).sum().item() == pytest.approx(1.0)
    assert own["lapse"][-1].item() == -2.0


def test_where_nobody_is_named_the_likelihood_is_davidsons_alone():
    given = preferences(30, raters=0, soft=False, ranking=False)
    terms = Terms.none(30)
    raters = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    assert set(raters.parameters) == {"width"}
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    observed = Observed.of(given, terms)
    found = fit_jointly(x, observed, raters, torch.full((4,), 2.0, dtype=torch.float64))
    known, width = fit_head(x, given.outcomes, given.weight, 2.0, margins=given.margin)
    assert torch.allclose(found, known, atol=1e-5)
    assert float(raters.log_width.exp()) == pytest.approx(width, abs=1e-5)


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper", "half"])
def test_responsibilities_are_bayes_rule(ties):
    """What EM counts sums to one minus the chance of a lapse given the answer."""
    given, terms = preferences(40, soft=False, ranking=False), two_terms(40)
    raters, observed = some_raters(given, ties, terms), Observed.of(given, terms)
    differences = torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = raters.values(observed)
    counted = considered(values, differences, observed, ties)
    awake = torch.sigmoid(-values["lapse"])
    if "lazy" in values:
        awake = awake * torch.sigmoid(-values["lazy"])
    sleepless = {name: value for name, value in values.items() if not name.startswith("la")}
    decided = observed.tie.logical_not() if ties == "half" else torch.ones(40, dtype=torch.bool)
    looked = (-loss_of(sleepless, differences, observed, ties)).exp() * awake
    expected = looked / (-loss_of(values, differences, observed, ties)).exp()
    assert torch.allclose(counted.sum(1)[decided], expected[decided], atol=1e-12)


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper", "half"])
def test_the_joint_fit_is_where_the_gradient_of_the_written_posterior_is_zero(ties):
    given, terms = preferences(200, raters=6), two_terms(200)
    observed = Observed.of(given, terms)
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    raters = Raters(given, ties=ties, terms=terms, dtype=torch.float64)
    penalty = torch.full((5,), 2.0, dtype=torch.float64)
    w = fit_jointly(x, observed, raters, penalty).requires_grad_()
    posterior = given.weight @ raters.losses(x @ w, observed) + raters.prior() + w.square().sum()
    slopes = torch.autograd.grad(posterior, [w, *raters.parameters.values()])
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-3
    # EM stays where it is: refitted with the raters as they are the head is the same.
    again = refit(x, observed, raters, w.detach(), given.weight[None], penalty)[0]
    assert torch.allclose(again, w, atol=1e-4)


def test_a_refit_for_other_weights_is_the_minimum_of_its_own_sum():
    """Rao and Kupper's second step, by a general optimiser."""
    given = preferences(150, raters=0, soft=False, ranking=False)
    observed = Observed.of(given, Terms.none(150))
    raters = Raters(given, ties="rao-kupper", terms=Terms.none(150), dtype=torch.float64)
    x = torch.randn(150, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = torch.rand(2, 150, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    penalty = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = refit(x, observed, raters, torch.zeros(4, dtype=torch.float64), weights, penalty)
    for row, weight in zip(found, weights, strict=True):
        w = row.clone().requires_grad_()
        difference = x @ w - given.margin
        total = rao_kupper_loss(difference, given.tie, raters.log_width, weight=weight) * weight.sum()
        (slope,) = torch.autograd.grad(total + (penalty * w.square()).sum() / 2, w)
        assert slope.abs().max() < 1e-4


def test_rao_and_kupper_is_the_formula_written_out():
    for d, kappa in [(0.8, 0.6), (-30.0, 0.01), (0.0, 5.0)]:
        found = rao_kupper(torch.tensor([d], dtype=torch.float64), math.log(kappa)).exp()[0]
        first, second = sigmoid(d - kappa), sigmoid(-d - kappa)
        assert found.tolist() == pytest.approx([first, 1 - first - second, second], abs=1e-12)


def test_errors_are_those_of_the_inverse_hessian():
    """Of all parameters together, where there is much of each rater; blocks take the rest as known."""
    draws = torch.Generator().manual_seed(0)
    given = preferences(1500, raters=4, soft=False, anonymous=False, unknown_sides=False, ranking=False)
    given = replace(given, weight=torch.ones(1500, dtype=torch.float64), margin=torch.zeros(1500).double())
    x = torch.randn(1500, 3, generator=draws, dtype=torch.float64)
    x[x[:, 0] < 0] *= -1  # the chosen one has more of the first
    terms, penalty = two_terms(1500), torch.full((3,), 1.0, dtype=torch.float64)
    observed = Observed.of(given, terms)
    raters = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    w = fit_jointly(x, observed, raters, penalty)
    names, sizes = list(raters.parameters), [value.numel() for value in raters.parameters.values()]
    shapes = [value.shape for value in raters.parameters.values()]

    def posterior(point):
        head, *rest = point.split([3, *sizes])
        raters.parameters = {n: v.reshape(s) for n, v, s in zip(names, rest, shapes, strict=True)}
        return given.weight @ raters.losses(x @ head, observed) + raters.prior() + head.square().sum() / 2

    fitted = {name: value.detach() for name, value in raters.parameters.items()}
    point = torch.cat([w, *(value.flatten() for value in fitted.values())])
    covariance = torch.linalg.inv(torch.autograd.functional.hessian(posterior, point))
    raters.parameters = fitted
    by_name = dict(zip(names, covariance.diagonal()[3:].sqrt().split(sizes), strict=True))
    errors = rater_errors(raters, observed, x @ w)
    ratio = errors["lapse"] / (1.5 * by_name["lapse"])
    assert 0.75 < float(ratio.min()) <= float(ratio.max()) < 1.1
    ratio = errors["side"] / (0.3 * by_name["side"])
    assert 0.7 < float(ratio.min()) <= float(ratio.max()) < 1.1
    rows = style_found(raters, observed, terms, x, w, penalty)
    places = [3 + sum(sizes[: names.index(name)]) for name in ("style", "style_seen")]
    for number, row in enumerate(rows):
        both = torch.tensor([place + number for place in places])
        error = float(covariance[both[:, None], both].sum().sqrt())
        assert (row["high"] - row["low"]) / 2 / 1.96 == pytest.approx(error, rel=0.15)


def test_the_parameters_come_back_from_a_file_and_others_are_refused(tmp_path):
    given, terms = preferences(30), two_terms(30)
    raters = some_raters(given, "davidson", terms)
    raters.save(tmp_path / "raters.safetensors")
    again = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    again.load(tmp_path / "raters.safetensors")
    observed, zero = Observed.of(given, terms), torch.zeros(30, dtype=torch.float64)
    assert torch.equal(again.losses(zero, observed), raters.losses(zero, observed))
    with pytest.raises(ValueError, match="holds the parameters of other raters"):
        Raters(given, ties="half", terms=terms).load(tmp_path / "raters.safetensors")


def test_gradient_descent_in_single_precision_comes_to_the_joint_fit():
    given, terms = preferences(300, raters=5, soft=False), two_terms(300)
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x[x[:, 0] < 0] *= -1
    exact = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    fitted = fit_jointly(x, Observed.of(given, terms), exact, torch.full((3,), 2.0, dtype=torch.float64))
    raters = Raters(given, ties="davidson", terms=terms)
    observed, w = Observed.of(given, terms).to("cpu"), torch.zeros(3, requires_grad=True)
    groups = [{"params": list(raters.parameters.values()), "lr": raters.RATE}, {"params": [w], "lr": 0.03}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(800):
        optimizer.zero_grad()
        losses = raters.losses(x.float() @ w, observed)
        loss = (observed.weight * losses).sum() / observed.weight.sum() + raters.prior_share()
        (loss + w.square().sum() / raters.total).backward()
        optimizer.step()
    assert torch.allclose(w.double(), fitted, atol=0.02), w.double() - fitted
    assert torch.allclose(raters.own()["lapse"].double(), exact.own()["lapse"], atol=0.1)


ODD = [
    {"raters": 1, "anonymous": False},
    {"raters": 40},  # most with one judgment
    {"ties": False},
    {"raters": 0},
    {"soft": True, "ties": False, "ranking": False, "unknown_sides": False},
]


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper", "half"])
@pytest.mark.parametrize("odd", ODD, ids=str)
def test_few_raters_few_judgments_and_no_ties_are_fitted(odd, ties):
    given = preferences(40, **odd)
    features = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    found = head.fit(
        features,
        given,
        features,
        folds=given.folds(0),
        penalty=5.0,
        members=3,
        pessimism=1.0,
        ties=ties,
        seed=0,
        terms=two_terms(40),
    )
    assert found.head(features).isfinite().all()
    assert found.unseen.isfinite().all()
    assert len(found.figures["raters"]) == odd.get("raters", 3)
    assert sum(row["judgments"] for row in found.figures["raters"]) <= given.judgments
    json.dumps(found.figures, allow_nan=False)
    if odd.get("raters") == 1:
        assert found.figures["raters"][0]["scale"] == pytest.approx(1.0)


def test_labels_add_up_the_evidence_of_a_pairs_judgments():
    given = preferences(300, raters=3, soft=False, anonymous=False, ranking=False, ties=False)
    given.chosen[1], given.rejected[1] = given.rejected[0], given.chosen[0]  # another says the opposite
    given.rater[:2] = torch.tensor([0, 1])
    terms = Terms.none(300)
    raters, observed = some_raters(given, "davidson", terms), Observed.of(given, terms)
    differences = torch.randn(300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = labels.evidence(raters, observed, differences)
    levels = np.quantile(differences.abs().numpy(), (np.arange(20) + 0.5) / 20)
    by_hand = {}
    for sign in (1, -1):
        chances = []
        for level in levels:
            losses = raters.losses(torch.full((300,), sign * level, dtype=torch.float64), observed)
            chances.append(math.exp(-losses[5].item()))
        by_hand[sign] = np.mean(chances)
    assert float(found[5]) == pytest.approx(math.log(by_hand[1] / by_hand[-1]))

    made = labels.soft_labels(raters, observed, differences, given)
    assert len(made.better) == 299
    total = float(found[0] - found[1])
    assert int(made.better[0]) == int(given.chosen[0] if total > 0 else given.rejected[0])
    assert float(made.soft_label[0]) == pytest.approx(sigmoid(abs(total)))
    spread = float(given.weight[:2].mean())
    assert float(made.weight[0]) == pytest.approx(spread * (2 * sigmoid(abs(total)) - 1))


def test_style_terms_have_a_root_mean_square_of_one_and_constant_ones_are_dropped():
    texts = ["one two three", "one", "a - b! c", "four words are here"]
    chosen, rejected = torch.tensor([0, 2, 3]), torch.tensor([1, 1, 0])
    terms = Terms.counted(texts, chosen, rejected)
    assert terms.names == ("length", "exclamations")
    assert terms.columns.square().mean(0).tolist() == pytest.approx([1.0, 1.0])
    length = torch.tensor([2 / 5, 3 / 6, 1 / 8]).double()
    assert torch.allclose(terms.columns[:, 0] * terms.units[0], length)
    assert len(NAMES) == 9


@pytest.mark.parametrize("value", [0.4, 1.2, -1])
def test_a_soft_label_outside_half_to_one_is_refused(value):
    with pytest.raises(RecordError, match=r"soft_label: must be \.5 to 1"):
        pair(soft_label=value)


def test_a_tie_has_no_soft_label():
    with pytest.raises(RecordError, match="soft_label: is of a pair that is no tie"):
        pair(soft_label=0.6, tie=True)


def test_a_run_says_what_its_raters_are_like_and_leaves_labels(tiny, tmp_path):
    """One of four raters answers at random; they are named, the others read."""
    found = []
    for number, one in enumerate(thanking_pairs(160)):
        rater = f"r{number % 4}"
        turned = rater == "r3" and number % 8 < 4
        texts = (one.rejected, one.chosen) if turned else (one.chosen, one.rejected)
        first = "chosen" if number % 3 else "rejected"
        found.append(pair(number, *texts, judgment_id=str(number), rater=rater, first=first, tie=one.tie))
    records.write(tmp_path / "pairs.jsonl", found)
    words = ["--model", tiny, "--pairs", tmp_path / "pairs.jsonl", "--output", tmp_path / "run"]
    train.main([*map(str, words), "--device", "cpu", "--penalty", "5", "--train", "head"])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    by_name = {row["rater"]: row for row in result["raters"]}
    assert [row["judgments"] for row in by_name.values()] == [40] * 4
    care = {name: row["scale"] * (1 - row["lapse"]) for name, row in by_name.items()}
    assert care["r3"] < 0.5 * min(care[name] for name in ("r0", "r1", "r2"))
    assert {"name", "coefficient", "low", "high", "per"} == result["style"][0].keys()
    made = list(records.read(tmp_path / "run" / "labels.jsonl", Pair))
    assert len(made) == 160
    assert all(0.5 <= label.soft_label <= 1 for label in made)
    asked = {one.prompt_id: one.rater for one in found}
    weight = {name: np.mean([row.weight for row in made if asked[row.prompt_id] == name]) for name in care}
    assert weight["r3"] < 0.5 * weight["r0"]
    # What the run leaves is a file to train on.
    again = ["--model", tiny, "--pairs", tmp_path / "run" / "labels.jsonl", "--output", tmp_path / "again"]
    train.main([*map(str, again), "--device", "cpu", "--penalty", "5", "--train", "head"])
    assert (tmp_path / "again" / "result.json").exists()


@pytest.fixture(scope="module")
def two_tastes(tiny, tmp_path_factory):
    """A run of two groups of which the second likes what the first doesn't."""
    folder = tmp_path_factory.mktemp("tastes")
    found = []
    for number, one in enumerate(thanking_pairs(780, tie_every=1000)):
        other = number % 5 < 2
        texts = (one.rejected, one.chosen) if other else (one.chosen, one.rejected)
        rater, group = f"r{number % 20}", "north" if other else "south"
        found.append(pair(number, *texts, judgment_id=str(number), rater=rater, group=group))
    records.write(folder / "pairs.jsonl", found)
    words = ["--model", tiny, "--pairs", folder / "pairs.jsonl", "--output", folder / "run", "--groups"]
    more = ["--device", "cpu", "--penalty", 5, "--train", "head", "--members", 2, "--no-style-terms"]
    train.main([*map(str, [*words, *more])])
    return folder / "run"


def test_a_group_of_another_taste_has_a_head_of_its_own(two_tastes):
    rows = json.loads((two_tastes / "result.json").read_text())["groups"]
    by_name = {row["group"]: row for row in rows}
    assert {name: row["judgments"] for name, row in by_name.items()} == {"north": 312, "south": 468}
    assert by_name["north"]["accuracy"] > 0.9 > by_name["north"]["overall_accuracy"]
    model = RewardModel.load(two_tastes)
    features = torch.randn(20, model.head.weights.shape[1], generator=torch.Generator().manual_seed(0))
    overall, north = model.score_features(features), model.head.for_group("north")(features)
    assert not torch.allclose(overall, north)
    with pytest.raises(ValueError, match=r"group must be one that has a head \(north, south\), not 'west'"):
        model.head.for_group("west")


def test_an_artefact_from_before_groups_and_its_scores_stay(two_tastes, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(two_tastes / "model", old)
    about = json.loads((old / "reward_model.json").read_text())
    del about["groups"], about["digest"]
    (old / "reward_model.json").unlink()  # a copy of a link would change the run's
    (old / "reward_model.json").write_text(json.dumps(about))
    tensors = load_file(old / "reward_head.safetensors")
    del tensors["deltas"]
    save_file(tensors, old / "reward_head.safetensors")
    features = torch.randn(20, tensors["mean"].shape[0], generator=torch.Generator().manual_seed(0))
    new = RewardModel.load(two_tastes).score_features(features)
    assert torch.equal(RewardModel.load(old).score_features(features), new)


def test_a_small_group_has_no_head():
    given = preferences(400, raters=4, anonymous=False)
    given = replace(given, group=torch.zeros(400).long(), groups=["few raters"])
    assert group_heads.large_enough(given) == []
    given = preferences(200, raters=9, anonymous=False)
    given = replace(given, group=torch.zeros(200).long(), groups=["few judgments"])
    assert group_heads.large_enough(given) == []
