"""Steps of gradient descent: the gradient of the loss, and the optimizers.

The gradient of the loss by the responses is written out, and so are the optimizers: torch.optim imports the compiler of
torch, which takes longer than the training, and the loss itself is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from geoseg.config import Backprop

_SMOOTHING = 0.99  # of the mean of squared gradients, the default of torch.optim.RMSprop
_EPSILON = 1e-8  # as there
_MIN_SHARE = 1e-12  # of a code, added before the logarithm


class Optimizer:
    """SGD or RMSprop with momentum, with the same results as those of torch.optim.

    Parameters
    ----------
    parameters : iterable of Tensor
    options : Backprop
        Its values optimizer, learning_rate and momentum.

    Attributes
    ----------
    rate : float
        Learning rate of the next step.
    """

    def __init__(self, parameters: Iterable[Tensor], options: Backprop) -> None:
        self.rate = options.learning_rate
        self._parameters, self._kind, self._momentum = list(parameters), options.optimizer, options.momentum
        self._velocities: dict[int, Tensor] = {}  # by position of the parameter
        self._squares: dict[int, Tensor] = {}

    def decay(self, rate: float, done: float) -> None:
        """Set the learning rate, which decays from `rate` to 0 along a cosine of the fraction of steps done."""
        self.rate = rate * (1 + math.cos(math.pi * done)) / 2

    def descend(self, responses: Tensor, gradient: Tensor) -> None:
        """Do one step by automatic differentiation.

        Parameters
        ----------
        responses : (pixel, code) float32
            A function of the parameters.
        gradient : (pixel, code) float32
            Gradient of the loss by the responses.
        """
        for parameter in self._parameters:
            parameter.grad = None
        loss: Tensor = _WithGradient.apply(responses, gradient)  # type: ignore[no-untyped-call] # so in torch
        loss.backward()  # type: ignore[no-untyped-call] # so in torch
        self.apply([parameter.grad for parameter in self._parameters])

    def apply(self, gradients: Sequence[Tensor | None]) -> None:
        """Do one step.

        Parameters
        ----------
        gradients : sequence of Tensor
            Gradient of the loss by each parameter; None = the parameter is not changed.
        """
        with torch.no_grad():
            for i, (parameter, gradient) in enumerate(zip(self._parameters, gradients, strict=True)):
                if gradient is not None:
                    self._change(i, parameter, gradient)

    def _change(self, i: int, parameter: Tensor, gradient: Tensor) -> None:
        if self._kind == "sgd":
            if self._momentum == 0:
                parameter.add_(gradient, alpha=-self.rate)
                return
            if i not in self._velocities:
                self._velocities[i] = gradient.clone()
            else:
                self._velocities[i].mul_(self._momentum).add_(gradient)
            parameter.add_(self._velocities[i], alpha=-self.rate)
            return
        square = self._squares.setdefault(i, torch.zeros_like(parameter))
        square.mul_(_SMOOTHING).addcmul_(gradient, gradient, value=1 - _SMOOTHING)
        scale = square.sqrt().add_(_EPSILON)
        if self._momentum == 0:
            parameter.addcdiv_(gradient, scale, value=-self.rate)
            return
        velocity = self._velocities.setdefault(i, torch.zeros_like(parameter))
        velocity.mul_(self._momentum).addcdiv_(gradient, scale)
        parameter.add_(velocity, alpha=-self.rate)


def loss_gradient(responses: Tensor, target: Tensor, entropy_weight: float) -> Tensor:
    """Return the gradient by the responses of the cross entropy, less the weighted entropy of the mean prediction.

    Parameters
    ----------
    responses : (pixel, code) float32
    target : (pixel,) int64
        Code of each pixel; below 0 = nodata.
    entropy_weight : float
        Of the entropy of the mean prediction.

    Returns
    -------
    (pixel, code) float32
        0 for nodata pixels.

    Notes
    -----
    With the softmax p of n pixels, its mean m and the targets as unit vectors t, the loss is
    ``-Σ t log p / n - w H(m)`` with ``H(m) = -Σ m log m``. Its gradient is ``(p - t + p (g - p·g)) / n`` with
    ``g = -w dH/dm = w (log m + 1)``.
    """
    data = target >= 0
    n_data = int(data.sum())
    shares = responses.detach().softmax(dim=1)
    by_mean = None
    if entropy_weight > 0:
        by_mean = entropy_gradient(data.to(shares.dtype) @ shares / max(n_data, 1), entropy_weight)
    return loss_gradient_of_shares(shares, target, n_data, by_mean)


def entropy_gradient(mean: Tensor, weight: float) -> Tensor:
    """Return the gradient of the weighted negative entropy by the mean prediction, (code,); see `loss_gradient`."""
    return weight * ((mean + _MIN_SHARE).log() + mean / (mean + _MIN_SHARE))


def loss_gradient_of_shares(
    shares: Tensor, target: Tensor, n_data: int, by_mean: Tensor | None = None, *, weight: float = 1.0
) -> Tensor:
    """Return the gradient of the loss by the responses of some pixels of an image.

    Parameters
    ----------
    shares : (pixel, code) float32
        Softmax of the responses; the result replaces it.
    target : (pixel,) int64
        Code of each pixel; below 0 = nodata.
    n_data : int
        Number of pixels of the image that are not nodata.
    by_mean : (code,), optional
        What `entropy_gradient` returns.
    weight : float
        Of the target.

    Returns
    -------
    (pixel, code) float32
        0 for nodata pixels.
    """
    if by_mean is not None:
        shares *= (1 - shares @ by_mean)[:, None] + by_mean
    shares.scatter_add_(1, target.clamp(min=0)[:, None], shares.new_full((len(target), 1), -weight))
    scale = (target >= 0).to(shares.dtype).div_(max(n_data, 1))
    return shares.mul_(scale[:, None])


def soft_loss_gradient(responses: Tensor, target: Tensor) -> Tensor:
    """Return the gradient by the responses of the cross entropy with a share of each code as the target.

    Parameters
    ----------
    responses : (pixel, code) float32
    target : (pixel, code) float32
        The shares of a pixel have the sum 1.

    Returns
    -------
    (pixel, code) float32
    """
    return responses.detach().softmax(dim=1).sub_(target).div_(max(len(target), 1))


class _WithGradient(torch.autograd.Function):
    """A loss of 0 whose gradient by the responses is given.

    ``torch.autograd.backward(responses, gradient)`` does the same, but imports sympy to compare the two shapes.
    """

    @staticmethod
    def forward(context: Any, responses: Tensor, gradient: Tensor) -> Tensor:
        context.gradient = gradient
        return responses.new_zeros(())

    @staticmethod
    def backward(context: Any, *_: Tensor) -> tuple[Tensor, None]:
        return context.gradient, None
