from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg import segment_array
from geoseg.config import Classify
from geoseg.grid import TileGrid, Window
from geoseg.segment.class_model import fit_class_model
from geoseg.segment.context import CELL, context_features, sum_cells, window_around
from geoseg.segment.features import moment_features
from geoseg.segment.votes import SuperpixelTable

from .conftest import fields

SHAPE = (330, 470)
N_CODES, N_BANDS = 3, 2


class Scene:
    """Random votes and moments that vary from place to place, with nodata."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        coarse = draw.integers(0, 256, (SHAPE[0] // 40 + 1, SHAPE[1] // 40 + 1, N_CODES))
        self.shares = np.kron(coarse, np.ones((40, 40, 1), int))[: SHAPE[0], : SHAPE[1]].astype(np.uint8)
        self.moments = draw.random((N_BANDS + 1, *SHAPE)).astype(np.float32)
        self.moments[-1] = self.moments[:-1].mean(axis=0) ** 2
        self.index = np.where(draw.random(SHAPE) < 0.2, -1, 0).astype(np.int32)
        self.index[:50, :200] = -1
        self.centroids = draw.random((12, 2)) * SHAPE

    def sums(self, window: Window) -> np.ndarray:
        here = window.within(Window(0, 0, SHAPE[1], SHAPE[0]))
        return sum_cells(self.index[here], self.shares[here], self.moments[:, *here], window)

    def context(
        self,
        size: int,
        window: Window | None = None,
        translation: np.ndarray | None = None,
        *,
        votes_alone: bool = False,
    ) -> np.ndarray:
        window = window or Window(0, 0, SHAPE[1], SHAPE[0])
        grid = TileGrid(SHAPE, size, 1)
        around = grid.touching(window_around(window, SHAPE))
        sums = ((grid.tile(tile).core, self.sums(grid.tile(tile).core), translation) for tile in around)
        return context_features(self.inside(window), window, SHAPE, sums, n_bands=N_BANDS, votes_alone=votes_alone)

    def inside(self, window: Window) -> np.ndarray:
        ends = [window.row_off, window.col_off], [window.row_end, window.col_end]
        return self.centroids[((self.centroids >= ends[0]) & (self.centroids < ends[1])).all(axis=1)]


def expected(scene: Scene) -> np.ndarray:
    """Return the context from a Gaussian over all cells, one place after the other."""
    n_cells = -(-SHAPE[0] // CELL), -(-SHAPE[1] // CELL)
    total = np.zeros((*n_cells, N_CODES + N_BANDS + 2))
    for y, x in np.argwhere(scene.index >= 0):
        moments = np.rint(scene.moments[:, y, x] * np.float32(65536))
        total[y // CELL, x // CELL] += [*scene.shares[y, x], *moments, 1]

    def at(row: int, col: int) -> np.ndarray:
        rows, cols = np.mgrid[: n_cells[0], : n_cells[1]]
        weight = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) * CELL**2 / (2 * 64**2))
        weight[(abs(rows - row) > 6) | (abs(cols - col) > 6)] = 0  # three standard deviations
        return (weight[..., None] * total).sum(axis=(0, 1))

    found = []
    for place in scene.centroids:
        y, x = np.clip(place / CELL - 0.5, 0, np.array(n_cells) - 1)
        row, col = int(y), int(x)
        down, right = min(row + 1, n_cells[0] - 1), min(col + 1, n_cells[1] - 1)
        sums = (1 - y + row) * ((1 - x + col) * at(row, col) + (x - col) * at(row, right))
        sums += (y - row) * ((1 - x + col) * at(down, col) + (x - col) * at(down, right))
        votes, moments = sums[:N_CODES], sums[N_CODES:-1] / (65536 * sums[-1])
        found.append([*np.sqrt(votes / votes.sum()), *moment_features(moments[None], N_BANDS)[0]])
    return np.array(found)


def test_context_is_the_mean_weighted_by_a_gaussian() -> None:
    scene = Scene(1)

    np.testing.assert_allclose(scene.context(512), expected(scene), rtol=2e-3, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 400))
def test_context_does_not_depend_on_the_tiles(seed: int, size: int) -> None:
    scene = Scene(seed)

    np.testing.assert_array_equal(scene.context(size), scene.context(512))


@pytest.mark.parametrize(
    "window",
    [Window(0, 0, 128, 128), Window(128, 96, 256, 128), Window(384, 256, 86, 74)],
    ids=["first", "mid", "last"],
)
def test_context_does_not_depend_on_the_block(window: Window) -> None:
    scene = Scene(2)
    scene.centroids = np.random.default_rng(3).random((300, 2)) * SHAPE
    whole = scene.context(512)
    chosen = [(scene.centroids == place).all(axis=1).argmax() for place in scene.inside(window)]

    assert len(chosen) > 5
    np.testing.assert_array_equal(scene.context(64, window), whole[chosen])


def test_codes_of_tiles_are_translated() -> None:
    scene = Scene(4)
    swap = np.eye(N_CODES)[::-1]

    swapped = scene.context(100, translation=swap)

    plain = scene.context(100)
    np.testing.assert_array_equal(swapped[:, :N_CODES], plain[:, :N_CODES][:, ::-1])
    np.testing.assert_array_equal(swapped[:, N_CODES:], plain[:, N_CODES:])


def test_votes_alone_are_the_first_columns_of_the_context() -> None:
    scene = Scene(6)

    np.testing.assert_array_equal(scene.context(100, votes_alone=True), scene.context(100)[:, :N_CODES])


def between_two_colours() -> SuperpixelTable:
    """Return 40 superpixels of each of two colours, and 20 of a colour between them beside the superpixels of each."""
    beside = np.repeat([0, 1, 0, 1], [40, 40, 20, 20])
    n = len(beside)
    colour = np.where(np.arange(n) < 80, 0.3 + 0.4 * beside, 0.5) + np.random.default_rng(0).normal(0, 0.002, n)
    return SuperpixelTable(
        numbers=np.arange(n),
        votes=np.full((n, 2), 0.5),
        pixels=np.full(n, 50),
        moments=np.stack([colour, colour**2], axis=1),
        pairs=np.zeros((0, 2), np.int64),
        borders=np.zeros(0, np.int64),
        context=np.eye(2)[beside].astype(np.float16),
    )


def test_superpixels_between_two_clusters_are_assigned_by_what_lies_around() -> None:
    def clusters_of(table: SuperpixelTable) -> list[int]:
        model = fit_class_model([table], Classify(classes=2, clusters=2), n_bands=1)
        return list(model.clusters(table).tolist())

    table = between_two_colours()
    found, without = clusters_of(table), clusters_of(replace(table, context=None))

    assert found[80:] == [found[0]] * 20 + [found[40]] * 20
    assert len(set(without[80:])) == 1


def test_context_without_valid_pixels_around_is_zero() -> None:
    scene = Scene(5)
    scene.index[:] = -1

    found = scene.context(512)

    assert found.shape == (12, N_CODES + N_BANDS + 1)
    assert not found.any()


def test_sums_of_a_bright_cell_do_not_overflow() -> None:
    index, shares = np.zeros((CELL, CELL), np.int32), np.full((CELL, CELL, 1), 255, np.uint8)
    moments = np.full((2, CELL, CELL), 2.25, np.float32)

    sums = sum_cells(index, shares, moments, Window(0, 0, CELL, CELL))

    assert sums.tolist() == [[[255 * CELL**2, 147456 * CELL**2, 147456 * CELL**2, CELL**2]]]


@pytest.mark.parametrize("mode", ["assignment", "clusters"])
def test_classes_with_context_do_not_depend_on_the_tiles(mode: str) -> None:
    image = fields((150, 170))
    given = {"classify": {"context": mode, "classes": 6}, "learn": {"windows": 4, "crop": 64, "steps": 4}}

    one, other = (
        segment_array(image, config=given | {"tiles": {"size": size, "halo": 16}}, device="cpu").classes
        for size in (64, 256)
    )

    assert len(np.unique(one)) >= 4
    np.testing.assert_array_equal(one, other)
