"""The forward and the backward pass of the network over strips of images, written out.

Autograd works on a whole image layer by layer, and each operation reads and writes all of its values. Here all
operations on the values of a strip between two convolutions are one loop, and a strip fits the last level of most
caches. A batch norm needs sums over all pixels before and in the backward pass: so every layer is one pass over all
strips. Only the values of the convolutions are kept; all others are computed from them again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.segment import elementwise
from geoseg.segment.buffers import empty
from geoseg.segment.elementwise import Norm
from geoseg.segment.network import CodeNetwork
from geoseg.segment.strips import Strip, as_images, as_pixels, strips_of, with_margin

_NO_RELU = np.float32(-math.inf)
_STRIDE = ([1, 1],)  # what torch's convolutions take before the padding
_PLAIN = ([1, 1], False, [0, 0], 1)  # and after it: dilation, not transposed, output padding, groups


@dataclass(frozen=True)
class _Layer:
    """A convolution with its batch norm, and where the ReLU is: before it, after it or nowhere."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    low_in: np.float32
    low_out: np.float32

    @property
    def reach(self) -> int:
        """Pixels on each side on which a value depends."""
        return int(self.convolution.kernel_size[0]) // 2


@dataclass(frozen=True)
class _Applied:
    """The batch norm of a layer with the statistics of a forward pass.

    Parameters
    ----------
    norm : Norm
    inverse : (channel,) float64
        1 / standard deviation.
    n_own : int
        Number of pixels that the statistics are computed from; 0 = they are the running statistics.
    """

    norm: Norm
    inverse: NDArray[np.float64]
    n_own: int


class Passes:
    """Forward and backward pass over some images, on the CPU.

    Batch norms in training mode use the statistics of all images together.

    Parameters
    ----------
    network : CodeNetwork
        Its running statistics are changed in training mode. Its parameters may be changed between two forward passes.
    images : sequence of (channel, y, x) float32
    dtype : torch.dtype
        float32 or bfloat16: of the convolutions and of the values that are kept.

    Attributes
    ----------
    strips : list of Strip
    dtype : torch.dtype
    n_codes : int
    """

    def __init__(self, network: CodeNetwork, images: Sequence[NDArray[np.float32]], dtype: torch.dtype) -> None:
        self.dtype, self.n_codes = dtype, network.n_codes
        self._layers = _layers_of(network)
        self.strips = strips_of([image.shape[1:] for image in images], max(layer.reach for layer in self._layers))
        reach = self._layers[0].reach
        self._inputs = [_input_of(strip, reach, images[strip.images], dtype) for strip in self.strips]
        self._values: list[list[Tensor]] = []  # z of each layer and strip, (pixel, channel)
        self._applied: list[_Applied] = []  # of each layer

    @torch.no_grad()
    def forward(self, *, keep: bool = True, momentum: float | None = None) -> None:
        """Compute the values of all layers.

        Parameters
        ----------
        keep : bool
            False = those of the last layer only, so that a backward pass is not possible.
        momentum : float, optional
            Of the running statistics; by default that of the batch norms.
        """
        self._values, self._applied = [], []
        for k, layer in enumerate(self._layers):
            weight, bias = self._weight(layer), layer.convolution.bias
            bias = None if bias is None else bias.to(self.dtype)
            moments = _Moments(layer.low_in) if layer.norm.training else None
            self._values.append([])
            for i, strip in enumerate(self.strips):
                z = _convolution(self._input(k, i), strip, weight, bias)
                if moments is not None:
                    moments.add(z)
                self._values[k].append(z)
                if k and i and not keep:  # the next strip needs rows of this one, and no others before it
                    self._values[k - 1][i - 1] = z.new_empty(0)
            if moments is not None:
                moments.move(layer.norm, momentum)
            self._applied.append(_applied(layer, moments))
            if k and not keep:
                self._values[k - 1] = []

    def responses(self, i: int) -> Tensor:
        """Return the responses of the pixels of a strip, (pixel, code) float32, after a forward pass."""
        scale, offset = (torch.from_numpy(array) for array in self._applied[-1].norm[:2])
        responses = empty(self._values[-1][i].shape, torch.float32).copy_(self._values[-1][i])
        return torch.addcmul(offset, responses, scale, out=responses)

    @torch.no_grad()
    def backward(self, by_responses: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients by the parameters, in the order of ``network.parameters()``.

        The values of the forward pass are needed no more and freed.

        Parameters
        ----------
        by_responses : sequence of (pixel, code)
            Gradient of the loss by the responses of each strip, of the type of the passes.
        """
        result: list[Tensor] = []
        by_y = list(by_responses)
        sums = np.zeros((2, by_y[0].shape[1]))
        for i, gradient in enumerate(by_y):
            sums += self._gradient_sums(len(self._layers) - 1, i, gradient)
        for k in reversed(range(len(self._layers))):
            applied = _with_gradient(self._applied[k], self._layers[k], sums)
            by_norm = [_as_float32(sums[1] * applied.inverse), _as_float32(sums[0])]
            by_convolution, by_y, below = self._differentiate(k, by_y, applied.norm)
            if applied.norm.low_in == _NO_RELU:  # only an offset of the batch norm, which has its own in training mode
                by_convolution[1] = _as_float32(sums[0] * applied.norm.scale * (applied.n_own == 0))
            result = [*by_convolution, *by_norm, *result]
            sums = below
            self._values[k] = []
        return result

    def _weight(self, layer: _Layer) -> Tensor:
        return layer.convolution.weight.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _input(self, k: int, i: int) -> Tensor:
        """Return the input of layer k for a strip, with the rows around it that the convolution needs."""
        if k == 0:
            return self._inputs[i]
        values, norm = self._values[k - 1], self._applied[k - 1].norm

        def activate(i: int, part: slice, out: Tensor) -> None:
            elementwise.activate(_array(values[i][part]), norm, _array(out))

        return with_margin(self.strips, i, self._layers[k].reach, values[i], activate)

    def _gradient_sums(self, k: int, i: int, by_y: Tensor) -> NDArray[np.float32]:
        """Return the two sums of `elementwise.add_gradient_sums` for a strip, (2, channel)."""
        sums = np.zeros((2, by_y.shape[1]), np.float32)
        norm = self._applied[k].norm
        elementwise.add_gradient_sums(_array(by_y), _array(self._values[k][i]), norm, (sums[0], sums[1]))
        return sums

    def _differentiate(
        self, k: int, by_y: Sequence[Tensor], norm: Norm
    ) -> tuple[list[Tensor], list[Tensor], NDArray[np.float64]]:
        """Do the backward pass of a layer.

        Returns
        -------
        gradients by weight and bias of the convolution
        gradients by the output of the layer below
            One per strip.
        (2, channel) float64
            Their sums for the batch norm of the layer below.
        """
        layer, values = self._layers[k], self._values[k]
        weight = self._weight(layer)
        back = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        totals = [torch.zeros_like(weight, dtype=torch.float32), torch.zeros(len(weight))]
        is_cut = layer.low_in != _NO_RELU
        below: list[Tensor] = []
        sums = np.zeros((2, weight.shape[1]))

        def differentiate(i: int, part: slice, out: Tensor) -> None:
            elementwise.differentiate(_array(by_y[i][part]), _array(values[i][part]), norm, _array(out))

        for i, strip in enumerate(self.strips):
            by_z = with_margin(self.strips, i, layer.reach, by_y[i], differentiate)
            around = strip.margin(layer.reach) * strip.cols
            own = by_z[around : around + strip.pixels]
            for total, gradient in zip(
                totals, _by_parameters(own, self._input(k, i), strip, weight, needs_bias=is_cut), strict=True
            ):
                total += gradient
            if k:
                below.append(_convolution(by_z, strip, back, None))
                sums += self._gradient_sums(k - 1, i, below[i])
        return totals, below, sums


class _Moments:
    """Mean and variance of ``max(z, low_in)``, by sums over strips."""

    def __init__(self, low_in: np.float32) -> None:
        self._low_in = low_in
        self._shift: NDArray[np.float32] | None = None
        self._sums: Any = 0.0
        self.n = 0

    def add(self, z: Tensor) -> None:
        """Add the pixels of a strip, (pixel, channel)."""
        if self._shift is None:  # near the mean, so that little is lost in the sums of squares
            self._shift = np.maximum(z[:: len(z) // 64 + 1].float().numpy(), self._low_in).mean(axis=0)
        sums = np.zeros((2, z.shape[1]), np.float32)
        elementwise.add_moments(_array(z), self._low_in, self._shift, (sums[0], sums[1]))
        self._sums = self._sums + sums.astype(float)
        self.n += len(z)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each channel."""
        mean: NDArray[np.float64] = self._sums[0] / self.n + self._shift
        return mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each channel, without Bessel's correction."""
        variance: NDArray[np.float64] = np.maximum(self._sums[1] / self.n - (self._sums[0] / self.n) ** 2, 0)
        return variance

    def move(self, norm: nn.BatchNorm2d, momentum: float | None) -> None:
        """Move the running statistics of a batch norm towards these."""
        weight = norm.momentum if momentum is None else momentum
        unbiased = self.variance * self.n / max(self.n - 1, 1)
        for running, new in ((norm.running_mean, self.mean), (norm.running_var, unbiased)):
            if running is not None and weight is not None:  # the hints of torch allow it
                running.lerp_(_as_float32(new), weight)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1


def _layers_of(network: CodeNetwork) -> list[_Layer]:
    """Return the convolutions of a network with what follows them."""
    modules = list(network.layers)
    convolutions = [(i, module) for i, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    ends = [i for i, _ in convolutions[1:]] + [len(modules)]
    result = []
    for (begin, convolution), end in zip(convolutions, ends, strict=True):
        rest = modules[begin + 1 : end]
        low = [np.float32(0 if isinstance(module, nn.ReLU) else -math.inf) for module in rest]
        norm = next(module for module in rest if isinstance(module, nn.BatchNorm2d))
        at = rest.index(norm)
        result.append(_Layer(convolution, norm, max(low[:at], default=_NO_RELU), max(low[at:], default=_NO_RELU)))
    return result


def _applied(layer: _Layer, moments: _Moments | None) -> _Applied:
    """Return the batch norm with the statistics of a forward pass; None = the running statistics."""
    norm = layer.norm
    if moments is not None:
        mean, variance = moments.mean, moments.variance
    else:
        mean, variance = (norm.get_buffer(f"running_{name}").numpy().astype(float) for name in ("mean", "var"))
    inverse = 1 / np.sqrt(variance + norm.eps)
    scale = norm.weight.detach().numpy() * inverse
    offset = norm.bias.detach().numpy() - mean * scale
    none = np.zeros(len(scale), np.float32)
    arrays = (scale.astype(np.float32), offset.astype(np.float32), mean.astype(np.float32))
    n_own = 0 if moments is None else moments.n
    return _Applied(Norm(*arrays, layer.low_in, layer.low_out, none, none), inverse, n_own)


def _with_gradient(applied: _Applied, layer: _Layer, sums: NDArray[np.float64]) -> _Applied:
    """Complete a batch norm with the slope and the constant of its gradient (Ioffe and Szegedy 2015, section 3)."""
    if not applied.n_own:  # running statistics are constants
        return applied
    norm, mean = applied.norm, applied.norm.mean.astype(float)
    scale = layer.norm.weight.detach().numpy() * applied.inverse
    slope = -scale * applied.inverse**2 * sums[1] / applied.n_own
    constant = -scale * sums[0] / applied.n_own - slope * mean
    changed = norm._replace(slope=slope.astype(np.float32), constant=constant.astype(np.float32))
    return _Applied(changed, applied.inverse, applied.n_own)


def _input_of(strip: Strip, reach: int, images: Sequence[NDArray[np.float32]], dtype: torch.dtype) -> Tensor:
    """Return the pixels of a strip with the rows around it, (pixel, channel); 0 outside of the image."""
    around = strip.margin(reach)
    begin, end = strip.begin - around, strip.end + around
    n_rows = images[0].shape[1]
    rows = slice(max(begin, 0), min(end, n_rows))
    result = empty((strip.pixels + 2 * around * strip.cols, len(images[0])), dtype)
    inner = as_images(result, strip)[:, :, rows.start - begin : rows.stop - begin]
    for one, image in zip(inner, images, strict=True):
        one.copy_(torch.from_numpy(image[:, rows]))
    result[: (rows.start - begin) * strip.cols].zero_()
    result[len(result) - (end - rows.stop) * strip.cols :].zero_()
    return result


def _convolution(x: Tensor, strip: Strip, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a convolution of a strip with the rows around it, which are no part of the result, (pixel, channel)."""
    size = weight.shape[3]
    if size == 1:
        matrix, result = weight.view(weight.shape[:2]).T, empty((len(x), len(weight)), x.dtype)
        return torch.mm(x, matrix, out=result) if bias is None else torch.addmm(bias, x, matrix, out=result)
    padding = _padding(strip, size)
    return as_pixels(torch.ops.aten.convolution(as_images(x, strip), weight, bias, *_STRIDE, padding, *_PLAIN))


def _by_parameters(by_z: Tensor, x: Tensor, strip: Strip, weight: Tensor, *, needs_bias: bool) -> list[Tensor]:
    """Return the gradients by weight and bias of a convolution; the latter is 0 if it is not needed."""
    if weight.shape[3] == 1 and not needs_bias:
        return [(by_z.T @ x).view(weight.shape), torch.zeros(len(weight))]
    images, padding = (as_images(by_z, strip), as_images(x, strip)), _padding(strip, weight.shape[3])
    _, by_weight, by_bias = torch.ops.aten.convolution_backward(
        *images, weight, [len(weight)], *_STRIDE, padding, *_PLAIN, [False, True, needs_bias]
    )
    return [by_weight, by_bias if needs_bias else torch.zeros(len(weight))]


def _padding(strip: Strip, size: int) -> list[int]:
    """Return the rows and columns of zeros on each side; with rows of the neighbours there are no others."""
    return [size // 2 - strip.margin(size // 2), size // 2]


def _array(values: Tensor) -> NDArray[Any]:
    """Return a tensor as an array in the same memory, bfloat16 as uint16."""
    array: NDArray[Any] = (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()
    return array


def _as_float32(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
