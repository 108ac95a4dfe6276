"""Land cover of the synthetic landscape at a point: crops, tree crowns, roofs, roads and water, with their shadows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from geoseg.segment.compiled import internal
from geoseg.synthetic.landscape import (
    FARM,
    HEDGE,
    LAKESIDE,
    MEADOW,
    REACH,
    STREET,
    TRACK,
    VILLAGE,
    WOOD,
    Block,
    bend,
    block_at,
    district_at,
    front_edge,
    lake_at,
    noise,
    part,
    piece,
    river_at,
    scramble,
    side_edge,
    span,
)

LAND_COVERS = ("green crop", "ripe crop", "bare soil", "grass", "woodland", "water", "road", "roof")
GREEN_CROP, RIPE_CROP, BARE_SOIL, GRASS, WOODLAND, WATER, ROAD, ROOF = range(1, 9)

SHADE = 0.4  # share of the light that remains in a shadow

_SUN_X, _SUN_Y = 0.53, 0.85  # unit vector towards the sun: south-south-east, so shadows fall as north of the tropics
_MAIN_ROAD, _LANE, _TRACK = 4.5, 3.0, 1.6  # half widths, m
_TREE_SHADOW, _ROOF_SHADOW = 5.0, 10.0  # the longest shadows, m


class Spot(NamedTuple):
    """Land cover at a point."""

    cover: int  # 1 + position in LAND_COVERS
    variety: float  # 0 to 1; selects the kind of crop, roof or tree
    across: float  # m across the rows of a field; m from the shore of water or the kerb of a road
    light: float  # 1 = level surface in the sun


class _House(NamedTuple):
    a: float  # centre, in the coordinates of the block
    b: float
    half_a: float
    half_b: float
    shadow: float  # m, length
    variety: float
    hall: bool  # a large flat-roofed building
    lot: np.uint64  # random bits of its lot


@internal(nogil=True, error_model="numpy")
def spot_at(x: float, y: float, key: np.uint64) -> Spot:
    """Return the land cover at a point of the scene, including the shadows of roofs and trees."""
    here_x, here_y = bend(x, y, key)
    block = block_at(here_x, here_y, key)
    spot = _cover(here_x, here_y, block, key)
    if spot.cover in (WOODLAND, ROOF) or (block.use in (FARM, WOOD) and _inside(block) > REACH):
        return spot
    sun_x, sun_y = bend(x + _TREE_SHADOW * _SUN_X, y + _TREE_SHADOW * _SUN_Y, key)
    sunward = block_at(sun_x, sun_y, key)
    shaded = _cover(sun_x, sun_y, sunward, key).cover == WOODLAND
    if not shaded and (block.use == VILLAGE or sunward.use == VILLAGE):
        # The direction to the sun is distorted as the plane is, so that all shadows of the scene are parallel.
        step_x, step_y = (sun_x - here_x) / _TREE_SHADOW, (sun_y - here_y) / _TREE_SHADOW
        far = block_at(here_x + _ROOF_SHADOW * step_x, here_y + _ROOF_SHADOW * step_y, key)
        for between in (block, sunward, far):
            shaded = shaded or _roof_shades(between, here_x, here_y, step_x, step_y, key)
    return Spot(spot.cover, spot.variety, spot.across, spot.light * SHADE) if shaded else spot


@internal(nogil=True, error_model="numpy")
def _inside(block: Block) -> float:
    """Return the distance in metres to the nearest border of the block or its district."""
    sides = min(block.a - block.left, block.right - block.a)
    return min(min(sides, block.border), min(block.b - block.top, block.bottom - block.b))


@internal(nogil=True, error_model="numpy")
def _cover(x: float, y: float, block: Block, key: np.uint64) -> Spot:
    """Return the land cover at a point of the undistorted plane, without shadows."""
    front, side = front_edge(block, key), side_edge(block, key)
    lake, river = lake_at(x, y, block.border, key), river_at(x, y, key)
    road = block.border - _MAIN_ROAD
    if lake < -4.0:  # lanes end at lakes and cross rivers
        road = min(road, front.distance - _LANE) if front.kind == STREET else road
        road = min(road, side.distance - _LANE) if side.kind == STREET else road
    if road < 0.0:
        return Spot(ROAD, part(block.district, 1), -road, 1.0)
    depth = max(lake, river)
    if depth > 0.0:
        return Spot(WATER, 0.5, depth, 1.0)
    ragged = noise(x / 5.0, y / 5.0, key + np.uint64(11))[0]
    if depth > -2.5 + ragged:
        return Spot(BARE_SOIL if ragged > -0.3 else GRASS, 0.9, 0.0, 1.0)
    track = front.distance if front.kind == TRACK else REACH
    if min(track, side.distance if side.kind == TRACK else REACH) < _TRACK:
        return Spot(BARE_SOIL, 0.7, 0.0, 1.0)
    hedge = front.distance if front.kind == HEDGE else REACH
    if min(hedge, side.distance if side.kind == HEDGE else REACH) < 2.6 + ragged:
        return _trees(x, y, 5.0, 0.9, GRASS, key)
    if road < 1.5 + 0.7 * ragged:
        return Spot(GRASS, 0.2, 0.0, 1.0)
    depth = front.distance if front.behind != block.use else block.border
    depth = min(depth, side.distance) if side.behind != block.use else depth
    return _land_use(x, y, block, min(depth, block.border) + 3.0 * ragged, key)


@internal(nogil=True, error_model="numpy")
def _land_use(x: float, y: float, block: Block, depth: float, key: np.uint64) -> Spot:
    """Return the land cover at a point `depth` metres from the nearest block with another use."""
    if block.use == VILLAGE:
        return _village(x, y, block, key)
    if block.use == FARM:
        return _field(block)
    wide, narrow = noise(x / 55.0, y / 55.0, key + np.uint64(12)), noise(x / 14.0, y / 14.0, key + np.uint64(13))
    growth = wide[0] + 0.4 * narrow[0]
    if block.use == WOOD and growth > -0.95 and depth > 3.0:
        stand = part(block.bits, 0)
        tree = _trees(x, y, 4.2 + 2.4 * stand, 1.0, WOODLAND, key)
        kind = 0.4 * stand + 0.4 * tree.variety + 0.2 * (wide[1] + 1.0) / 2.0
        return Spot(WOODLAND, kind, 0.0, tree.light)
    if block.use == LAKESIDE and growth > 0.25:
        return _trees(x, y, 6.0, 0.9, GRASS, key)
    if block.use == MEADOW and growth > 0.75:
        return _trees(x, y, 6.5, 0.7, GRASS, key)
    return Spot(GRASS, part(block.bits, 1), 0.0, 1.0)


@internal(nogil=True, error_model="numpy")
def _trees(x: float, y: float, spacing: float, share: float, between: int, key: np.uint64) -> Spot:
    """Return the crown at a point, or the cover between the crowns (`WOODLAND`: dark undergrowth)."""
    x, y = x / spacing, y / spacing
    column, row = math.floor(x), math.floor(y)
    nearest, variety, slope = 1.0, 0.0, 0.0
    for j in range(row - 1, row + 2):
        for i in range(column - 1, column + 2):
            bits = scramble(i, j, key + np.uint64(14))
            if part(bits, 3) >= share:
                continue
            off_x, off_y = x - i - 0.2 - 0.6 * part(bits, 0), y - j - 0.2 - 0.6 * part(bits, 1)
            size = 0.4 + 0.34 * part(bits, 2)
            distance = (off_x * off_x + off_y * off_y) / (size * size)
            if distance < nearest:
                nearest, variety = distance, part(bits, 3) / share
                slope = (off_x * _SUN_X + off_y * _SUN_Y) / size
    if nearest < 1.0:
        return Spot(WOODLAND, variety, 0.0, 1.05 + 0.45 * slope - 0.35 * nearest)
    return Spot(between, 0.3, 0.0, 0.55 if between == WOODLAND else 1.0)


@internal(nogil=True, error_model="numpy")
def _field(block: Block) -> Spot:
    """Return the crop of the parcel at a point; blocks of farmland are divided into strips."""
    upright = part(block.bits, 0) < 0.55
    across, along = (block.a, block.b) if upright else (block.b, block.a)
    middle = 0.5 * (block.top + block.bottom) if upright else 0.5 * (block.left + block.right)
    size, lean = 26.0 + 34.0 * part(block.bits, 1), 0.5 * (along - middle)
    parcel, before, behind = piece(across, size, lean, block.bits)
    if min(across - before, behind - across) < 0.7:
        return Spot(GRASS, 0.1, 0.0, 0.9)
    bits = scramble(parcel, 5, block.bits)
    chance = part(bits, 0)
    cover = GREEN_CROP if chance < 0.38 else RIPE_CROP if chance < 0.7 else BARE_SOIL
    return Spot(cover, part(bits, 1), across - before, 1.0)


@internal(nogil=True, error_model="numpy")
def _village(x: float, y: float, block: Block, key: np.uint64) -> Spot:
    """Return the roof, tree, lawn, yard or street at a point of a built-up block."""
    house = _house(block)
    off_a, off_b = block.a - house.a, block.b - house.b
    outside = max(abs(off_a) - house.half_a, abs(off_b) - house.half_b)
    if outside < 0.0 and _stands(house, block, key):
        return Spot(ROOF, house.variety, 0.0, _roof_light(house, off_a, off_b, block))
    if house.hall:
        if not _stands(house, block, key):
            return Spot(GRASS, 0.9, 0.0, 1.0)
        paved = noise(x / 40.0, y / 40.0, key + np.uint64(15))[0] > -0.25
        return Spot(ROAD, 0.5 + 0.5 * part(block.bits, 1), 0.0, 1.0) if paved else Spot(BARE_SOIL, 0.8, 0.0, 1.0)
    height, middle = block.bottom - block.top, 0.5 * (block.top + block.bottom)
    if height > 75.0 and abs(block.b - middle) < 2.5:  # with four rows of houses or more, a street runs between them
        return Spot(ROAD, part(block.bits, 1), 0.0, 1.0)
    tree = _trees(x, y, 8.0, 0.3, GRASS, key)
    if outside > 1.6 and tree.cover == WOODLAND:
        return tree
    return Spot(GRASS, part(house.lot, 1), 0.0, 1.0)


@internal(nogil=True, error_model="numpy")
def _house(block: Block) -> _House:
    """Return the house on the lot at a point; a block has rows of small houses, or a few halls."""
    hall = part(block.bits, 2) < 0.3
    height = block.bottom - block.top
    n_rows = max(1, math.floor(height / 60.0 + 0.5)) if hall else 2 * max(1, math.floor(height / 50.0 + 0.5))
    row = min(max(math.floor((block.b - block.top) / height * n_rows), 0), n_rows - 1)
    deep = height / n_rows
    b = block.top + (row + 0.5) * deep
    left, right = span(block, b)
    n_lots = max(1, math.floor((right - left) / (52.0 if hall else 18.0) + 0.5))
    lot = math.floor((block.a - block.left) / (block.right - block.left) * n_lots)
    lot = min(max(lot, 0), n_lots - 1)
    wide = (right - left) / n_lots
    a = left + (lot + 0.5) * wide
    bits = scramble(row, lot, block.bits)
    if hall:
        half_a, half_b = (0.26 + 0.12 * part(bits, 0)) * wide, (0.24 + 0.12 * part(bits, 1)) * deep
        kind = 0.3 + 0.7 * part(bits, 3)
        kind = 0.2 if kind < 0.65 else kind  # few halls have tiled roofs
        return _House(a, b, half_a, half_b, 6.0 + 3.0 * part(bits, 2), kind, True, bits)
    half_a, half_b = min(0.38 * wide, 5.0 + 2.6 * part(bits, 0)), min(0.36 * deep, 4.6 + 2.4 * part(bits, 1))
    a, b = a + 0.06 * (part(bits, 2) - 0.5) * wide, b + 0.25 * (part(bits, 2) - 0.5) * deep
    return _House(a, b, half_a, half_b, 4.5 + 2.5 * part(bits, 2), part(bits, 3), False, bits)


@internal(nogil=True, error_model="numpy")
def _stands(house: _House, block: Block, key: np.uint64) -> bool:
    """Return whether a house is built: only away from main roads and water."""
    x, y = block.axis_x * house.a - block.axis_y * house.b, block.axis_x * house.b + block.axis_y * house.a
    district, border = district_at(x, y, key)
    room = 1.3 * max(house.half_a, house.half_b) + 4.0
    dry = lake_at(x, y, border, key) < -room and river_at(x, y, key) < -room
    return dry and district == block.district and border > room + _MAIN_ROAD


@internal(nogil=True, error_model="numpy")
def _roof_light(house: _House, off_a: float, off_b: float, block: Block) -> float:
    """Return the light on a roof: gable roofs have a bright and a dark side, halls are flat."""
    if house.hall:
        return 1.0
    if house.half_a > house.half_b:  # the ridge runs along the longer side
        facing = block.axis_x * _SUN_Y - block.axis_y * _SUN_X
        return 1.0 + 0.28 * (facing if off_b > 0.0 else -facing)
    facing = block.axis_x * _SUN_X + block.axis_y * _SUN_Y
    return 1.0 + 0.28 * (facing if off_a > 0.0 else -facing)


@internal(nogil=True, error_model="numpy")
def _roof_shades(block: Block, x: float, y: float, step_x: float, step_y: float, key: np.uint64) -> bool:
    """Return whether the house on the lot that `block` refers to is between a point and the sun."""
    if block.use != VILLAGE:
        return False
    house = _house(block)
    a, b = block.axis_x * x + block.axis_y * y - house.a, block.axis_x * y - block.axis_y * x - house.b
    way_a = (block.axis_x * step_x + block.axis_y * step_y) * house.shadow
    way_b = (block.axis_x * step_y - block.axis_y * step_x) * house.shadow
    near_a, far_a = _between(-house.half_a - a, house.half_a - a, way_a)
    near_b, far_b = _between(-house.half_b - b, house.half_b - b, way_b)
    return max(max(near_a, near_b), 0.0) < min(min(far_a, far_b), 1.0) and _stands(house, block, key)


@internal(nogil=True, error_model="numpy")
def _between(low: float, high: float, way: float) -> tuple[float, float]:
    """Return the shares of a path `way` at which a coordinate enters and leaves the interval low to high."""
    if abs(way) < 1e-9:
        return (0.0, 1.0) if low < 0.0 < high else (1.0, 0.0)
    return min(low / way, high / way), max(low / way, high / way)
