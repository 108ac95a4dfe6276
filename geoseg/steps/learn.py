"""Learn stage: one network for all tiles, trained on crops from all over the scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.output.model import Model
from geoseg.run.contents import NetworkWeights
from geoseg.run.job import Job
from geoseg.run.outcome import patiently
from geoseg.run.products import NETWORK
from geoseg.run.stages import Stages
from geoseg.segment import superpixels
from geoseg.segment.patch import Patch
from geoseg.steps.survey import in_file_order, read_crop


def learn_network(job: Job, stages: Stages, model: Model | None = None) -> None:
    """Train the scene network and store it, or store that of a model; nothing is done without a scene network."""
    if model is not None:
        job.store.put(NETWORK, NetworkWeights(model.network))
        return
    if job.config.method != "backprop" or job.config.training != "scene":
        return
    n_windows, n_steps = len(job.survey.windows), job.config.learn.steps
    with stages.stage("learn", n_windows + n_steps):
        if not job.store.has(NETWORK, verify=True):
            job.store.put(NETWORK, patiently(train_network, job, lambda: stages.advance()))


def train_network(job: Job, advance: Callable[[], None] = lambda: None) -> NetworkWeights:
    """Return the weights of a network trained on the crops of the survey.

    Parameters
    ----------
    job : Job
    advance : callable
        Called after each crop that is read and after each training step.
    """
    from geoseg.segment import backprop  # here, because torch takes seconds to import and other methods do not need it
    from geoseg.segment.network import new_network, to_arrays, with_device

    windows, read = job.survey.windows, {}
    for i in in_file_order(windows):
        read[i] = Patch(*_layers_and_superpixels(job, windows[i]))
        advance()
    patches = [read.pop(i) for i in range(len(windows))]
    config = job.config
    network = new_network(len(patches[0].channels), config.network, seed=config.seed)
    learned = with_device(
        lambda device: backprop.learn(network, patches, config, device=device, progress=lambda _: advance()), job.device
    )
    return NetworkWeights(to_arrays(learned))


def _layers_and_superpixels(job: Job, window: Window) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    bands, layers, valid = read_crop(job.scene, window, job.survey.stretch, job.config.network.inputs)
    labels = superpixels.superpixels(bands, valid, job.survey.superpixels)
    return job.survey.channels(layers, valid), labels
