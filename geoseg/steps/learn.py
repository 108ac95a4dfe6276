"""Learn stage: one network for all tiles, trained on crops from all over the scene.

Training uses one core, and nothing but the crops. So it runs in a thread beside the superpixels of the scene.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.output.model import Model
from geoseg.run.allocator import return_freed_memory
from geoseg.run.contents import NetworkWeights
from geoseg.run.job import Job
from geoseg.run.outcome import patiently
from geoseg.run.products import NETWORK
from geoseg.run.stages import Stages
from geoseg.segment import superpixels
from geoseg.segment.patch import Patch
from geoseg.steps.survey import in_file_order, read_crop

_REPORT_SECONDS = 0.2  # between two reports of progress


def learn_network(job: Job, stages: Stages, model: Model | None = None) -> None:
    """Train the scene network and store it, or store that of a model; nothing is done without a scene network."""
    with learning_beside(job, stages, model):
        pass


@contextmanager
def learning_beside(job: Job, stages: Stages, model: Model | None = None) -> Iterator[None]:
    """Return a context manager that does what `learn_network` does, beside what is done inside.

    The learn stage begins at its end, if anything is left then. An error in training is raised by the stage inside as
    soon as a tile or block of it is finished; an error inside ends the training after the step in hand.

    Parameters
    ----------
    job : Job
    stages : Stages
    model : Model or None

    Raises
    ------
    GeosegError
        If an input cannot be read, or the network cannot be stored.
    """
    if model is not None:
        job.store.put(NETWORK, NetworkWeights(model.network))
    if model is not None or job.config.method != "backprop" or job.config.training != "scene":
        yield
        return
    total = len(job.survey.windows) + job.config.learn.steps
    if job.store.has(NETWORK, verify=True):
        yield
        with stages.stage("learn", total):
            pass
        return
    training = _Training(job)
    try:
        with stages.checked(training.check):
            yield
        with stages.stage("learn", total):
            for n_done in training.progress():
                stages.advance(n_done)
        stages.seconds["learn"] = round(training.seconds, 3)  # all of it, not only what was left
    finally:
        training.end()


class _Training:
    """Training in a thread, which stores the network at its end.

    Parameters
    ----------
    job : Job

    Attributes
    ----------
    seconds : float
        Wall time, once it has ended.
    """

    def __init__(self, job: Job) -> None:
        self.seconds = 0.0
        self._n_done, self._n_reported, self._is_ended = 0, 0, False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="geoseg-learn")
        self._future = self._pool.submit(self._run, job)

    def check(self) -> None:
        """Raise the error of the training, if it has failed."""
        if self._future.done():
            self._future.result()

    def progress(self) -> Iterator[int]:
        """Yield how many more crops and steps are finished, several times a second, until all are.

        Raises
        ------
        Exception
            That of the training.
        """
        is_done = False
        while not is_done:
            is_done = bool(wait([self._future], _REPORT_SECONDS).done)
            self.check()
            n_done = self._n_done
            yield n_done - self._n_reported
            self._n_reported = n_done

    def end(self) -> None:
        """End the training after the step in hand."""
        self._is_ended = True
        self._pool.shutdown()

    def _run(self, job: Job) -> None:
        start = time.monotonic()
        job.store.put(NETWORK, patiently(train_network, job, self._advance))
        self.seconds = time.monotonic() - start

    def _advance(self) -> None:
        if self._is_ended:
            raise CancelledError
        self._n_done += 1


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

    def report(n_steps: int) -> None:
        advance()
        if n_steps == config.learn.steps:
            return_freed_memory()  # the statistics of all crops need larger arrays than the steps did

    learned = with_device(
        lambda device: backprop.learn(network, patches, config, device=device, progress=report), job.device
    )
    return NetworkWeights(to_arrays(learned))


def _layers_and_superpixels(job: Job, window: Window) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    bands, layers, valid = read_crop(job.scene, window, job.survey.stretch, job.config.network.inputs)
    labels = superpixels.superpixels(bands, valid, job.survey.superpixels)
    return job.survey.channels(layers, valid), labels
