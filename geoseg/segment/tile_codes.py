"""Codes of one tile: the network of the scene, fine-tuned or not, or a network of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.segment import backprop
from geoseg.segment.network import CodeNetwork, with_device
from geoseg.segment.patch import TileImage


def code_shares(network: CodeNetwork, image: TileImage, config: Config, device: str) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of a tile's read window.

    Parameters
    ----------
    network : CodeNetwork
        That of the scene in evaluation mode, or with ``training: tile`` a new one.
    image : TileImage
    config : Config
    device : str
        The CPU computes what exceeds the memory of another device.

    Returns
    -------
    (y, x, code) uint8
        In units of 1/255; undefined for nodata pixels.
    """
    alone, hard = config.training == "tile", config.classify.evidence == "votes"
    trained = network
    if config.steps:
        fit, patch = backprop.train if alone else backprop.refine, image.patch
        trained = with_device(
            lambda device: fit(network, patch, config.backprop, steps=config.steps, device=device), device
        )
    shares = with_device(
        lambda device: backprop.shares(trained, image.channels, device=device, own_statistics=alone, hard=hard), device
    )
    return shares[image.inner]
