"""Division of images into strips of rows that fit the cache, and the rows of the neighbours around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

_PIXELS = 192 * 192  # of a strip, about; all values of a layer then have a few megabytes
_MIN_ROWS = 8  # so that the rows of the neighbours around a strip are a small part


@dataclass(frozen=True)
class Strip:
    """Some rows of an image.

    Parameters
    ----------
    image : int
        Position of the image.
    begin, end : int
        First row, and the row after the last.
    cols : int
    """

    image: int
    begin: int
    end: int
    cols: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.end - self.begin

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.rows * self.cols


def strips_of(shapes: Sequence[tuple[int, int]], reach: int) -> list[Strip]:
    """Return the strips of images, which depend on the shapes alone.

    Parameters
    ----------
    shapes : sequence of (rows, columns)
    reach : int
        Rows of a neighbour that a strip needs at most; no strip of several has fewer.

    Examples
    --------
    >>> [(strip.begin, strip.end) for strip in strips_of([(100, 1000)], 1)]
    [(0, 33), (33, 66), (66, 100)]
    """
    result = []
    for image, (rows, cols) in enumerate(shapes):
        n_strips = max(1, min(round(rows * cols / _PIXELS), rows // max(_MIN_ROWS, reach)))
        bounds = [rows * i // n_strips for i in range(n_strips + 1)]
        result += [Strip(image, begin, end, cols) for begin, end in pairwise(bounds)]
    return result


def with_margin(
    strips: Sequence[Strip], i: int, margin: int, like: Tensor, fill: Callable[[int, slice, Tensor], None]
) -> Tensor:
    """Return values of a strip with rows of its neighbours around it; 0 outside of the image.

    Parameters
    ----------
    strips : sequence of Strip
    i : int
        The strip.
    margin : int
        Number of rows above and below.
    like : (pixel, channel) Tensor
        Of the type and with the channels of the values.
    fill : callable
        ``fill(k, pixels, out)`` writes the values of the pixels of strip k to `out`, (pixel, channel).

    Returns
    -------
    (pixel, channel) Tensor
        Row by row.
    """
    strip = strips[i]
    around = margin * strip.cols
    values = like.new_empty((strip.pixels + 2 * around, like.shape[1]))
    fill(i, slice(0, strip.pixels), values[around : around + strip.pixels])
    if margin:
        above, below = values[:around], values[around + strip.pixels :]
        if strip.begin > 0:
            above_pixels = strips[i - 1].pixels
            fill(i - 1, slice(above_pixels - around, above_pixels), above)
        else:
            above.zero_()
        if i + 1 < len(strips) and strips[i + 1].begin == strip.end:
            fill(i + 1, slice(0, around), below)
        else:
            below.zero_()
    return values


def as_image(values: Tensor, cols: int) -> Tensor:
    """Return values (pixel, channel) of some rows as (1, channel, y, x) without a copy."""
    return values.view(1, -1, cols, values.shape[1]).permute(0, 3, 1, 2)


def as_pixels(image: Tensor) -> Tensor:
    """Return an image (1, channel, y, x) as (pixel, channel), without a copy where channels are last in memory."""
    return image[0].permute(1, 2, 0).reshape(-1, image.shape[1])
