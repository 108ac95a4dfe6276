"""The steps of the method on one window, as the article shows them: labels that merge after 1, 2, 4, … steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.preview import panels
from geoseg.preview.panels import Panel
from geoseg.progress import Progress
from geoseg.segment import backprop
from geoseg.segment.backprop import Patch
from geoseg.segment.grouped import grouped_mean
from geoseg.segment.network import CodeNetwork, new_network
from geoseg.segment.votes import ranked
from geoseg.steps.segment import Job
from geoseg.steps.survey import read_crop


def frames(
    job: Job, window: Window, numbers: NDArray[np.int64], *, steps: int | None, progress: Progress
) -> list[Panel]:
    """Run backprop from nothing on a window; draw its labels after 1, 2, 4, … steps and at the end.

    One run of one network: its states follow each other. Each label has the mean colour of its pixels.

    Parameters
    ----------
    numbers : (y, x) int64, superpixels of the window; below 0 = no data
    steps : at most; None = ``backprop.max_steps``. The run ends earlier with fewer than ``backprop.min_labels`` labels

    Notes
    -----
    Kanezaki (2018), Figure 2: the labels are what pixels are after the refinement by superpixels.
    """
    bands, layers, valid = read_crop(job.scene, window, job.survey.stretch, job.config.network.inputs)
    patch = Patch(job.survey.standard.apply(layers, valid), ranked(numbers)[1])
    network = new_network(len(layers), job.config.network, seed=job.config.seed)
    natural = panels.natural(bands, valid, job.scene.red_green_blue)
    return [_frame(step, labels, natural) for step, labels in _states(job, network, patch, steps, progress).items()]


def _states(
    job: Job, network: CodeNetwork, patch: Patch, steps: int | None, progress: Progress
) -> dict[int, NDArray[np.int64]]:
    """Return the (y, x) labels by the number of steps done."""
    most = steps or job.config.backprop.max_steps
    states: dict[int, NDArray[np.int64]] = {}
    done = 0

    def watch(step: int, state: CodeNetwork) -> None:
        nonlocal done
        done = step
        if step & (step - 1) == 0:  # a power of two
            states[step] = backprop.labels(state, patch, device=job.device)
        progress.advance(step)

    progress.begin("animate", most, pixels=patch.superpixels.size)
    trained = backprop.train(network, patch, job.config.backprop, steps=most, device=job.device, watch=watch)
    if done not in states:
        states[done] = backprop.labels(trained, patch, device=job.device)
    return states


def _frame(step: int, labels: NDArray[np.int64], natural: NDArray[np.uint8]) -> Panel:
    seen = labels >= 0
    used, dense = np.unique(labels[seen], return_inverse=True)
    picture = np.full(labels.shape, -1)
    picture[seen] = dense
    colors = np.rint(grouped_mean(natural[seen], dense, len(used))).astype(np.uint8)
    caption = f"step {step}: {len(used)} {'label' if len(used) == 1 else 'labels'}"
    return Panel(panels.enlarged(panels.painted(picture, colors)), caption)
