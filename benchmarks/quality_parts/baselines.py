"""Baselines: superpixels of scikit-image with k-means, and Ward's linkage of the classes of geoseg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb, slic
from sklearn.cluster import KMeans

SUPERPIXEL = 130  # px of area, about that of geoseg's superpixels


def colours(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return CIELAB of the first three bands, and 100 times each other band, stretched; and the valid pixels.

    Returns
    -------
    colours : (y, x, band) float64
    valid : (y, x) bool
    """
    with rasterio.open(path) as raster:
        bands, valid = raster.read().astype(np.float64), raster.dataset_mask() > 0
    low, high = (np.percentile(bands[:, valid], q, axis=1)[:, None, None] for q in (1, 99))
    bands = np.clip((bands - low) / np.maximum(high - low, 1e-9), 0, 1)
    if len(bands) < 3:
        return 100 * np.moveaxis(bands, 0, -1), valid
    return np.concatenate([rgb2lab(bands[:3], channel_axis=0), 100 * bands[3:]]).transpose(1, 2, 0), valid


def kmeans_levels(
    method: str, lab: NDArray[np.float64], valid: NDArray[np.bool_], levels: tuple[int, ...]
) -> dict[int, NDArray[np.int64]]:
    """Return class rasters by number of classes: k-means of the mean colours of superpixels, weighted by their pixels.

    Classes are numbered from 1; 0 = nodata.
    """
    if method == "felzenszwalb":
        labels = felzenszwalb(lab / 100, scale=32, sigma=0.5, min_size=64, channel_axis=-1)
    else:
        n_segments = max(int(valid.sum()) // SUPERPIXEL, 2)
        labels = slic(lab, n_segments=n_segments, compactness=10, convert2lab=False, start_label=0, channel_axis=-1)
    n = int(labels.max()) + 1
    pixels = np.bincount(labels[valid], minlength=n).astype(float)
    means = np.stack([np.bincount(labels[valid], band[valid], n) for band in np.moveaxis(lab, -1, 0)], axis=1)
    means /= np.maximum(pixels, 1)[:, None]
    models = {k: KMeans(k, n_init=5, random_state=0).fit(means, sample_weight=pixels) for k in levels}
    return {k: np.where(valid, model.labels_[labels] + 1, 0) for k, model in models.items()}


def ward_levels(
    lab: NDArray[np.float64], classes: NDArray[np.integer], levels: tuple[int, ...]
) -> dict[int, NDArray[np.integer]]:
    """Return coarser levels of a class raster, merged by Ward's linkage of the mean colours of its classes."""
    rows = classes > 0
    numbers, of = np.unique(classes[rows], return_inverse=True)
    mass = np.bincount(of).astype(float)
    means = np.stack([np.bincount(of, band[rows]) for band in np.moveaxis(lab, -1, 0)], axis=1) / mass[:, None]
    group, alive, found = np.arange(len(numbers)), list(range(len(numbers))), {}
    for n_classes in sorted(levels, reverse=True):
        while len(alive) > n_classes:
            pairs = [(a, b) for i, a in enumerate(alive) for b in alive[i + 1 :]]
            a, b = min(pairs, key=lambda p: mass[p[0]] * mass[p[1]] / mass[list(p)].sum() * _squared(means, *p))
            means[a] = (mass[a] * means[a] + mass[b] * means[b]) / (mass[a] + mass[b])
            mass[a] += mass[b]
            group[group == b] = a
            alive.remove(b)
        raster = np.zeros_like(classes)
        raster[rows] = group[of] + 1
        found[n_classes] = raster
    return found


def _squared(means: NDArray[np.float64], a: int, b: int) -> float:
    return float(((means[a] - means[b]) ** 2).sum())
