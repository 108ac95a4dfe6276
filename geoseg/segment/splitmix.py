"""The hash function of splitmix64: equal numbers give equal bits, consecutive numbers give unrelated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

INCREMENT = 0x9E3779B97F4A7C15  # 2^64 / golden ratio; what splitmix64 adds to its state before each output


@register_jitable
def mix64(bits: Any) -> Any:
    """Return the bits of 64-bit integers mixed, each input bit affecting all output bits.

    The mapping is one-to-one: different integers give different results.

    Parameters
    ----------
    bits : array of uint64
        In code compiled by numba also a scalar.

    Returns
    -------
    uint64, the shape of `bits`

    Notes
    -----
    The output function of splitmix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators,
    Figure 16, with the constants of Stafford's Mix13). Overflow of the multiplications is intended.

    Examples
    --------
    The first two outputs of splitmix64 with seed 0:

    >>> states = np.arange(1, 3, dtype=np.uint64) * np.uint64(INCREMENT)
    >>> [hex(output) for output in mix64(states)]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
