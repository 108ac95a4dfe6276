"""Loops over the values of a layer of the network, (pixel, channel), in one pass over memory each.

Values are float32, or bfloat16 as uint16: its bits are the upper half of those of a float32. All arithmetic is in
float32. z are the values of a convolution, and y those after the batch norm and the ReLU that follow it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled

_FAST = {"nnan", "nsz", "contract"}  # as a processor has it: no order of sums is changed


class Norm(NamedTuple):
    """The batch norm and the ReLU of a layer: ``y = max(scale × max(z, low_in) + offset, low_out)``.

    Attributes
    ----------
    scale, offset, mean : (channel,) float32
    low_in, low_out : float32
        0 where the ReLU is, before or after the batch norm; -inf elsewhere.
    slope, constant : (channel,) float32
        With the gradient g of the loss by the result of the batch norm, the gradient by ``max(z, low_in)`` is ``scale ×
        g + slope × max(z, low_in) + constant``.
    """

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    mean: NDArray[np.float32]
    low_in: np.float32
    low_out: np.float32
    slope: NDArray[np.float32]
    constant: NDArray[np.float32]


def widened(value: Any) -> Any:
    """Return a value as float32, inside compiled functions."""
    raise NotImplementedError


def rounded(value: Any, like: Any) -> Any:
    """Return a float32 in the type of `like`, inside compiled functions; ties go to the even number."""
    raise NotImplementedError


@overload(widened)
def _widened(value):  # type: ignore[no-untyped-def]
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(rounded)
def _rounded(value, like):  # type: ignore[no-untyped-def] # noqa: ARG001 # as numba needs it
    if isinstance(like, types.Integer):

        def to_bfloat16(value, like):  # type: ignore[no-untyped-def] # noqa: ARG001
            bits = np.float32(value).view(np.uint32)
            return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return to_bfloat16
    return lambda value, like: value  # noqa: ARG005


@compiled(nogil=True, fastmath=_FAST)
def add_moments(z, low_in, shift, sums):  # type: ignore[no-untyped-def]
    """Add Σ x and Σ x² of ``x = max(z, low_in) - shift`` to two sums, (channel,) float32 each."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            deviation = max(widened(z[i, j]), low_in) - shift[j]
            sums[0][j] += deviation
            sums[1][j] += deviation * deviation


@compiled(nogil=True, fastmath=_FAST)
def activate(z, norm, y):  # type: ignore[no-untyped-def]
    """Write the output of a layer to `y`, (pixel, channel) as `z`."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = norm.scale[j] * max(widened(z[i, j]), norm.low_in) + norm.offset[j]
            y[i, j] = rounded(max(value, norm.low_out), y[i, j])


@compiled(nogil=True, fastmath=_FAST)
def add_gradient_sums(by_y, z, norm, sums):  # type: ignore[no-untyped-def]
    """Add what the gradients of a batch norm consist of to two sums, (channel,) float32 each.

    With the gradient g of the loss by the result of the batch norm, they are Σ g and ``Σ g (max(z, low_in) - mean)``.

    Parameters
    ----------
    by_y : (pixel, channel) as `z`
        Gradient of the loss by the output of the layer.
    z : (pixel, channel) float32, or uint16 for bfloat16
    norm : Norm
        Without slope and constant.
    sums : pair of (channel,) float32
    """
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = max(widened(z[i, j]), norm.low_in)
            g = widened(by_y[i, j]) if norm.scale[j] * value + norm.offset[j] > norm.low_out else np.float32(0)
            sums[0][j] += g
            sums[1][j] += g * (value - norm.mean[j])


@compiled(nogil=True, fastmath=_FAST)
def differentiate(by_y, z, norm, by_z):  # type: ignore[no-untyped-def]
    """Write the gradient of the loss by z.

    Parameters
    ----------
    by_y : (pixel, channel) as `z`
        Gradient by the output of the layer.
    z : (pixel, channel) float32, or uint16 for bfloat16
    norm : Norm
    by_z : (pixel, channel) as `z`
        The result; it may be `by_y`.
    """
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = widened(z[i, j])
            cut = max(value, norm.low_in)
            g = widened(by_y[i, j]) if norm.scale[j] * cut + norm.offset[j] > norm.low_out else np.float32(0)
            g = norm.scale[j] * g + norm.slope[j] * cut + norm.constant[j]
            by_z[i, j] = rounded(g if value > norm.low_in else np.float32(0), by_z[i, j])


@compiled(nogil=True, fastmath=_FAST)
def count_codes(responses, superpixels, counts):  # type: ignore[no-untyped-def]
    """Add the codes of pixels, the argmax of their responses, to the counts of their superpixels.

    Parameters
    ----------
    responses : (pixel, code) float32
    superpixels : (pixel,) int64
        Below 0 = nodata.
    counts : (superpixel, code) int32
    """
    for i in range(responses.shape[0]):
        if superpixels[i] < 0:
            continue
        code, most = 0, responses[i, 0]
        for j in range(1, responses.shape[1]):
            if responses[i, j] > most:
                code, most = j, responses[i, j]
        counts[superpixels[i], code] += 1
