"""The option of a features raster: what it has no effect with, and its part of the identity of a run."""

from __future__ import annotations

from typing import Any

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.raster.features_raster import open_features
from geoseg.raster.names import shown_name
from geoseg.raster.scene import Scene


def open_features_of(path: str | None, scene: Scene, config: Config) -> Scene | None:
    """Return the description of the features raster of a scene; None where there is none.

    Raises
    ------
    ConfigError
        If it would have no effect.
    RasterError
        If it does not suit the scene, see `open_features`.
    """
    check_features_options(config, has_features=path is not None)
    return None if path is None else open_features(path, scene, nodata_mode=config.nodata_mode)


def check_features_options(config: Config, *, has_features: bool) -> None:
    """Check that a features raster and its weight have an effect.

    Raises
    ------
    ConfigError
        If not.
    """
    if has_features and config.method == "backprop" and config.classify.evidence == "votes":
        raise ConfigError(
            "classify.evidence is votes, so classes are codes of the network and features have no effect. Omit "
            "--features, or use classify.evidence votes+features."
        )
    if not has_features and config.classify.feature_weight != Config().classify.feature_weight:
        raise ConfigError(
            f"classify.feature_weight is {config.classify.feature_weight:g}, and there is no raster of features. Give "
            "--features too, or omit the weight."
        )


def features_identity(features: Scene) -> dict[str, Any]:
    """Return the grid and bands of a features raster as JSON values; its content is among the input files."""
    geobox = features.geobox
    grid = {"shape": list(geobox.shape), "transform": list(geobox.transform)[:6], "crs": geobox.crs}
    return {"raster": shown_name(features.path), "bands": list(features.bands), "grid": grid}
