"""Check that a configuration and a scene fit a trained model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from geoseg.config import Config
from geoseg.config_parser import flat_values
from geoseg.errors import ConfigError, ModelError
from geoseg.output.model import Model, Origin
from geoseg.raster.scene import Scene

log = logging.getLogger(__name__)

_FREE = (  # options that do not depend on the model
    "bands",
    "rgb",
    "red",
    "nir",
    "sensor",
    "nodata_mode",
    "collar",
    "seed",
    "tile_steps",
    "backprop.distillation_weight",
    "tiles.",
    "polygons.",
    "classify.classes",
)
_MAX_SIZE_RATIO = 2.0  # larger or smaller pixels show other textures and give other superpixels


def check_config(model: Model, config: Config) -> None:
    """Check that a configuration agrees with the options that a model fixes.

    Parameters
    ----------
    model : Model
    config : Config

    Raises
    ------
    ConfigError
        If an option differs; the message lists all of them with the values of the model.
    """
    fixed, given = (_fixed_options(of.to_dict()) for of in (model.config, config))
    differ = [f"{name} is {given[name]}, in the model {fixed[name]}" for name in fixed if fixed[name] != given[name]]
    if differ:
        raise ConfigError(
            f"these options are fixed by the model trained on {model.origin.scene}: {'; '.join(differ)}. "
            f"Leave them out, or train a new model by leaving out --model."
        )
    n_clusters, trained = model.class_model.tree.n_clusters, model.config.classify.classes
    most = n_clusters if trained == "auto" else max(n_clusters, trained)
    if config.classify.classes != "auto" and config.classify.classes > most:
        raise ConfigError(
            f"classify.classes is {config.classify.classes}, but the class tree of the model trained on "
            f"{model.origin.scene} has {n_clusters} clusters; use at most {most}, or train a new model by leaving out "
            f"--model."
        )


def check_fits(model: Model, scene: Scene, features: Scene | None = None) -> None:
    """Check that a model can segment a scene; warn if the results may be poor.

    Parameters
    ----------
    model : Model
    scene : Scene
    features : Scene or None
        The features raster of the scene.

    Raises
    ------
    ModelError
        If the bands or their dtypes differ, and the message lists all differences; or if only one of the model and the
        scene has features, or they have other numbers of bands.
    """
    trained, given = model.origin, Origin.of(scene)
    if len(trained.bands) != len(given.bands):
        differ = [f"it has {_n_bands(len(given.bands))}, the model {len(trained.bands)} ({_joined(trained.bands)})"]
    else:
        differ = [*_dtype_differences(trained, given), *_band_differences(trained, given)]
    if differ:
        raise ModelError(
            f"{scene.path} does not fit the model, which was trained on {trained.scene}: {'; '.join(differ)}. Choose "
            f"the bands and their order with --bands, or train a new model by leaving out --model."
        )
    _check_features(model, features)
    _warn_of_display_and_resolution(trained, given)


def _check_features(model: Model, features: Scene | None) -> None:
    trained, scene = model.features, model.origin.scene
    if trained is None and features is None:
        return
    if trained is None:
        raise ModelError(
            f"the model trained on {scene} uses no features, so --features has no effect. Omit it, or train a new "
            "model by leaving out --model."
        )
    expected = _n_bands(len(trained.low))
    if features is None:
        raise ModelError(
            f"the model trained on {scene} uses a raster of features with {expected}. Give such a raster of this scene "
            "with --features, or train a new model by leaving out --model."
        )
    if len(features.bands) != len(trained.low):
        raise ModelError(
            f"{features.path} has {_n_bands(len(features.bands))}, and the features of the model trained on {scene} "
            f"have {expected}. Give features of the same kind, or train a new model by leaving out --model."
        )


def _n_bands(n: int) -> str:
    return "1 band" if n == 1 else f"{n} bands"


def _warn_of_display_and_resolution(trained: Origin, given: Origin) -> None:
    if trained.red_green_blue != given.red_green_blue:
        displayed = [_joined(origin.bands[i] for i in origin.red_green_blue) for origin in (given, trained)]
        log.warning(
            "%s displays bands %s as red, green and blue; %s, on which the model was trained, displays bands %s.",
            given.scene, displayed[0], trained.scene, displayed[1],
        )  # fmt: skip
    if min(given.resolution, trained.resolution) > 0:
        ratio = given.resolution / trained.resolution
        if not 1 / _MAX_SIZE_RATIO <= ratio <= _MAX_SIZE_RATIO:
            log.warning(
                "the pixel size of %s is %.3g m, that of %s, on which the model was trained, %.3g m: classes may have "
                "a different meaning.",
                given.scene, given.resolution, trained.scene, trained.resolution,
            )  # fmt: skip


def _fixed_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a model fixes, by their path such as `network.channels`."""
    return {name: value for name, value in flat_values(values).items() if not name.startswith(_FREE)}


def _dtype_differences(trained: Origin, given: Origin) -> list[str]:
    triples = zip(given.bands, given.dtypes, trained.dtypes, strict=True)
    return [
        f"band {band} is {dtype}, in the model {expected}"
        for band, dtype, expected in triples
        if _value_range(dtype) != _value_range(expected)
    ]


def _value_range(dtype: str) -> tuple[bool, int]:
    """Return a key that is equal for dtypes whose values are comparable: all floats; integers of one size."""
    kind = np.dtype(dtype)
    return (True, 0) if kind.kind == "f" else (False, kind.itemsize)


def _band_differences(trained: Origin, given: Origin) -> list[str]:
    """Describe how the bands differ: by name if all bands have names, otherwise by number."""
    expected, names = ([name.lower() for name in origin.names] for origin in (trained, given))
    if not (all(names) and all(expected)):
        if given.bands == trained.bands:
            return []
        return [
            f"its bands {_joined(given.bands)} have no names that identify them as bands {_joined(trained.bands)} of "
            f"the model"
        ]
    if names != expected and set(names) & set(expected):
        return [f"its bands are {_joined(given.names)}, in the model {_joined(trained.names)}"]
    if names != expected:  # the names have nothing in common, for example B4 and red
        log.warning(
            "the bands of %s are named %s, those of %s, on which the model was trained, %s; check that they are the "
            "same.",
            given.scene, _joined(given.names), trained.scene, _joined(trained.names),
        )  # fmt: skip
    return []


def _joined(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
