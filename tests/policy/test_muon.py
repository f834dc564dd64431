import pytest
import torch

from policy import optimizer_state
from policy.muon import QUINTIC, Muon, orthogonalised


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_an_orthogonalised_matrix_keeps_its_directions_and_evens_out_their_lengths():
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 16)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)

    found = orthogonalised(matrices)

    lengths = left.mT @ found @ right.mT  # in the matrix's own directions
    diagonal = lengths.diagonal(dim1=1, dim2=2)
    assert (lengths - torch.diag_embed(diagonal)).abs().max() < 1e-4
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_a_step_is_what_the_formula_says_of_each_matrix_alone(shape):
    torch.manual_seed(1)
    rate, momentum, decay = 0.02, 0.95, 0.1
    parameters = [torch.nn.Parameter(torch.randn(shape)) for _ in range(2)]
    optimizer = Muon(parameters, lr=rate, momentum=momentum, weight_decay=decay)
    expected = [parameter.detach().clone() for parameter in parameters]
    averages = [torch.zeros(shape) for _ in parameters]
    for _ in range(3):
        for i, parameter in enumerate(parameters):
            gradient = torch.randn(shape)
            parameter.grad = gradient.clone()
            averages[i] = momentum * averages[i] + (1 - momentum) * gradient
            x = momentum * averages[i] + (1 - momentum) * gradient
            x = x / x.norm()
            for _ in range(5):
                a, b, c = QUINTIC
                gram = x @ x.T
                x = a * x + b * gram @ x + c * gram @ gram @ x
            scale = max(1, shape[0] / shape[1]) ** 0.5
            expected[i] = expected[i] * (1 - rate * decay) - rate * scale * x
        optimizer.step()

    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-4, atol=1e-5)


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def test_an_optimizer_goes_on_from_its_saved_state_exactly(tmp_path):
    def optimizers(parameter):
        return Muon([parameter], lr=0.02), torch.optim.AdamW([parameter], lr=0.01)

    def steps(parameter, used, numbers):
        for number in numbers:
            parameter.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(number))
            for optimizer in used:
                optimizer.step()

    straight = torch.nn.Parameter(torch.ones(4, 4))
    used = optimizers(straight)
    steps(straight, used, [0, 1])
    resumed = torch.nn.Parameter(straight.detach().clone())
    again = optimizers(resumed)
    for name, old, new in zip(("muon", "adamw"), used, again, strict=True):
        optimizer_state.save(old, tmp_path / name)
        optimizer_state.load(new, tmp_path / name)
    steps(straight, used, [2, 3])
    steps(resumed, again, [2, 3])

    assert torch.equal(straight, resumed)
