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
    """Return the weighted sum of the shares of each code per superpixel, (n, code) int64.

    Pixels of a row with the same superpixel and weight are summed up first, in 32 bits: four times as fast. A row would
    need 2²⁴ pixels to exceed them.
    """
    height, width, n_codes = shares.shape
    sums, run = np.zeros((n, n_codes), np.int64), np.empty(n_codes, np.uint32)
    for y in range(height):
        x = 0
        while x < width:
            superpixel, factor = index[y, x], weight[y, x]
            if superpixel < 0:
                x += 1
                continue
            run[:] = 0
            while x < width and index[y, x] == superpixel and weight[y, x] == factor:
                for code in range(n_codes):
                    run[code] += np.uint32(shares[y, x, code])
                x += 1
            for code in range(n_codes):
                sums[superpixel, code] += factor * np.int64(run[code])
    return sums
