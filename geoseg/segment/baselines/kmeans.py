"""One codebook of colours for the whole scene: classes without anything being learned.

Superpixels are compared by brightness and colour alone, and k-means finds the colours that stand for the classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2ypbpr
from threadpoolctl import threadpool_limits

from geoseg.segment.class_model import ClassModel
from geoseg.segment.class_tree import Borders, grow_tree
from geoseg.segment.grouped import grouped_mean, grouped_sum
from geoseg.segment.predictors import ColorPredictor
from geoseg.segment.votes import SuperpixelTable

_RESTARTS = 5  # of k-means, the best counts
_BATCH = 4096  # superpixels in one step of k-means


def fit_kmeans(sample: Sequence[SuperpixelTable], *, n_classes: int, n_bands: int, seed: int) -> ClassModel:
    """Find the colours that stand for the classes, from blocks that are spread over the scene.

    Parameters
    ----------
    sample : at least one with a superpixel
    n_classes : at most
    n_bands : how many of the looks are bands; the other does not count

    Notes
    -----
    Mini-batch k-means (Sculley 2010) with each superpixel weighted by its pixels, so that the codebook is that of the
    picture's pixels.
    """
    from sklearn.cluster import MiniBatchKMeans  # only here: it takes most of a second, and few steps need it
    from sklearn.metrics import pairwise_distances_argmin

    filled = [superpixel_table for superpixel_table in sample if len(superpixel_table.numbers)]
    moments = np.concatenate([superpixel_table.moments for superpixel_table in filled])
    pixels = np.concatenate([superpixel_table.pixels for superpixel_table in filled]).astype(float)
    mix = np.zeros((n_bands, moments.shape[1]))
    mix[:, :n_bands] = luma_chroma(n_bands)
    colours = moments @ mix.T  # (superpixel, luma or chroma)
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        n_centres = min(n_classes, len(np.unique(colours, axis=0)))
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
    )


def luma_chroma(n_bands: int) -> NDArray[np.float64]:
    """Return what turns bands into brightness and differences of colour, as (luma or chroma, band) float64.

    Three bands are red, green and blue: luma and the two differences are those of ITU-R BT.601 (YPbPr). Of any other
    number, luma is the mean, and each further channel half the difference between a band and the mean of those before
    it (Helmert contrasts): like Pb and Pr it goes from -0.5 to 0.5.

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
