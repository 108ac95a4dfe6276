"""Parameters of a whole scene, determined before its first tile is processed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.segment.features import Standardizer, Stretch
from geoseg.segment.projection import Projection
from geoseg.segment.superpixels import SuperpixelParameters


@dataclass(frozen=True)
class Survey:
    """Parameters that all tiles of a scene share.

    Parameters
    ----------
    stretch : Stretch
        Per band, one for the whole scene; a stretch per tile would cause seams.
    standard : Standardizer
        Standardisation of the network's input.
    windows : tuple of Window
        Training crops, spread over the scene, all of one shape.
    superpixels : SuperpixelParameters
        Superpixel parameters that suit the scene.
    projection : Projection or None
        Of the standardised channels of a scene that has many; None = the network sees all of them.
    """

    stretch: Stretch
    standard: Standardizer
    windows: tuple[Window, ...]
    superpixels: SuperpixelParameters
    projection: Projection | None = None

    def channels(self, layers: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the channels that the network sees, (channel, y, x) float32; 0 for nodata.

        Parameters
        ----------
        layers : (channel, y, x) float32
            As returned by `features.network_input`.
        valid : (y, x) bool
        """
        standardised = self.standard.apply(layers, valid)
        return standardised if self.projection is None else self.projection.apply(standardised)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can store."""
        return asdict(self) | {"windows": [list(window) for window in self.windows]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Survey:
        """Return the survey from the values of `to_dict`."""
        projection = values.get("projection")
        return cls(
            Stretch(*(tuple(values["stretch"][end]) for end in ("low", "high"))),
            Standardizer(*(tuple(values["standard"][moment]) for moment in ("mean", "deviation"))),
            tuple(Window(*window) for window in values["windows"]),
            SuperpixelParameters(**values["superpixels"]),
            None if projection is None else Projection(tuple(map(tuple, projection["weights"]))),
        )
