"""Division of images into strips of rows, and the rows of the neighbours around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from torch import Tensor

from geoseg.segment.buffers import empty

_PIXELS = 1 << 17  # of a strip, about; a convolution takes 0.1 ms to start, and all values of a layer have 16 MB
_MIN_ROWS = 8  # so that the rows of the neighbours around a strip are a small part


@dataclass(frozen=True)
class Strip:
    """Some rows of an image, or several whole images of one shape.

    Parameters
    ----------
    first : int
        Position of the first image.
    n_images : int
    begin, end : int
        First row in each image, and the row after the last.
    cols : int
    is_whole : bool
        Whether the rows are all rows.
    """

    first: int
    n_images: int
    begin: int
    end: int
    cols: int
    is_whole: bool

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.n_images * (self.end - self.begin) * self.cols

    @property
    def images(self) -> slice:
        """The images."""
        return slice(self.first, self.first + self.n_images)

    @property
    def part(self) -> slice:
        """The pixels of the strip in those of its images, one image after the other."""
        return slice(self.begin * self.cols, self.begin * self.cols + self.pixels)

    def margin(self, reach: int) -> int:
        """Return the number of rows of the neighbours above and below that the strip needs."""
        return 0 if self.is_whole else reach


def strips_of(shapes: Sequence[tuple[int, int]], reach: int) -> list[Strip]:
    """Return the strips of images, which depend on the shapes alone.

    Parameters
    ----------
    shapes : sequence of (rows, columns)
    reach : int
        Rows of a neighbour that a strip needs at most; no strip of several has fewer.

    Examples
    --------
    >>> [(strip.begin, strip.end) for strip in strips_of([(100, 4000)], 1)]
    [(0, 33), (33, 66), (66, 100)]
    >>> [strip.images for strip in strips_of([(128, 128)] * 12, 1)]
    [slice(0, 8, None), slice(8, 12, None)]
    """
    result: list[Strip] = []
    first = 0
    for (rows, cols), group in groupby(shapes):
        end = first + len(list(group))
        n_strips = max(1, min(round(rows * cols / _PIXELS), rows // max(_MIN_ROWS, reach)))
        if n_strips == 1:
            n_images = max(1, _PIXELS // (rows * cols))
            result += [
                Strip(i, min(n_images, end - i), 0, rows, cols, is_whole=True) for i in range(first, end, n_images)
            ]
        else:
            bounds = [rows * i // n_strips for i in range(n_strips + 1)]
            result += [Strip(i, 1, *part, cols, is_whole=False) for i in range(first, end) for part in pairwise(bounds)]
        first = end
    return result


def with_margin(
    strips: Sequence[Strip], i: int, reach: int, like: Tensor, fill: Callable[[int, slice, Tensor], None]
) -> Tensor:
    """Return values of a strip with rows of its neighbours around it; 0 outside of the image.

    Parameters
    ----------
    strips : sequence of Strip
    i : int
        The strip.
    reach : int
        Number of rows above and below; there are none if the strip is whole.
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
    around = strip.margin(reach) * strip.cols
    values = empty((strip.pixels + 2 * around, like.shape[1]), like.dtype)
    fill(i, slice(0, strip.pixels), values[around : around + strip.pixels])
    if around:
        above, below = values[:around], values[around + strip.pixels :]
        if strip.begin > 0:
            end = strips[i - 1].pixels
            fill(i - 1, slice(end - around, end), above)
        else:
            above.zero_()
        if i + 1 < len(strips) and strips[i + 1].begin == strip.end:
            fill(i + 1, slice(0, around), below)
        else:
            below.zero_()
    return values


def as_images(values: Tensor, strip: Strip) -> Tensor:
    """Return values (pixel, channel) of rows of the images of a strip as (image, channel, y, x) without a copy."""
    return values.view(strip.n_images, -1, strip.cols, values.shape[1]).permute(0, 3, 1, 2)


def as_pixels(images: Tensor) -> Tensor:
    """Return images (image, channel, y, x) as (pixel, channel), without a copy where channels are last in memory."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
