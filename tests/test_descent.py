from __future__ import annotations

import pytest
import torch

from geoseg.config import Backprop
from geoseg.segment.descent import Optimizer

from .conftest import output_of


@pytest.mark.parametrize("n_steps", [1, 3])
def test_step_without_momentum_goes_against_the_gradient_of_torch(n_steps):
    options = Backprop(optimizer="sgd", learning_rate=0.1, momentum=0.0)
    weight = torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
    pixels, gradient = torch.linspace(0, 2, 8).reshape(4, 2), torch.linspace(-3, 1, 12).reshape(4, 3)
    expected = weight.detach().clone().requires_grad_()
    descent = Optimizer([weight], options)

    for _ in range(n_steps):
        descent.descend((pixels @ weight) ** 2, gradient)
        (step,) = torch.autograd.grad((pixels @ expected) ** 2, expected, gradient)
        expected = (expected.detach() - 0.1 * step).requires_grad_()

    assert torch.allclose(weight, expected, rtol=1e-5)


@pytest.mark.slow
def test_step_does_not_import_sympy():
    program = (
        "import sys, torch; from geoseg.config import Backprop; from geoseg.segment.descent import Optimizer\n"
        "weight = torch.ones(2, 3, requires_grad=True)\n"
        "Optimizer([weight], Backprop()).descend(weight * 2, torch.ones(2, 3))\n"
        "print('ENDED', weight[0, 0].item() < 1, 'sympy' in sys.modules)"
    )

    assert "ENDED True False" in output_of(program)
