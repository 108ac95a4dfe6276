"""Layout of the synthetic landscape: districts, blocks, the roads and hedges between them, lakes and rivers.

Every value is a function of the point (metres to the right of and below the upper left corner of the scene) and of a
key, on an unbounded plane. Only sums, products and square roots are used, because the last digits of sines differ
between machines.

    bend       distorts the plane slightly, so that borders are not straight
    district   Voronoi cell with its own direction; main roads run along its border
    block      part of a band of its district, with one use
    water      rivers, and one lake in most groups of 3 × 3 zones

The functions are compiled into the kernel of `geoseg.synthetic.camera` and are not cached separately.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from geoseg.segment.compiled import internal
from geoseg.segment.splitmix import mix64

FARM, WOOD, VILLAGE, MEADOW, LAKESIDE = range(5)  # uses of a block
OPEN, STREET, TRACK, HEDGE = range(4)  # what separates two blocks
REACH = 12.0  # m; a point farther than this from the border of its block is not affected by it

# All lengths in metres.
_DISTRICT = 620.0
_BAND = 105.0
_BLOCK = 130.0
_ZONE = 160.0  # one use per zone; 3 × 3 zones contain every use, so every scene 500 m wide does too
_RIVER = 1500.0


class Block(NamedTuple):
    """A block, relative to one of its points."""

    bits: np.uint64  # random bits of the block
    district: np.uint64  # random bits of its district
    row: np.uint64  # random bits of its band
    axis_x: float  # unit vector in the direction of the bands
    axis_y: float
    a: float  # m, coordinate of the point along the bands
    b: float  # m, coordinate of the point across the bands
    band: int
    col: int
    left: float  # borders of the block, in the coordinate a
    right: float
    top: float  # borders of the block, in the coordinate b
    bottom: float
    border: float  # m from the point to the border of the district
    use: int


class Edge(NamedTuple):
    """The feature along the border of a block."""

    kind: int  # OPEN, STREET, TRACK or HEDGE
    distance: float  # m from the point
    behind: int  # use of the block on the other side


@internal(nogil=True, error_model="numpy")
def scramble(i: int, j: int, salt: np.uint64) -> np.uint64:
    """Return the 64 random bits of lattice point (i, j).

    Notes
    -----
    Two of the three rounds are the finaliser of splitmix64 (Steele, Lea and Flood 2014).
    """
    bits = np.uint64(i) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(j) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed: np.uint64 = mix64((bits ^ salt) * np.uint64(0xFF51AFD7ED558CCD))
    return mixed


@internal(nogil=True, error_model="numpy")
def part(bits: np.uint64, number: int) -> float:
    """Return the 16 bits at position 0, 1, 2 or 3 of random bits, as a number in [0, 1)."""
    return float((bits >> np.uint64(16 * number)) & np.uint64(0xFFFF)) / 65536.0


@internal(nogil=True, error_model="numpy")
def noise(x: float, y: float, salt: np.uint64) -> tuple[float, float]:
    """Return two independent values of smooth lattice noise, each from -1 to 1."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    upper_left, upper_right = scramble(i, j, salt), scramble(i + 1, j, salt)
    lower_left, lower_right = scramble(i, j + 1, salt), scramble(i + 1, j + 1, salt)
    upper = part(upper_left, 0) * (1.0 - u) + part(upper_right, 0) * u
    lower = part(lower_left, 0) * (1.0 - u) + part(lower_right, 0) * u
    first = upper * (1.0 - v) + lower * v
    upper = part(upper_left, 1) * (1.0 - u) + part(upper_right, 1) * u
    lower = part(lower_left, 1) * (1.0 - u) + part(lower_right, 1) * u
    return 2.0 * first - 1.0, 2.0 * (upper * (1.0 - v) + lower * v) - 1.0


@internal(nogil=True, error_model="numpy")
def bend(x: float, y: float, key: np.uint64) -> tuple[float, float]:
    """Return the coordinates on the undistorted plane of a point of the scene."""
    wide_x, wide_y = noise(x / 430.0, y / 430.0, key + np.uint64(1))
    narrow_x, narrow_y = noise(x / 130.0, y / 130.0, key + np.uint64(2))
    return x + 34.0 * wide_x + 6.0 * narrow_x, y + 34.0 * wide_y + 6.0 * narrow_y


@internal(nogil=True, error_model="numpy")
def district_at(x: float, y: float, key: np.uint64) -> tuple[np.uint64, float]:
    """Return the random bits of the district of a point, and the distance in metres to its border."""
    x, y = x / _DISTRICT, y / _DISTRICT
    column, row = math.floor(x), math.floor(y)
    district = np.uint64(0)
    first = second = 1e9  # squared distances of the two nearest centres
    first_x = first_y = second_x = second_y = 0.0
    for j in range(row - 1, row + 2):
        for i in range(column - 1, column + 2):
            bits = scramble(i, j, key + np.uint64(3))
            centre_x, centre_y = i + 0.15 + 0.7 * part(bits, 0), j + 0.15 + 0.7 * part(bits, 1)
            square = (centre_x - x) * (centre_x - x) + (centre_y - y) * (centre_y - y)
            if square < first:
                second, second_x, second_y = first, first_x, first_y
                first, first_x, first_y, district = square, centre_x, centre_y, bits
            elif square < second:
                second, second_x, second_y = square, centre_x, centre_y
    off_x, off_y = first_x - second_x, first_y - second_y
    return district, 0.5 * (second - first) / math.sqrt(off_x * off_x + off_y * off_y) * _DISTRICT


@internal(nogil=True, error_model="numpy")
def cut(number: int, size: float, lean: float, salt: np.uint64) -> float:
    """Return the position in metres of cut `number` of a line; cuts are oblique, so it shifts with `lean` (m)."""
    bits = scramble(number, 0, salt)
    return (number + 0.5 * (part(bits, 0) - 0.5)) * size + 0.4 * (part(bits, 1) - 0.5) * lean


@internal(nogil=True, error_model="numpy")
def piece(at: float, size: float, lean: float, salt: np.uint64) -> tuple[int, float, float]:
    """Return the number of the last cut before `at`, its position, and the position of the next cut."""
    number = math.floor(at / size)
    low, high = cut(number, size, lean, salt), cut(number + 1, size, lean, salt)
    if at < low:
        return number - 1, cut(number - 1, size, lean, salt), low
    if at >= high:
        return number + 1, high, cut(number + 2, size, lean, salt)
    return number, low, high


@internal(nogil=True, error_model="numpy")
def block_at(x: float, y: float, key: np.uint64) -> Block:
    """Return the block that contains a point of the undistorted plane."""
    district, border = district_at(x, y, key)
    axis_x, axis_y = _axis(district)
    a, b = axis_x * x + axis_y * y, axis_x * y - axis_y * x
    band, top, bottom = piece(b, _BAND, 0.0, district)
    row = scramble(band, 1, district)
    col, left, right = piece(a, _BLOCK, b - 0.5 * (top + bottom), row)
    use, bits = _use(district, band, col, key), scramble(col, 2, row)
    return Block(bits, district, row, axis_x, axis_y, a, b, band, col, left, right, top, bottom, border, use)


@internal(nogil=True, error_model="numpy")
def span(block: Block, b: float) -> tuple[float, float]:
    """Return the left and right borders of a block at coordinate `b`."""
    lean = b - 0.5 * (block.top + block.bottom)
    return cut(block.col, _BLOCK, lean, block.row), cut(block.col + 1, _BLOCK, lean, block.row)


@internal(nogil=True, error_model="numpy")
def _axis(district: np.uint64) -> tuple[float, float]:
    """Return the unit vector along the bands of a district."""
    x, y = 0.3 + part(district, 2), 1.6 * (part(district, 3) - 0.5)
    length = math.sqrt(x * x + y * y)
    return x / length, y / length


@internal(nogil=True, error_model="numpy")
def _use(district: np.uint64, band: int, col: int, key: np.uint64) -> int:
    """Return the use of a block, which is that of the zone at its centre."""
    axis_x, axis_y = _axis(district)
    row = scramble(band, 1, district)
    b = 0.5 * (cut(band, _BAND, 0.0, district) + cut(band + 1, _BAND, 0.0, district))
    a = 0.5 * (cut(col, _BLOCK, 0.0, row) + cut(col + 1, _BLOCK, 0.0, row))
    i, j = math.floor((axis_x * a - axis_y * b) / _ZONE), math.floor((axis_x * b + axis_y * a) / _ZONE)
    bits = scramble(i // 3, j // 3, key + np.uint64(4))
    # Multiplication by a number not divisible by 3 permutes the nine zones modulo 9; 0 remains the lake.
    step = 1 + 3 * int(3 * part(bits, 1)) + int(2 * part(bits, 2))
    order = (i % 3 + 3 * (j % 3) - int(9 * part(bits, 0))) * step % 9
    if order == 0:
        return LAKESIDE
    if order <= 2:
        return VILLAGE
    if order <= 4:
        return WOOD
    return MEADOW if order == 5 and part(bits, 3) < 0.6 else FARM


@internal(nogil=True, error_model="numpy")
def lake_at(x: float, y: float, border: float, key: np.uint64) -> float:
    """Return how many metres inside a lake a point is, negative outside; lakes end at main roads."""
    i, j = math.floor(x / (3 * _ZONE)), math.floor(y / (3 * _ZONE))
    bits = scramble(i, j, key + np.uint64(5))
    if part(bits, 0) < 0.3 and (i != 0 or j != 0):  # the first group always has a lake, for small scenes
        return -_ZONE
    zone = int(9 * part(scramble(i, j, key + np.uint64(4)), 0))
    in_x, in_y = x - 3 * i * _ZONE, y - 3 * j * _ZONE
    off_x, off_y = in_x - (zone % 3 + 0.5) * _ZONE, in_y - (zone // 3 + 0.5) * _ZONE
    stretch, shear = 0.8 + 0.45 * part(bits, 2), 0.8 * (part(bits, 3) - 0.5)
    long, wide = off_x * stretch, off_y / stretch + shear * off_x
    depth = 46.0 + 16.0 * part(bits, 1) - math.sqrt(long * long + wide * wide)
    # The depth decreases towards the border of the group, because the next group does not know this lake.
    close = max(0.0, 40.0 - min(min(in_x, 3 * _ZONE - in_x), min(in_y, 3 * _ZONE - in_y)))
    depth -= 0.03 * close * close
    if depth > -30.0:
        depth += 16.0 * noise(x / 45.0, y / 45.0, key + np.uint64(6))[0]
        depth += 4.0 * noise(x / 11.0, y / 11.0, key + np.uint64(7))[0]
    return min(depth, border - 9.0)


@internal(nogil=True, error_model="numpy")
def river_at(x: float, y: float, key: np.uint64) -> float:
    """Return how many metres inside a river a point is, negative outside."""
    along, across = 0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x + 2.0 * _RIVER * part(key, 0)
    number = math.floor(across / _RIVER + 0.5)
    off = across - number * _RIVER
    if abs(off) > 240.0:  # beyond the reach of any meander
        return -50.0
    off -= 150.0 * noise(along / 330.0, number, key + np.uint64(8))[0]
    off -= 35.0 * noise(along / 120.0, number, key + np.uint64(9))[0]
    return 13.0 + 4.0 * noise(along / 60.0, number, key + np.uint64(10))[0] - abs(off)


@internal(nogil=True, error_model="numpy")
def side_edge(block: Block, key: np.uint64) -> Edge:
    """Return the feature along the nearer of the left and right borders of a block."""
    to_left, to_right = block.a - block.left, block.right - block.a
    distance, number = (to_left, 0) if to_left < to_right else (to_right, 1)
    if distance > REACH:
        return Edge(OPEN, distance, block.use)
    behind = _use(block.district, block.band, block.col + 2 * number - 1, key)
    chance = part(scramble(block.col + number, 3, block.row), 0)
    return Edge(_meet(block.use, behind, 0.15 + 0.85 * chance), distance, behind)


@internal(nogil=True, error_model="numpy")
def front_edge(block: Block, key: np.uint64) -> Edge:
    """Return the feature along the nearer of the two borders of the band of a block."""
    to_top, to_bottom = block.b - block.top, block.bottom - block.b
    distance, number = (to_top, 0) if to_top < to_bottom else (to_bottom, 1)
    if distance > REACH:
        return Edge(OPEN, distance, block.use)
    band = block.band + 2 * number - 1
    col, _, _ = piece(block.a, _BLOCK, (0.5 - number) * _BAND, scramble(band, 1, block.district))
    behind = _use(block.district, band, col, key)
    # One draw for the whole length of the band, so that lanes are continuous.
    chance = part(scramble(block.band + number, 4, block.district), 0)
    return Edge(_meet(block.use, behind, 0.75 * chance), distance, behind)


@internal(nogil=True, error_model="numpy")
def _meet(use: int, other: int, chance: float) -> int:
    """Return what separates two blocks, from their uses and a random number."""
    if use == VILLAGE or other == VILLAGE:
        return STREET
    if use == other and use in (LAKESIDE, WOOD):
        return OPEN if chance < 0.7 else TRACK
    if chance < 0.3:
        return STREET
    if chance < 0.42:
        return TRACK
    return HEDGE if chance < 0.66 else OPEN
