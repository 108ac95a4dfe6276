"""Check the numbers of a model that was loaded: a file that fits its checksum may have been written by anybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config, Network, Superpixels
from geoseg.errors import shorten
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.feature_reduction import MAX_COMPONENTS
from geoseg.segment.features import network_input, pixel_moments
from geoseg.segment.predictors import CentroidPredictor, CodePredictor, ColorPredictor
from geoseg.segment.projection import Projection
from geoseg.segment.votes import SuperpixelTable

if TYPE_CHECKING:
    from geoseg.output.model import Model

_MAX_CLUSTERS = 65_536
_MAX_CLASSES = 255
_MAX_NAME = 255
_NORM = ("weight", "bias", "running_mean", "running_var")


def check_content(model: Model) -> None:
    """Check that all numbers of a model are finite and that its parts fit each other.

    Raises
    ------
    ValueError
        If they do not; the message names the part.
    ConfigError
        If a superpixel parameter is out of range.
    """
    n_bands, n_codes = len(model.origin.bands), model.config.network.channels[-1]
    bands = np.zeros((n_bands, 1, 1), np.float32)
    n_channels = len(network_input(bands, np.ones((1, 1), bool), model.config.network.inputs))
    n_moments = len(pixel_moments(bands))
    _check_origin(model, n_bands)
    _check_survey(model, n_bands, n_channels)
    projection = model.survey.projection
    if projection is not None:
        _check_projection(projection, n_channels)
        n_channels = len(projection.weights)
    _check_network(model.network, model.config.network, n_channels)
    _check_clusters(model, n_bands, n_moments)
    _check_features(model)
    _check_tree(model.class_model.tree)
    _check_predictor(model, n_codes, n_moments)


def _check_origin(model: Model, n_bands: int) -> None:
    origin = model.origin
    if not isinstance(origin.scene, str) or len(origin.scene) > _MAX_NAME:
        raise ValueError(f"the name of the scene is {shorten(origin.scene, 40)}, expected a word")
    if not 1 <= n_bands == len(origin.names) == len(origin.dtypes):
        raise ValueError(f"{n_bands} bands with {len(origin.names)} names and {len(origin.dtypes)} dtypes")
    if not all(isinstance(name, str) for name in origin.names):
        raise ValueError("the names of the bands are not all words")
    if any(np.dtype(dtype).kind not in "fiu" for dtype in origin.dtypes):
        raise ValueError(f"dtypes of the bands: {shorten(origin.dtypes, 80)}, expected numbers")
    if not all(isinstance(band, int) and band >= 1 for band in origin.bands):
        raise ValueError(f"bands: {shorten(origin.bands, 80)}, expected numbers from 1")
    if not all(isinstance(i, int) and 0 <= i < n_bands for i in origin.red_green_blue):
        raise ValueError(f"positions of red, green and blue: {shorten(origin.red_green_blue, 80)}")
    if not 0 <= origin.resolution < np.inf:
        raise ValueError(f"resolution: {shorten(origin.resolution, 40)}, expected metres from 0")


def _check_survey(model: Model, n_bands: int, n_channels: int) -> None:
    survey = model.survey
    parts = {
        "bands of the stretch": (survey.stretch.low, n_bands),
        "upper ends of the stretch": (survey.stretch.high, n_bands),
        "channels of the network": (survey.standard.mean, n_channels),
        "deviations of the channels": (survey.standard.deviation, n_channels),
    }
    for name, (values, expected) in parts.items():
        if len(values) != expected:
            raise ValueError(f"{name}: {len(values)}, expected {expected}")
        _check_finite(name, np.asarray(values, np.float64))
    given = asdict(survey.superpixels)
    if not isinstance(given.pop("by_value"), bool):
        raise ValueError("superpixels by value: expected true or false")
    Config(superpixels=Superpixels(**given))  # checks types and ranges


def _check_projection(projection: Projection, n_channels: int) -> None:
    weights = projection.to_array()
    if not 1 <= len(weights) <= n_channels == weights.shape[1]:
        raise ValueError(
            f"projection of the channels: {weights.shape}, expected 1 to {n_channels} components of {n_channels} "
            "channels"
        )
    _check_finite("the weights of the projection", weights)


def _check_network(arrays: dict[str, NDArray[Any]], options: Network, n_channels: int) -> None:
    expected = dict(_network_shapes(options, n_channels))
    if arrays.keys() != expected.keys():
        differing = sorted(arrays.keys() ^ expected.keys())
        raise ValueError(f"the network of these options and the arrays differ in {', '.join(differing[:3])}")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"the array {name} of the network has the shape {arrays[name].shape}, expected {shape}")
        _check_finite(f"the array {name} of the network", arrays[name])
        if name.endswith("running_var") and (arrays[name] < 0).any():
            raise ValueError(f"the array {name} of the network has negative variances")


def _network_shapes(options: Network, n_channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of each array of `network.to_arrays`, without the seconds that torch takes to import."""
    last = len(options.kernels) - 1
    for i, (kernel, channels) in enumerate(zip(options.kernels, options.channels, strict=True)):
        yield f"layers.{3 * i}.weight", (channels, n_channels, kernel, kernel)
        yield f"layers.{3 * i}.bias", (channels,)
        norm = 3 * i + (1 if i == last or options.order == "bn-relu" else 2)
        for name in _NORM:
            yield f"layers.{norm}.{name}", (channels,)
        yield f"layers.{norm}.num_batches_tracked", ()
        n_channels = channels


def _check_clusters(model: Model, n_bands: int, n_moments: int) -> None:
    found = model.class_model
    if found.moments.ndim != 2 or found.moments.shape[1] != n_moments:
        raise ValueError(f"moments of the clusters: {found.moments.shape}, expected {n_moments} of each")
    n_clusters = len(found.moments)
    if not 1 <= n_clusters <= _MAX_CLUSTERS:
        raise ValueError(f"{n_clusters} clusters, expected 1 to {_MAX_CLUSTERS}")
    if found.weights.shape != (n_clusters,) or (found.weights < 0).any():
        raise ValueError(f"weights of the clusters: {found.weights.shape}, expected one for each, from 0")
    if found.n_bands != n_bands:
        raise ValueError(f"bands among the moments: {found.n_bands}, expected {n_bands}")
    if not 1 <= found.auto_n_classes <= _MAX_CLASSES:
        raise ValueError(f"automatic number of classes: {found.auto_n_classes}, expected 1 to {_MAX_CLASSES}")
    _check_finite("the moments of the clusters", found.moments)
    _check_finite("the weights of the clusters", found.weights)


def _check_features(model: Model) -> None:
    scale, reduction = model.class_model.extra_scale, model.features
    if (scale is None) != (reduction is None):
        raise ValueError("either the class model or the reduction of the features is absent")
    if scale is None or reduction is None:
        return
    if not 0 <= scale < np.inf:
        raise ValueError(f"scale of the features: {scale}, expected a number from 0")
    n_components, n_bands = reduction.components.shape if reduction.components.ndim == 2 else (0, 0)
    if not 1 <= n_components <= MAX_COMPONENTS:
        raise ValueError(f"components of the features: {reduction.components.shape}, expected 1 to {MAX_COMPONENTS}")
    for name, array in vars(reduction).items():
        if array.dtype != np.float64 or array.shape[-1:] != (n_bands,) or array.ndim != 1 + (name == "components"):
            raise ValueError(f"{name} of the features: {array.dtype} {array.shape}, expected {n_bands} bands")
        _check_finite(f"{name} of the features", array)


def _check_tree(tree: ClassTree) -> None:
    merges, costs = tree.merges, tree.costs
    if merges.ndim != 2 or merges.shape[1] != 2 or merges.dtype.kind not in "iu" or costs.shape != (len(merges),):
        raise ValueError(f"merges of the class tree: {merges.dtype} {merges.shape} with costs {costs.shape}")
    _check_finite("the costs of the class tree", costs)
    alive = set(range(tree.n_clusters))
    for step, (kept, gone) in enumerate(merges.tolist()):
        if not (kept < gone and kept in alive and gone in alive):
            raise ValueError(
                f"step {step} of the class tree merges {kept} and {gone}, which are not two of its classes"
            )
        alive.remove(gone)
    if len(alive) > _MAX_CLASSES:
        raise ValueError(f"the class tree ends with {len(alive)} classes, expected at most {_MAX_CLASSES}")


def _check_predictor(model: Model, n_codes: int, n_moments: int) -> None:
    """Assign one superpixel of each code, so that every array of the predictor is used."""
    predictor, n_clusters = model.class_model.predictor, len(model.class_model.moments)
    if isinstance(predictor, CodePredictor):
        clusters = predictor.cluster_of_code
        if clusters.shape != (n_codes,) or clusters.dtype.kind not in "iu":
            raise ValueError(f"clusters of the codes: {clusters.dtype} {clusters.shape}, expected {n_codes} integers")
        if clusters.min() < 0 or clusters.max() >= n_clusters:
            raise ValueError(f"clusters of the codes: up to {clusters.max()}, expected 0 to {n_clusters - 1}")
    if isinstance(predictor, ColorPredictor):
        _check_finite("the mix of the moments", predictor.mix)
    if isinstance(predictor, ColorPredictor | CentroidPredictor):
        _check_finite("the centroids of the clusters", predictor.centroids)
        if predictor.centroids.ndim != 2 or len(predictor.centroids) != n_clusters:
            raise ValueError(f"centroids of the clusters: {predictor.centroids.shape}, expected {n_clusters} rows")
    none = np.zeros(0, np.int64)
    one_of_each_code = SuperpixelTable(
        numbers=np.arange(n_codes),
        votes=np.eye(n_codes),
        pixels=np.ones(n_codes, np.int64),
        moments=np.zeros((n_codes, n_moments)),
        pairs=none,
        borders=none,
        extra=None if model.features is None else np.zeros((n_codes, len(model.features.components))),
        context=_context_of_zeros(model.config, n_codes, n_moments),
    )
    try:
        model.class_model.confidence(one_of_each_code, model.class_model.class_of_cluster("auto"))
    except (IndexError, ValueError) as err:
        raise ValueError(f"the class model takes no superpixels of {n_codes} codes: {err}") from err


def _context_of_zeros(config: Config, n_codes: int, n_moments: int) -> NDArray[np.float16] | None:
    if not config.uses_context:
        return None
    return np.zeros((n_codes, n_codes + n_moments * (config.classify.context == "clusters")), np.float16)


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} have the dtype {array.dtype}, expected numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} have values that are not finite")
