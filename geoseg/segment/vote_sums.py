"""Sums over the pixels of each superpixel. All are integers, so they do not depend on the order of the pixels."""

from __future__ import annotations

import numpy as np

from geoseg.segment.compiled import compiled

FIXED = 1 << 16  # fixed-point units per unit of the stretch in sums of moments; fine enough for squared brightness


@compiled(nogil=True)
def sum_moments(index, moments, n):  # type: ignore[no-untyped-def]
    """Return the number of pixels of each superpixel and the sums of their moments in units of 1/`FIXED`."""
    pixels, sums = np.zeros(n, np.int64), np.zeros((n, moments.shape[0]), np.int64)
    for moment in range(moments.shape[0]):
        for y in range(index.shape[0]):
            for x in range(index.shape[1]):
                if index[y, x] >= 0:
                    sums[index[y, x], moment] += np.int64(np.rint(moments[moment, y, x] * np.float32(FIXED)))
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0:
                pixels[index[y, x]] += 1
    return pixels, sums


@compiled(nogil=True)
def sum_shares(index, shares, weight, n):  # type: ignore[no-untyped-def]
    """Return the weighted sum of the shares of each code per superpixel, (n, code) int64."""
    height, width, n_codes = shares.shape
    sums = np.zeros((n, n_codes), np.int64)
    for y in range(height):
        for x in range(width):
            if index[y, x] >= 0:
                for code in range(n_codes):
                    sums[index[y, x], code] += weight[y, x] * shares[y, x, code]
    return sums
