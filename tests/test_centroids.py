from __future__ import annotations

import numpy as np

from geoseg.grid import TileGrid
from geoseg.segment.centroids import centroids
from geoseg.segment.superpixels import BlockSuperpixels

GRID = TileGrid((120, 160), 40, 10)  # 3 × 4 blocks


class TestCentroids:
    def test_centroids_are_positions_in_the_scene(self) -> None:
        block = GRID.tile(5)  # read window from row 30 and column 30
        labels = np.full(block.read.shape, -1, np.int32)
        labels[10:14, 20:22], labels[50, 50] = 0, 1
        made = BlockSuperpixels(block, labels, np.ones(2, bool))

        found = centroids(made, np.array([5 << 20, (5 << 20) + 1]))

        np.testing.assert_allclose(found, [[41.5, 50.5], [80, 80]])

    def test_block_without_superpixels_has_no_centroids(self) -> None:
        block = GRID.tile(5)
        made = BlockSuperpixels(block, np.full(block.read.shape, -1, np.int32), np.zeros(0, bool))

        assert centroids(made, np.zeros(0, np.int64)).shape == (0, 2)
