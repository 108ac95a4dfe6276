"""Draw pictures side by side with captions, and write them as PNG or as an animated GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from geoseg.output.display import display_colors, display_exponent
from geoseg.output.files import staged, writing
from geoseg.output.publication import Publication

_SIDE = 512  # px; smaller pictures are enlarged to about this by an integer factor
_GAP = 12  # px, around each panel
_BACKGROUND, _TEXT_COLOR = (255, 255, 255), (50, 50, 50)
_LETTERS = 32  # per line below a panel
_MIN_FONT_SIZE = 13  # px
_MILLISECONDS = 900  # duration of a frame; the last one is shown three times as long
_HATCH = 8  # px, between the lines of nodata
_HATCH_COLORS = np.array([[232, 232, 232], [205, 205, 205]], np.uint8)
_LINES = np.array([[255, 236, 60], [70, 0, 60]], np.float32)  # on dark pixels, on bright pixels
_OPACITY = 0.8  # of a line
_BRIGHT = 150.0  # luminance, of 255, above which pixels are bright
_SURROUNDINGS = 25  # px, over which luminance is averaged, so that the colour of a line changes rarely
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Panel(NamedTuple):
    """A picture and its caption.

    Parameters
    ----------
    picture : (y, x, 3) uint8
    caption : str
    """

    picture: NDArray[np.uint8]
    caption: str


def natural(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], red_green_blue: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return the picture of stretched bands.

    Parameters
    ----------
    bands : (band, y, x) float32
        From 0 to 1; values beyond are clipped, and a dark picture is brightened.
    valid : (y, x) bool
    red_green_blue : tuple of int
        Positions of the bands that are shown, from 0.

    Returns
    -------
    (y, x, 3) uint8
        Hatched where not valid.
    """
    shown = np.moveaxis(bands[list(red_green_blue)], 0, -1)  # (y, x, 3)
    colors = display_colors(shown, display_exponent(shown[valid]))
    return np.where(valid[..., None], colors, _hatched(valid.shape))


def painted(labels: NDArray[np.integer], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture of labels.

    Parameters
    ----------
    labels : (y, x) int
        From 0; below 0 = nodata.
    colors : (label, 3) uint8

    Returns
    -------
    (y, x, 3) uint8
        Hatched where nodata.
    """
    return np.where(labels[..., None] >= 0, colors[np.maximum(labels, 0)], _hatched(labels.shape))


def enlarged(picture: NDArray[Any]) -> NDArray[Any]:
    """Repeat the pixels of a small (y, x, …) picture by an integer factor, to a longer side of at most 512 px."""
    times = max(1, _SIDE // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def outlined(picture: NDArray[np.uint8], numbers: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draw thin lines between different numbers, yellow on dark and dark on bright pixels.

    Parameters
    ----------
    picture : (y, x, 3) uint8
    numbers : (y, x) int

    Returns
    -------
    (y, x, 3) uint8
    """
    border = np.zeros(numbers.shape, bool)
    border[:, :-1] |= numbers[:, 1:] != numbers[:, :-1]
    border[:-1] |= numbers[1:] != numbers[:-1]
    luminance = picture @ np.array(_LUMINANCE, np.float32)
    bright = ndimage.uniform_filter(luminance, _SURROUNDINGS)[border] > _BRIGHT
    lined = picture.copy()
    lined[border] = np.rint((1 - _OPACITY) * picture[border] + _OPACITY * _LINES[bright.astype(int)]).astype(np.uint8)
    return lined


def sheet(panels: Sequence[Panel]) -> Image.Image:
    """Return panels of one size side by side, each with its caption below."""
    height, width = panels[0].picture.shape[:2]
    font_size = max(width // _LETTERS, _MIN_FONT_SIZE)
    font = ImageFont.load_default(font_size)
    lengths = [int(font.getlength(panel.caption)) + 1 for panel in panels]
    column = max(width, *lengths)  # a caption may be wider than its picture
    line = font_size * 3 // 2
    whole = Image.new("RGB", (_GAP + len(panels) * (column + _GAP), _GAP + height + line + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(whole)
    for i, panel in enumerate(panels):
        left = _GAP + i * (column + _GAP)
        whole.paste(Image.fromarray(panel.picture), (left + (column - width) // 2, _GAP))
        middle = (left + column / 2, _GAP + height + _GAP / 2 + line / 2)
        draw.text(middle, panel.caption, fill=_TEXT_COLOR, font=font, anchor="mm")
    return whole


def write_png(path: Path, picture: Image.Image, publication: Publication) -> None:
    """Write a PNG; it appears under its name when it is complete.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind.
    """
    with staged(path, publication) as folder, writing(path):
        picture.save(folder / path.name, format="PNG")


def write_gif(path: Path, frames: Sequence[Image.Image], publication: Publication) -> None:
    """Write an animated GIF that repeats; it appears under its name when it is complete.

    Parameters
    ----------
    path : Path
    frames : sequence of Image
        All of the same size.
    publication : Publication
        From `check_output`.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind.
    """
    # Without dithering, each frame has its own palette and keeps its colours exactly.
    flat = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [_MILLISECONDS] * (len(flat) - 1) + [3 * _MILLISECONDS]
    with staged(path, publication) as folder, writing(path):
        flat[0].save(
            folder / path.name, format="GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0
        )


def _hatched(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the (y, x, 3) picture of nodata."""
    rows, cols = np.indices(shape[:2])
    return _HATCH_COLORS[((rows + cols) % _HATCH == 0).astype(int)]
