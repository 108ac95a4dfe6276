"""Attributes of regions from whole arrays, with scikit-image, shapely and scipy: one region after the other."""

import warnings

import numpy as np
import shapely
from rasterio.features import shapes
from scipy.ndimage import distance_transform_edt
from shapely.geometry import shape
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import regionprops


def shapes_of(regions):
    """Return elongation, orientation (degrees from the rows up, clockwise), rectangularity and solidity."""
    rows = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in regionprops(regions):
            major, minor = found.axis_major_length, found.axis_minor_length
            rows[found.label] = [1 - minor / major if major else 0, -np.degrees(found.orientation) % 180]
    polygons = {number: [] for number in rows}
    for geometry, number in shapes(regions.astype(np.int32), mask=regions > 0):
        polygons[int(number)].append(shape(geometry))
    for number, parts in polygons.items():
        union = shapely.union_all(parts)
        rows[number] += [_smallest_rectangle(union.convex_hull, union.area), union.area / union.convex_hull.area]
    return np.array([rows[number] for number in sorted(rows)])


def _smallest_rectangle(hull, area):
    xy = np.asarray(hull.exterior.coords)
    angles = np.arctan2(*np.diff(xy, axis=0).T[::-1])
    turned = np.stack([xy @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles])
    return area / np.ptp(turned, axis=1).prod(axis=1).min()


def textures_of(regions, levels, brightness):
    """Return contrast, homogeneity, entropy and gradient; pixels outside of the region are a level of their own."""
    rows = []
    for number in range(1, regions.max() + 1):
        inside = regions == number
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        counts = graycomatrix(np.where(inside, levels, 16), [1], angles, levels=17, symmetric=True)
        pooled = counts[:16, :16].sum(axis=(2, 3), keepdims=True).astype(float)
        differences = [
            np.abs(np.diff(brightness, axis=axis))[
                inside.take(range(1, inside.shape[axis]), axis) & _before(inside, axis)
            ]
            for axis in (0, 1)
        ]
        steps = np.concatenate(differences)
        share = pooled / max(pooled.sum(), 1)
        measures = [float(graycoprops(share, name)[0, 0]) for name in ("contrast", "homogeneity")]
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        rows.append([*measures, entropy, steps.mean() if len(steps) else np.nan] if pooled.sum() else [np.nan] * 4)
    return np.array(rows)


def _before(inside, axis):
    return inside.take(range(inside.shape[axis] - 1), axis)


def contexts_of(regions, brightness, classes, n_classes):
    """Return border contrast and difference, neighbours, shares of nodata and of each class, edge by edge."""
    framed, light = np.pad(regions, 1), np.pad(brightness, 1)
    found = {number: [] for number in range(1, regions.max() + 1)}
    for row, col in np.argwhere(framed > 0):
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            other = framed[row + down, col + right]
            if other != framed[row, col]:
                apart = float(light[row, col]) - float(light[row + down, col + right])
                found[framed[row, col]].append((other, apart))
    rows = []
    for edges in found.values():
        others, apart = np.array(edges).T
        known = others > 0
        of_class = np.bincount(classes[others[known].astype(int) - 1], minlength=n_classes + 1)[1:] / len(others)
        means = [np.abs(apart[known]).mean(), apart[known].mean()] if known.any() else [np.nan, np.nan]
        rows.append([*means, len(set(others[known])), (~known).mean(), *of_class])
    return np.array(rows)


def nodata_distances(regions, cell):
    """Return the distance of the centre of each region to nodata in pixels, between the centres of square cells."""
    padded = np.pad(regions, [(0, -side % cell) for side in regions.shape], constant_values=1)
    cells = (padded == 0).reshape(padded.shape[0] // cell, cell, -1, cell).any(axis=(1, 3))
    distance = cell * distance_transform_edt(~np.pad(cells, 1, constant_values=True))
    centres = [found.centroid for found in regionprops(regions)]
    return np.array([distance[int(row + 0.5) // cell + 1, int(col + 0.5) // cell + 1] for row, col in centres])
