"""Draw the labels of a window during backprop, after 1, 2, 4, … steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.output.display import display_bands
from geoseg.preview import panels
from geoseg.preview.panels import Panel
from geoseg.progress import StageReporter
from geoseg.run.job import Job
from geoseg.segment import backprop
from geoseg.segment.grouped import grouped_mean
from geoseg.segment.network import CodeNetwork, new_network
from geoseg.segment.patch import Patch
from geoseg.segment.votes import ranked
from geoseg.steps.survey import read_crop


def frames(
    job: Job, window: Window, numbers: NDArray[np.int64], *, steps: int | None, progress: StageReporter
) -> list[Panel]:
    """Run backprop from a random start on a window; return its labels after 1, 2, 4, … steps and at the end.

    All frames are states of the same network. Each label has the mean colour of its pixels.

    Parameters
    ----------
    job : Job
    window : Window
    numbers : (y, x) int64
        Superpixels of the window; below 0 = nodata.
    steps : int or None
        Largest number of steps; None = ``backprop.max_steps``. Training stops earlier with fewer than
        ``backprop.min_labels`` labels.
    progress : StageReporter

    Returns
    -------
    list of Panel

    Notes
    -----
    As Figure 2 of Kanezaki (2018): the labels are those after the refinement by superpixels.
    """
    bands, layers, valid = read_crop(job.scene, window, job.survey.stretch, job.config.network.inputs)
    patch = Patch(job.survey.channels(layers, valid), ranked(numbers)[1])
    network = new_network(len(patch.channels), job.config.network, seed=job.config.seed)
    natural = panels.natural(bands, valid, display_bands(job.scene, job.survey.stretch))
    return [_frame(step, labels, natural) for step, labels in _states(job, network, patch, steps, progress).items()]


def _states(
    job: Job, network: CodeNetwork, patch: Patch, steps: int | None, progress: StageReporter
) -> dict[int, NDArray[np.int64]]:
    """Return the (y, x) labels by the number of completed steps."""
    n_steps = steps or job.config.backprop.max_steps
    states: dict[int, NDArray[np.int64]] = {}
    done = 0

    def watch(step: int, state: CodeNetwork) -> None:
        nonlocal done
        done = step
        if step & (step - 1) == 0:  # a power of two
            states[step] = backprop.labels(state, patch, device=job.device)
        progress.advance(step)

    progress.begin("animate", n_steps, pixels=patch.superpixels.size)
    trained = backprop.train(network, patch, job.config.backprop, steps=n_steps, device=job.device, callback=watch)
    if done not in states:
        states[done] = backprop.labels(trained, patch, device=job.device)
    return states


def _frame(step: int, labels: NDArray[np.int64], natural: NDArray[np.uint8]) -> Panel:
    """Return the labels in the mean colours of the natural picture."""
    valid = labels >= 0
    used, dense = np.unique(labels[valid], return_inverse=True)
    picture = np.full(labels.shape, -1)
    picture[valid] = dense
    colors = np.rint(grouped_mean(natural[valid], dense, len(used))).astype(np.uint8)
    caption = f"step {step}: {len(used)} {'label' if len(used) == 1 else 'labels'}"
    return Panel(panels.enlarged(panels.painted(picture, colors)), caption)
