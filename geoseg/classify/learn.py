"""Learn names from regions with samples, and predict those of all regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.classify.forest import Forest, predict, train
from geoseg.classify.probabilities import corrected, scene_shares, smoothed
from geoseg.classify.region_table import Features, RegionTable, neighbour_shares
from geoseg.classify.training import Labelled


@dataclass(frozen=True)
class Learned:
    """A forest and the regions that it is applied to.

    Parameters
    ----------
    forest : Forest
    table : RegionTable
        With the columns of the forest.
    features : Features
    labelled : Labelled or None
        Regions with samples; None = the forest was loaded.
    notes : tuple of str
        On the samples.
    """

    forest: Forest
    table: RegionTable
    features: Features
    labelled: Labelled | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """Names of all regions.

    Parameters
    ----------
    probabilities : (region, name) float32
    shares : (name,) float64
        Of the area, estimated.
    """

    probabilities: NDArray[np.float32]
    shares: NDArray[np.float64]


def learn(labelled: Labelled, table: RegionTable, names: tuple[str, ...]) -> Learned:
    """Return the forest that is trained with regions with samples.

    Parameters
    ----------
    labelled : Labelled
    table : RegionTable
    names : tuple of str
    """
    medians = _medians(table)
    features = Features(table, medians)
    training = labelled.training_set(features, len(names))
    forest = Forest(names, table.attributes, tuple(table.levels), medians, training.shares, train(training))
    return Learned(forest, table, features, labelled)


def name_regions(learned: Learned) -> Prediction:
    """Return the probability of each name for all regions.

    Those of the forest are corrected to the shares of the names in the scene and smoothed over neighbours. A region
    that the user has named by a polygon has this name with probability 1.
    """
    forest, table = learned.forest, learned.table
    raw = predict(forest.trees, learned.features)
    shares = scene_shares(raw, forest.shares, table.sizes)
    probabilities = smoothed(corrected(raw, forest.shares, shares), neighbour_shares(table.borders))
    if learned.labelled is not None:
        rows, names = learned.labelled.decided
        probabilities[rows] = 0
        probabilities[rows, names] = 1
    return Prediction(probabilities, shares)


def _medians(table: RegionTable) -> NDArray[np.float32]:
    """Return the median of each attribute, 0 where no region has a value."""
    known = [column[~np.isnan(column)] for column in table.values.T]
    return np.array([np.median(column) if len(column) else 0 for column in known], np.float32)
