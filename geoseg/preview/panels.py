"""Drawing: a window of a scene as pictures side by side, and as frames of an animation, with a caption below each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from geoseg.output.files import staged, writing

_SIDE = 512  # px; smaller pictures are enlarged by a whole number to about this
_GAP = 12  # px, around each panel
_PAPER, _INK = (255, 255, 255), (50, 50, 50)
_LETTERS = 32  # of them fit below a panel
_SMALLEST_LETTER = 13  # px
_MILLISECONDS = 900  # that a frame is shown; the last one longer
_HATCH = 8  # px, from line to line where there is no data
_HATCH_COLORS = np.array([[232, 232, 232], [205, 205, 205]], np.uint8)
_LINES = np.array([[255, 236, 60], [70, 0, 60]], np.float32)  # on dark ground and on bright
_COVER = 0.8  # of a line; what is below it still shines through
_BRIGHT = 150.0  # from which luminance on ground is bright; of 255
_SURROUNDINGS = 25  # px, over which that is averaged: a line shall not change its colour at every furrow
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Panel(NamedTuple):
    """A (y, x, 3) uint8 picture and what is written below it."""

    picture: NDArray[np.uint8]
    caption: str


def natural(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], red_green_blue: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return the (y, x, 3) uint8 picture of stretched (band, y, x) bands; hatched where there is no data."""
    colors = np.clip(np.rint(bands[list(red_green_blue)] * 255), 0, 255).astype(np.uint8)
    return np.where(valid[..., None], np.moveaxis(colors, 0, -1), _hatched(valid.shape))


def painted(labels: NDArray[np.integer], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give each (y, x) label, from 0, its row of the (label, 3) colours; below 0 is no data, and hatched."""
    return np.where(labels[..., None] >= 0, colors[np.maximum(labels, 0)], _hatched(labels.shape))


def enlarged(picture: NDArray[Any]) -> NDArray[Any]:
    """Repeat the pixels of a small (y, x, …) picture, so that it fills about 512 of the screen's."""
    times = max(1, _SIDE // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def outlined(picture: NDArray[np.uint8], numbers: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draw a thin line between different (y, x) numbers: yellow on dark ground, dark on bright ground."""
    border = np.zeros(numbers.shape, bool)
    border[:, :-1] |= numbers[:, 1:] != numbers[:, :-1]
    border[:-1] |= numbers[1:] != numbers[:-1]
    luminance = picture @ np.array(_LUMINANCE, np.float32)
    bright = ndimage.uniform_filter(luminance, _SURROUNDINGS)[border] > _BRIGHT
    lined = picture.copy()
    lined[border] = np.rint((1 - _COVER) * picture[border] + _COVER * _LINES[bright.astype(int)]).astype(np.uint8)
    return lined


def sheet(panels: Sequence[Panel]) -> Image.Image:
    """Put panels of one size side by side, each with its caption."""
    height, width = panels[0].picture.shape[:2]
    letter = max(width // _LETTERS, _SMALLEST_LETTER)
    font = ImageFont.load_default(letter)
    lengths = [int(font.getlength(panel.caption)) + 1 for panel in panels]
    column = max(width, *lengths)  # a caption may be wider than a narrow picture
    line = letter * 3 // 2
    whole = Image.new("RGB", (_GAP + len(panels) * (column + _GAP), _GAP + height + line + _GAP), _PAPER)
    draw = ImageDraw.Draw(whole)
    for i, panel in enumerate(panels):
        left = _GAP + i * (column + _GAP)
        whole.paste(Image.fromarray(panel.picture), (left + (column - width) // 2, _GAP))
        middle = (left + column / 2, _GAP + height + _GAP / 2 + line / 2)
        draw.text(middle, panel.caption, fill=_INK, font=font, anchor="mm")
    return whole


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture; it appears under its name when it is complete.

    Raises
    ------
    OutputError : it cannot be written; nothing is left behind then
    """
    with staged(path) as folder, writing(path):
        picture.save(folder / path.name, format="PNG")


def write_gif(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write an animation that repeats; it appears under its name when it is complete.

    Parameters
    ----------
    frames : of one size

    Raises
    ------
    OutputError : it cannot be written; nothing is left behind then
    """
    # Flat colours and no dither: each frame gets a palette of its own, and keeps its colours exactly.
    flat = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [_MILLISECONDS] * (len(flat) - 1) + [3 * _MILLISECONDS]
    with staged(path) as folder, writing(path):
        flat[0].save(
            folder / path.name, format="GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0
        )


def _hatched(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    rows, cols = np.indices(shape[:2])
    return _HATCH_COLORS[((rows + cols) % _HATCH == 0).astype(int)]
