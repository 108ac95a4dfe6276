"""Baseline: k-means of the mean colours of superpixels, with one codebook for the whole scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2ypbpr
from threadpoolctl import threadpool_limits

from geoseg.segment.class_model import ClassModel
from geoseg.segment.class_tree import Borders, grow_tree
from geoseg.segment.extra_features import extra_scale, known_rows, scaled
from geoseg.segment.grouped import grouped_mean, grouped_sum
from geoseg.segment.predictors import ColorPredictor, with_extra
from geoseg.segment.votes import SuperpixelTable, concatenate

_RESTARTS = 5  # of k-means; the best result is used
_BATCH = 4096  # superpixels per step of k-means


def fit_kmeans(
    sample: Sequence[SuperpixelTable], *, n_classes: int, n_bands: int, seed: int, feature_weight: float = 1.0
) -> ClassModel:
    """Return a class model whose classes are clusters of colours, one cluster per class.

    Parameters
    ----------
    sample : sequence of SuperpixelTable
        Blocks spread over the scene, at least one of them with a superpixel.
    n_classes : int
        Maximum number of classes.
    n_bands : int
        Number of the moments that are band means; the other moments are not used.
    seed : int
    feature_weight : float
        Weight of the extra components of the superpixels, see `extra_features.extra_scale`.

    Returns
    -------
    ClassModel

    Notes
    -----
    Mini-batch k-means (Sculley 2010) in luma and chroma (`luma_chroma`). Superpixels are weighted by their pixels.
    """
    from sklearn.cluster import MiniBatchKMeans  # imported here because it takes most of a second
    from sklearn.metrics import pairwise_distances_argmin

    table = known_rows(concatenate(sample))
    moments, pixels = table.moments, table.pixels.astype(float)
    mix = np.zeros((n_bands, moments.shape[1]))
    mix[:, :n_bands] = luma_chroma(n_bands)
    scale = extra_scale(table, moments @ mix.T, pixels, feature_weight)
    table = scaled(table, scale)
    colours = with_extra(moments @ mix.T, table)  # (superpixel, luma, chroma or extra)
    with threadpool_limits(1):  # floating point sums depend on the number of threads
        given = with_extra(moments[:, :n_bands], table)
        n_centres = min(n_classes, len(np.unique(given, axis=0)))  # equal colours may differ in rounding
        means = MiniBatchKMeans(n_centres, n_init=_RESTARTS, batch_size=_BATCH, random_state=seed)
        centres = means.fit(colours, sample_weight=pixels).cluster_centers_
        centres = centres[np.unique(pairwise_distances_argmin(colours, centres))]
        clusters = pairwise_distances_argmin(colours, centres)
    weights = grouped_sum(pixels, clusters, len(centres))
    tree = grow_tree(centres, weights, Borders.none(len(centres)), adjacency_weight=0.0)
    return ClassModel(
        predictor=ColorPredictor(centres, mix),
        tree=tree,
        moments=grouped_mean(moments, clusters, len(centres), weights=pixels),
        weights=weights,
        n_bands=n_bands,
        auto_n_classes=tree.auto_n_classes,
        extra_scale=None if table.extra is None else scale,
    )


def luma_chroma(n_bands: int) -> NDArray[np.float64]:
    """Return the matrix that maps bands to luma and chroma.

    Three bands are taken as red, green and blue and mapped to YPbPr (ITU-R BT.601). For other numbers of bands, luma is
    the mean and each chroma channel half the difference between a band and the mean of those before it (Helmert
    contrasts), which like Pb and Pr is between -0.5 and 0.5 for bands from 0 to 1.

    Parameters
    ----------
    n_bands : int

    Returns
    -------
    (luma or chroma, band) float64

    Examples
    --------
    >>> luma_chroma(4) @ np.array([0.2, 0.4, 0.6, 0.8])
    array([0.5 , 0.1 , 0.15, 0.2 ])
    """
    if n_bands == 3:
        return np.asarray(rgb2ypbpr(np.eye(3)).T)
    mix = np.full((n_bands, n_bands), 1 / n_bands)
    for band in range(1, n_bands):
        mix[band] = np.where(np.arange(n_bands) < band, -0.5 / band, 0)
        mix[band, band] = 0.5
    return mix
