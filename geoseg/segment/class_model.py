"""Harmonizing: which code of which tile is which class of the scene.

Two questions, one after the other. *Which codes are the same?* With a scene network they are, by construction; tiles
that were trained alone are translated into the codes of the scene (`geoseg.segment.per_tile.align_codes`). *Which classes has the
scene?* Looks found many fine classes, votes and looks say who belongs to them, and a tree joins them (`harmonize`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from geoseg.config import Classify
from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from geoseg.segment.clustering import kmeans, nearest, split_multimodal
from geoseg.segment.features import moment_features
from geoseg.segment.votes import SuperpixelTable

_MEMBERSHIP_VOTES = 0.25  # of votes' square roots against looks in units of the stretch, to say who is of a class
_TREE_VOTES = 0.1  # the same where classes are joined
_SIZE_POWER = 0.5  # superpixels weigh by the root of their area, so that small ground keeps a class of its own


@dataclass(frozen=True)
class ClassModel:
    """What decides the class of a superpixel.

    Parameters
    ----------
    centres : (fine class, feature) float64; empty where the classes are the codes themselves
    code_class : (code,) int64, fine class of each scene code, where the classes are the codes; else empty
    tree : how the fine classes are joined
    looks : (fine class, look) float64, mean looks, for colours
    weights : (fine class,) float64, pixels seen
    n_bands : how many of the looks are bands
    n_classes : how many classes "auto" means; chosen when they were found, see `ClassTree.natural`
    mix : (feature, look) float64, what makes features of looks, where superpixels are compared by nothing else;
        else empty
    """

    centres: NDArray[np.float64]
    code_class: NDArray[np.int64]
    tree: ClassTree
    moments: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_bands: int
    n_classes: int
    mix: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def clusters(self, superpixel_table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the fine class, from 0, of each superpixel."""
        if self.code_class.size:
            return self.code_class[superpixel_table.votes.argmax(axis=1)]
        if self.mix.size:
            return nearest(superpixel_table.moments @ self.mix.T, self.centres)
        return nearest(features(superpixel_table, self.n_bands), self.centres)

    def classes(self, wanted: int | Literal["auto"]) -> NDArray[np.int64]:
        """Return the class, from 1, of each fine class where there are to be at most as many classes as `wanted`."""
        return self.tree.level(self.n_classes if wanted == "auto" else wanted)

    def shares(self, superpixel_table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of its own class among all classes, of each superpixel, (n,) float64 from 0 to 1.

        Where classes are codes, it is that of the votes. Otherwise each class counts by 1 / d², d being the distance to
        the nearest of its centres: the memberships of fuzzy c-means (Bezdek 1981, with m = 2). Of the labelled ground
        of two scenes, what was called right has the greater share in 0.79 and 0.72 of all pairs; for the winner's share
        of the codes' votes it was 0.62 and 0.64.

        Parameters
        ----------
        class_of_cluster : (fine class,) int64 from 1, as `classes` gives it
        """
        classes = np.arange(1, int(class_of_cluster.max(initial=0)) + 1)
        if self.code_class.size:
            of_code = class_of_cluster[self.code_class]
            own = of_code[superpixel_table.votes.argmax(axis=1)]
            return np.asarray((superpixel_table.votes * (of_code == own[:, None])).sum(axis=1))
        described = superpixel_table.moments @ self.mix.T if self.mix.size else features(superpixel_table, self.n_bands)
        apart = cdist(described, self.centres, "sqeuclidean")
        each = np.stack([apart[:, class_of_cluster == one].min(axis=1) for one in classes], axis=1)  # (n, class)
        nearest_of_all = each.min(axis=1, keepdims=True)
        ratios = np.divide(nearest_of_all, each, out=np.ones_like(each), where=each > 0)
        return np.asarray(1 / ratios.sum(axis=1))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name."""
        fields = {name: value for name, value in vars(self).items() if name not in ("tree", "n_bands", "n_classes")}
        tree = {"merges": self.tree.merges, "costs": self.tree.costs}
        return fields | tree | {"n_bands": np.array(self.n_bands), "n_classes": np.array(self.n_classes)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ClassModel:
        """Return the harmony that `to_arrays` gave."""
        fields = dict(arrays)
        tree = ClassTree(len(fields["moments"]), fields.pop("merges"), fields.pop("costs"))
        return cls(tree=tree, n_bands=int(fields.pop("n_bands")), n_classes=int(fields.pop("n_classes")), **fields)


def fit_class_model(sample: list[SuperpixelTable], options: Classify, *, n_bands: int) -> ClassModel:
    """Find the classes of the scene from blocks that are spread over it.

    Parameters
    ----------
    sample : at least one with a superpixel
    n_bands : how many of the looks are bands
    """
    superpixel_table = _joined(sample)
    moments = moment_features(superpixel_table.moments, n_bands)
    if options.evidence == "votes":
        used, clusters = np.unique(superpixel_table.votes.argmax(axis=1), return_inverse=True)
        code_class = np.zeros(superpixel_table.votes.shape[1], np.int64)
        code_class[used] = np.arange(len(used))
        centres, founders, joined_by = np.zeros((0, 0)), clusters, moments
    else:
        centres, founders, clusters = _clusters_of(superpixel_table, moments, options.clusters)
        code_class = np.zeros(0, np.int64)
        joined_by = _with_votes(superpixel_table, moments, _TREE_VOTES)
    n_clusters = int(clusters.max()) + 1
    tree = _tree(superpixel_table, founders, n_clusters, joined_by, options)
    return ClassModel(
        centres=centres,
        code_class=code_class,
        tree=tree,
        moments=_means(superpixel_table.moments, superpixel_table.pixels, clusters, n_clusters),
        weights=np.bincount(clusters, superpixel_table.pixels, minlength=n_clusters).astype(float),
        n_bands=n_bands,
        n_classes=tree.auto_n_classes,
    )


def features(superpixel_table: SuperpixelTable, n_bands: int) -> NDArray[np.float64]:
    """Return what says which fine class a superpixel is of: (n, feature) roots of votes, then those of its looks."""
    return _with_votes(superpixel_table, moment_features(superpixel_table.moments, n_bands), _MEMBERSHIP_VOTES)


def _with_votes(superpixel_table: SuperpixelTable, moments: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    return np.concatenate([weight * np.sqrt(superpixel_table.votes), moments], axis=1)


def _clusters_of(
    superpixel_table: SuperpixelTable, moments: NDArray[np.float64], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the fine classes.

    Looks found them, without chance. A class that is of two minds, because grounds of one colour differ in what the
    network has learned to see, is cut by its votes. Then votes and looks together say who belongs to which. K-means on
    the votes would follow each network into another corner: two seeds then cut one wide ground at different shades.

    Returns
    -------
    centres : (fine class, feature), as `features` has them
    founders : (n,) int64, the class that each superpixel founded
    members : (n,) int64, the class that each superpixel is of; every class has founders and members
    """
    weights = _weights(superpixel_table)
    founders = nearest(moments, kmeans(moments, weights, n_classes))
    founders = split_multimodal(np.sqrt(superpixel_table.votes), weights, founders)
    described = _with_votes(superpixel_table, moments, _MEMBERSHIP_VOTES)
    centres = _means(described, weights, founders, int(founders.max()) + 1)
    members = nearest(described, centres)
    used = np.unique(members)
    founders = np.where(np.isin(founders, used), founders, members)  # of a class that nobody is of any more
    return centres[used], np.searchsorted(used, founders), np.searchsorted(used, members)


def _joined(sample: list[SuperpixelTable]) -> SuperpixelTable:
    filled = [superpixel_table for superpixel_table in sample if len(superpixel_table.numbers)]
    fields = {
        name: np.concatenate([vars(superpixel_table)[name] for superpixel_table in filled]) for name in vars(filled[0])
    }
    order = np.argsort(fields["numbers"])
    rows = {name: fields[name][order] for name in ("numbers", "votes", "pixels", "moments")}
    return SuperpixelTable(**rows, pairs=fields["pairs"], borders=fields["borders"])


def _tree(
    superpixel_table: SuperpixelTable,
    founders: NDArray[np.int64],
    n_clusters: int,
    described: NDArray[np.float64],
    options: Classify,
) -> ClassTree:
    """Grow the tree from those who founded the classes, as these are the same whatever network speaks of them."""
    weights = _weights(superpixel_table)
    means = _means(described, weights, founders, n_clusters)
    mass = np.bincount(founders, weights, minlength=n_clusters).astype(float)
    return grow_tree(
        means,
        mass,
        _borders(superpixel_table, founders, n_clusters, described),
        adjacency_weight=options.adjacency_weight,
    )


def _borders(
    superpixel_table: SuperpixelTable, clusters: NDArray[np.int64], n_clusters: int, described: NDArray[np.float64]
) -> Borders:
    place = np.minimum(
        np.searchsorted(superpixel_table.numbers, superpixel_table.pairs), len(superpixel_table.numbers) - 1
    )
    known = (superpixel_table.numbers[place] == superpixel_table.pairs).all(
        axis=1
    )  # the other end may lie in a block without a sample
    a, b = place[known].T
    length = superpixel_table.borders[known].astype(float)
    contrast = length * ((described[a] - described[b]) ** 2).sum(axis=1)
    patch = _patches(superpixel_table.pixels, clusters, a, b)
    patchy = length / np.minimum(patch[a], patch[b])
    between = clusters[a] * n_clusters + clusters[b]

    def table(values: NDArray[np.float64]) -> NDArray[np.float64]:
        half = np.bincount(between, values, minlength=n_clusters**2).reshape(n_clusters, n_clusters)
        return np.asarray(half + half.T, np.float64)

    return Borders(table(length), table(contrast), table(patchy))


def _patches(
    pixels: NDArray[np.int64], clusters: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the pixels of the connected ground of one fine class that each superpixel is part of, (n,) float64."""
    same, n = clusters[a] == clusters[b], len(clusters)
    graph = sparse.coo_array((np.ones(same.sum(), np.int8), (a[same], b[same])), shape=(n, n))
    patch = connected_components(graph, directed=False)[1]
    return np.asarray(np.bincount(patch, pixels)[patch])


def _weights(superpixel_table: SuperpixelTable) -> NDArray[np.float64]:
    return superpixel_table.pixels.astype(np.float64) ** _SIZE_POWER


def _means(
    values: NDArray[np.float64], weights: NDArray[Any], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    sums = np.stack([np.bincount(groups, weights * column, minlength=n_groups) for column in values.T], axis=1)
    return sums / np.bincount(groups, weights, minlength=n_groups)[:, None]
