"""Colours of names: those of the regions that have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.classify.named_layer import UNKNOWN, Named
from geoseg.output.label_style import hashed_colors
from geoseg.output.style import separate_colors

_GREY = (150, 150, 150)


def name_colors(named: Named, colors: NDArray[np.int32], sizes: NDArray[np.float64]) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each name that occurs: the mean colour of its regions, made distinct from the others.

    Parameters
    ----------
    named : Named
    colors : (region,) int32
        As 0xrrggbb; -1 = unknown.
    sizes : (region,) float64
        Areas, with which the colours are weighted.
    """
    n = len(named.names)
    weights = np.where(colors >= 0, sizes, 0)
    total = np.bincount(named.first, weights, minlength=n)
    parts = [
        np.bincount(named.first, weights * (np.maximum(colors, 0) >> shift & 255), minlength=n) for shift in (16, 8, 0)
    ]
    means = np.rint(np.stack(parts, axis=1) / np.where(total > 0, total, 1)[:, None]).astype(np.uint8)
    means = np.where(total[:, None] > 0, means, hashed_colors(np.arange(n)))
    occurs = [i for i in np.flatnonzero(np.bincount(named.first, minlength=n)).tolist() if named.names[i] != UNKNOWN]
    distinct = separate_colors(means[occurs], min_distance=20)
    found = {named.names[i]: (int(r), int(g), int(b)) for i, (r, g, b) in zip(occurs, distinct.tolist(), strict=True)}
    has_unknown = (named.first == n - 1).any()
    return found | ({UNKNOWN: _GREY} if has_unknown else {})
