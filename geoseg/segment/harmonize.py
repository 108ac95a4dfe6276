"""Harmonizing: which code of which tile is which class of the scene.

Two questions, one after the other. *Which codes are the same?* With a scene network they are, by construction; tiles
that were trained alone are translated into the codes of the scene by their looks and by what neighbouring tiles say of
the same ground (`translate`). *Which classes has the scene?* Superpixels are grouped by votes and looks into many fine
classes, and these are joined to a tree (`harmonize`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from geoseg.config import Harmonize
from geoseg.segment.channels import contrasts
from geoseg.segment.classtree import ClassTree, grow_tree
from geoseg.segment.votes import FIXED, Ground, Votes

_VOTE_WEIGHT = 0.1  # of the votes' square roots against looks in units of the stretch
_SIZE_POWER = 0.5  # superpixels weigh by the root of their area, so that small ground keeps a class of its own
_MOST_SAMPLES = 40_000  # superpixels from which the fine classes are found
_RESTARTS = 5  # of k-means, the best counts; with one alone a small ground is kept or lost by luck
_ROUNDS = 10  # of passing on what neighbouring tiles say; a word goes no further than as many tiles
_TEXTURE_WEIGHT = 0.3  # of the textures' square roots, likewise
_NOTHING = 1e-9  # squared distance at which looks are the same
_OVERLAP_SHARE = 0.5  # of the neighbours' word against the code's own looks


@dataclass(frozen=True)
class Harmony:
    """What decides the class of a superpixel.

    Parameters
    ----------
    centres : (fine class, feature) float64; empty where the classes are the codes themselves
    code_class : (code,) int64, fine class of each scene code, where the classes are the codes; else empty
    tree : how the fine classes are joined
    looks : (fine class, look) float64, mean looks, for colours
    weights : (fine class,) float64, pixels seen
    n_bands : how many of the looks are bands; the others are textures
    n_classes : how many classes "auto" means; chosen when they were found, see `ClassTree.natural`
    mix : (feature, look) float64, what makes features of looks, where superpixels are compared by nothing else;
        else empty
    """

    centres: NDArray[np.float64]
    code_class: NDArray[np.int64]
    tree: ClassTree
    looks: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_bands: int
    n_classes: int
    mix: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def fine_classes(self, ground: Ground) -> NDArray[np.int64]:
        """Return the fine class, from 0, of each superpixel."""
        if self.code_class.size:
            return self.code_class[ground.votes.argmax(axis=1)]
        if self.mix.size:
            return _nearest(ground.looks @ self.mix.T, self.centres)
        return _nearest(features(ground, self.n_bands), self.centres)

    def classes(self, wanted: int | Literal["auto"]) -> NDArray[np.int64]:
        """Return the class, from 1, of each fine class where there are to be at most as many classes as `wanted`."""
        return self.tree.level(self.n_classes if wanted == "auto" else wanted)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name."""
        fields = {name: value for name, value in vars(self).items() if name not in ("tree", "n_bands", "n_classes")}
        tree = {"merges": self.tree.merges, "costs": self.tree.costs}
        return fields | tree | {"n_bands": np.array(self.n_bands), "n_classes": np.array(self.n_classes)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Harmony:
        """Return the harmony that `to_arrays` gave."""
        fields = dict(arrays)
        tree = ClassTree(len(fields["looks"]), fields.pop("merges"), fields.pop("costs"))
        return cls(tree=tree, n_bands=int(fields.pop("n_bands")), n_classes=int(fields.pop("n_classes")), **fields)


def harmonize(sample: list[Ground], options: Harmonize, *, n_bands: int, seed: int) -> Harmony:
    """Find the classes of the scene from blocks that are spread over it.

    Parameters
    ----------
    sample : at least one with a superpixel
    n_bands : how many of the looks are bands
    """
    ground = _joined(sample)
    if options.evidence == "votes":
        used, fine = np.unique(ground.votes.argmax(axis=1), return_inverse=True)
        code_class = np.zeros(ground.votes.shape[1], np.int64)
        code_class[used] = np.arange(len(used))
        centres, described = np.zeros((0, 0)), _looks_features(ground.looks, n_bands)
    else:
        described = features(ground, n_bands)
        centres = _fine_centres(described, _weights(ground), options.fine_classes, seed)
        fine, code_class = _nearest(described, centres), np.zeros(0, np.int64)
    n_fine = int(fine.max()) + 1
    tree = _tree(ground, fine, n_fine, described, options)
    return Harmony(
        centres=centres,
        code_class=code_class,
        tree=tree,
        looks=_means(ground.looks, ground.pixels, fine, n_fine),
        weights=np.bincount(fine, ground.pixels, minlength=n_fine).astype(float),
        n_bands=n_bands,
        n_classes=tree.natural,
    )


def features(ground: Ground, n_bands: int) -> NDArray[np.float64]:
    """Return what superpixels are compared by: (n, feature) roots of votes, brightness and colour, texture."""
    return np.concatenate([_VOTE_WEIGHT * np.sqrt(ground.votes), _looks_features(ground.looks, n_bands)], axis=1)


def code_table(votes: Votes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much of its core a tile gave each code (code,), and the codes' mean looks (code, look)."""
    seen = votes.pixels > 0
    shares = votes.votes[seen] / np.maximum(votes.votes[seen].sum(axis=1, keepdims=True), 1)
    mass = (shares * votes.pixels[seen, None]).sum(axis=0)
    looks = shares.T @ votes.looks[seen].astype(float) / np.maximum(mass[:, None], 1e-9)
    return mass, looks / FIXED


def overlap(a: Votes, b: Votes) -> NDArray[np.float64]:
    """Return on how much ground tile a says code i where tile b says code j, as (code, code)."""
    _, rows_a, rows_b = np.intersect1d(a.numbers, b.numbers, assume_unique=True, return_indices=True)
    of_a, of_b = a.votes[rows_a].astype(float), b.votes[rows_b].astype(float)
    common = np.minimum(of_a.sum(axis=1), of_b.sum(axis=1))
    of_a /= of_a.sum(axis=1, keepdims=True)
    of_b /= of_b.sum(axis=1, keepdims=True)
    return np.asarray((of_a * common[:, None]).T @ of_b)


def translate(
    mass: NDArray[np.float64],
    looks: NDArray[np.float64],
    overlaps: sparse.csr_array,
    *,
    n_scene_codes: int,
    n_bands: int,
    seed: int,
) -> NDArray[np.float64]:
    """Say for the codes of all tiles which code of the scene each one is, softly.

    The codes are grouped by their looks; then each listens to the codes that neighbouring tiles give the same ground,
    and keeps at the same time to its own looks. That anchor keeps classes from chaining together from tile to tile.
    How much a code belongs to a group by its looks is the membership of fuzzy c-means (Bezdek 1981) with m = 1.5:
    half and half where it lies halfway, whatever the scale.

    Parameters
    ----------
    mass : (node,) float64; a node is one code of one tile
    looks : (node, look) float64
    overlaps : (node, node) symmetric, ground that two nodes of different tiles have in common
    n_scene_codes : at most

    Returns
    -------
    (node, scene code) float64; the rows add up to 1
    """
    described = _looks_features(looks, n_bands)
    used = mass > 0
    centres = _fine_centres(described[used], mass[used] ** _SIZE_POWER, n_scene_codes, seed)
    distance = ((described[:, None] - centres[None]) ** 2).sum(axis=-1)
    own = 1 / (distance + _NOTHING) ** 2
    own /= own.sum(axis=1, keepdims=True)
    said = np.asarray(overlaps.sum(axis=1)).ravel()
    heard = np.where(said > 0, _OVERLAP_SHARE, 0.0)[:, None]
    weights = sparse.diags_array(1 / np.maximum(said, 1e-12)) @ overlaps
    word = own
    for _ in range(_ROUNDS):
        word = (1 - heard) * own + heard * (weights @ word)
    return np.asarray(word / word.sum(axis=1, keepdims=True))


def _joined(sample: list[Ground]) -> Ground:
    filled = [ground for ground in sample if len(ground.numbers)]
    fields = {name: np.concatenate([vars(ground)[name] for ground in filled]) for name in vars(filled[0])}
    order = np.argsort(fields["numbers"])
    rows = {name: fields[name][order] for name in ("numbers", "votes", "pixels", "looks")}
    return Ground(**rows, pairs=fields["pairs"], borders=fields["borders"])


def _looks_features(looks: NDArray[np.float64], n_bands: int) -> NDArray[np.float64]:
    colour = contrasts(looks[:, :n_bands], axis=1)
    return np.concatenate([colour, _TEXTURE_WEIGHT * np.sqrt(np.maximum(looks[:, n_bands:], 0))], axis=1)


def _fine_centres(
    described: NDArray[np.float64], weights: NDArray[np.float64], n_centres: int, seed: int
) -> NDArray[np.float64]:
    """Return at most `n_centres` means of groups, by k-means."""
    rows = np.unique(np.linspace(0, len(described) - 1, min(len(described), _MOST_SAMPLES)).astype(int))
    n_distinct = len(np.unique(described[rows], axis=0))
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        means = KMeans(min(n_centres, n_distinct), n_init=_RESTARTS, random_state=seed, max_iter=100)
        means.fit(described[rows], sample_weight=weights[rows])
    centres: NDArray[np.float64] = means.cluster_centers_
    taken = np.unique(_nearest(described, centres))
    return centres[taken]


def _nearest(described: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    with threadpool_limits(1):
        cross = described @ centres.T
    return np.asarray(((centres**2).sum(axis=1) - 2 * cross).argmin(axis=1))


def _tree(
    ground: Ground, fine: NDArray[np.int64], n_fine: int, described: NDArray[np.float64], options: Harmonize
) -> ClassTree:
    weights = _weights(ground)
    means = _means(described, weights, fine, n_fine)
    mass = np.bincount(fine, weights, minlength=n_fine).astype(float)
    place = np.searchsorted(ground.numbers, ground.pairs)
    place = np.minimum(place, len(ground.numbers) - 1)
    known = (ground.numbers[place] == ground.pairs).all(axis=1)  # the other end may lie in a block without a sample
    a, b = fine[place[known]].T
    borders = (
        np.bincount(a * n_fine + b, ground.borders[known], minlength=n_fine**2).reshape(n_fine, n_fine).astype(float)
    )
    return grow_tree(means, mass, borders + borders.T, interleaving=options.interleaving)


def _weights(ground: Ground) -> NDArray[np.float64]:
    return ground.pixels.astype(np.float64) ** _SIZE_POWER


def _means(
    values: NDArray[np.float64], weights: NDArray[Any], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    sums = np.stack([np.bincount(groups, weights * column, minlength=n_groups) for column in values.T], axis=1)
    return sums / np.bincount(groups, weights, minlength=n_groups)[:, None]
