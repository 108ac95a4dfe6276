"""Measure whether tile lines are visible in the outlines of polygons.

    python benchmarks/tilelines.py POLYGONS SCENE [POLYGONS SCENE ...] [--tile 512]

Two figures, each on the tile lines over the same on the lines 7 px beside them on either side; 1 = not visible:
straight is the length of border that lies exactly on a line as a share of the border within 3 px of it, vertices the
number of vertices on a line for each pixel of that border. The last row is that of all files together.
"""

from __future__ import annotations

import argparse

import geopandas
import numpy as np
import rasterio
import shapely

BESIDE, NEAR = 7, 3
THIN = 64  # px; a thinner last tile is merged with the one before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="POLYGONS SCENE")
    parser.add_argument("--tile", type=int, default=512)
    args = parser.parse_args()
    print(
        "polygons                 on the line: straight vertices   beside: straight vertices   ratio: straight vertices"
    )
    totals = []
    for polygons, scene in zip(args.files[::2], args.files[1::2], strict=True):
        totals.append(counts(polygons, scene, args.tile))
        print(row(polygons.rpartition("/")[2], totals[-1]))
    print(row("all", np.sum(totals, axis=0)))


def row(name: str, found: np.ndarray) -> str:
    (on, on_vertices), (beside, beside_vertices) = (kind[:2] / kind[2] for kind in found)
    return (
        f"{name:<36} {on:9.4f} {on_vertices:8.4f} {beside:18.4f} {beside_vertices:8.4f} "
        f"{on / beside:17.2f} {on_vertices / beside_vertices:8.2f}"
    )


def counts(polygons: str, scene: str, tile: int) -> np.ndarray:
    """Return (on or beside, straight length or vertices or border length near), added up over all lines."""
    with rasterio.open(scene) as raster:
        shape, to_pixels = raster.shape, ~raster.transform
    shapes = geopandas.read_file(polygons, layer="labels").geometry.values
    segments = borders(shapes, to_pixels)  # (segment, end, x or y)
    total = np.zeros((2, 3))
    for axis, length in ((0, shape[1]), (1, shape[0])):
        lines = np.arange(tile, length - THIN + 1, tile)
        for line in lines:
            total[0] += at_line(segments, axis, line)
            total[1] += at_line(segments, axis, line - BESIDE) + at_line(segments, axis, line + BESIDE)
    return total


def borders(shapes: np.ndarray, to_pixels: rasterio.Affine) -> np.ndarray:
    """Return each border segment between two vertices once, in pixels."""
    rings = shapely.get_rings(shapes)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    xy = np.round(np.stack(to_pixels @ (xy[:, 0], xy[:, 1]), axis=1), 5)
    pairs = np.stack([xy[:-1], xy[1:]], axis=1)[ring[:-1] == ring[1:]]
    swapped = (pairs[:, 0, 0] > pairs[:, 1, 0]) | (
        (pairs[:, 0, 0] == pairs[:, 1, 0]) & (pairs[:, 0, 1] > pairs[:, 1, 1])
    )
    pairs[swapped] = pairs[swapped][:, ::-1]
    return np.unique(pairs.reshape(-1, 4), axis=0).reshape(-1, 2, 2)


def at_line(segments: np.ndarray, axis: int, line: int) -> np.ndarray:
    low, high = np.sort(segments[:, :, axis], axis=1).T
    near = segments[(high >= line - NEAR) & (low <= line + NEAR)]
    low, high = np.sort(near[:, :, axis], axis=1).T
    length = np.hypot(*(near[:, 1] - near[:, 0]).T)
    inside = np.minimum(high, line + NEAR) - np.maximum(low, line - NEAR)
    share = np.where(high > low, inside / np.maximum(high - low, 1e-9), 1)
    points = near.reshape(-1, 2)
    n_vertices = len(np.unique(points[points[:, axis] == line], axis=0))
    return np.array([length[(low == line) & (high == line)].sum(), n_vertices, (length * share).sum()])


if __name__ == "__main__":
    main()
