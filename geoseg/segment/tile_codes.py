"""Codes of one tile: the network of the scene, fine-tuned or not, or a network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.segment import backprop
from geoseg.segment.inference import Inference, scene_inference
from geoseg.segment.network import CodeNetwork, with_device
from geoseg.segment.patch import TileImage


def scene_code_shares(
    arrays: Mapping[str, NDArray[Any]], image: TileImage, config: Config, device: str
) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of a tile's read window, by the network of the scene.

    Parameters
    ----------
    arrays : dict of str to array
        As returned by `network.to_arrays`.
    image, config, device
        As in `code_shares`; the config is one without steps on tiles.

    Returns
    -------
    (y, x, code) uint8
        As there.
    """
    options, hard = config.network, config.classify.evidence == "votes"

    def shares(device: str) -> NDArray[np.uint8]:
        inference = scene_inference(arrays, len(image.channels), options, device=device, hard=hard)
        return inference.shares(image.channels)

    return with_device(shares, device)[image.inner]


def code_shares(network: CodeNetwork, image: TileImage, config: Config, device: str) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of a tile's read window, after the steps on the tile.

    Parameters
    ----------
    network : CodeNetwork
        That of the scene in evaluation mode, or with ``training: tile`` a new one.
        Without steps it is used as it is.
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

    def shares(device: str) -> NDArray[np.uint8]:
        return Inference(trained, device=device, own_statistics=alone, hard=hard).shares(image.channels)

    return with_device(shares, device)[image.inner]
