"""Samples as a training set: one row per region and name, and what the user should know about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.classify.forest import TrainingSet
from geoseg.classify.region_table import Features
from geoseg.classify.samples import Located, Samples
from geoseg.errors import RasterError

_LISTED = 5  # names in a message


@dataclass(frozen=True)
class Labelled:
    """Regions with samples; a region with samples of several names has one row for each of them.

    Parameters
    ----------
    rows : (pair,) int64
        Row of the region.
    names : (pair,) int64
        Number of the name.
    counts : (pair,) int64
        Number of samples.
    is_covered : (pair,) bool
        Whether a polygon of this name covers most of the region.
    """

    rows: NDArray[np.int64]
    names: NDArray[np.int64]
    counts: NDArray[np.int64]
    is_covered: NDArray[np.bool_]

    def training_set(self, features: Features, n_names: int) -> TrainingSet:
        """Return the rows with the features of their regions."""
        return TrainingSet(features.of(self.rows), self.names, self.counts.astype(np.float64), n_names)

    @property
    def decided(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Regions that polygons of one name cover, and the number of this name: the user has named them."""
        rows, names = self.rows[self.is_covered], self.names[self.is_covered]
        unique, first, count = np.unique(rows, return_index=True, return_counts=True)
        return unique[count == 1], names[first][count == 1]


def label_regions(samples: Samples, located: Located) -> tuple[Labelled, list[str]]:
    """Return the regions with samples, and notes on samples that contradict each other or are outside.

    A polygon that covers a region names all of it, so points in it do not count.

    Parameters
    ----------
    samples : Samples
    located : Located

    Raises
    ------
    RasterError
        If no sample is in a region, or all that are have the same name.
    """
    n_names = len(samples.names)
    kept = located.is_covered | ~np.isin(located.rows, located.rows[located.is_covered])
    keys, index = np.unique(located.rows[kept] * n_names + samples.numbers[located.samples[kept]], return_inverse=True)
    is_covered = np.bincount(index, located.is_covered[kept], minlength=len(keys)) > 0
    labelled = Labelled(keys // n_names, keys % n_names, np.bincount(index, minlength=len(keys)), is_covered)
    n_inside = len(np.unique(located.samples))
    if not n_inside:
        raise RasterError(
            f"none of the {len(samples)} samples is in a region. Are the samples those of this scene, and is their CRS "
            f"right?"
        )
    notes = list(samples.notes)
    if n_inside < len(samples):
        notes.append(f"{len(samples) - n_inside} of {len(samples)} samples are in no region and are not used.")
    present = np.unique(labelled.names)
    if len(present) == 1:
        raise RasterError(
            f"all {n_inside} samples in regions have the name {samples.names[int(present[0])]!r}; expected samples of "
            f"at least two names. Add samples of other names."
        )
    if len(present) < n_names:
        missing = [samples.names[i] for i in range(n_names) if i not in present]
        notes.append(f"no sample of {_listed(missing)} is in a region.")
    rows, n_of_row = np.unique(labelled.rows, return_counts=True)
    if (n_of_row > 1).any():
        notes.append(
            f"{int((n_of_row > 1).sum())} of {len(rows)} regions with samples have samples of different names; each of "
            f"their samples counts."
        )
    return labelled, notes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
