"""Unsupervised segmentation by backpropagation (Kanezaki 2018; the faster variant of 2019).

A network maps every pixel to a response y over the codes; the code c of a pixel is the argmax of its response. The
refinement gives all pixels of a superpixel their most frequent code c', the target of a cross entropy loss for one step
of gradient descent. Repeated, this decreases the number of labels. In the articles, training on an image is also its
inference; here the trained network can also be applied to other images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.config import Backprop, Config
from geoseg.segment.batch_statistics import with_statistics_of_all
from geoseg.segment.clustering import kmeans, nearest
from geoseg.segment.descent import Optimizer
from geoseg.segment.network import CodeNetwork, placed
from geoseg.segment.patch import IGNORE, Patch
from geoseg.segment.strip_descent import StripDescent
from geoseg.segment.torch_threads import fixed_threads
from geoseg.segment.whole_descent import WholeDescent, majority, on_device, responses


def train(
    network: CodeNetwork,
    patch: Patch,
    options: Backprop,
    *,
    steps: int,
    device: str = "cpu",
    callback: Callable[[int, CodeNetwork], None] = lambda _step, _network: None,
) -> CodeNetwork:
    """Return the network trained on one image, as published.

    Parameters
    ----------
    network : CodeNetwork
        Initial network; it is not changed. In training mode batch norms use the statistics of the image, as in the
        articles; in evaluation mode they use the running statistics, so that codes keep their meaning.
    patch : Patch
    options : Backprop
    steps : int
        Maximum number; training stops as soon as there are fewer than ``options.min_labels`` labels.
    device : str
    callback : callable
        Called with the number of steps done and the network, which it must not change.

    Returns
    -------
    CodeNetwork
        A new network on `device`.
    """
    with fixed_threads():
        trained = placed(copy.deepcopy(network), device)
        optimizer, descent = Optimizer(trained.parameters(), options), _descent(trained, [patch], device)
        for step in range(steps):
            n_labels = descent.step(optimizer, options)
            callback(step + 1, trained)
            if n_labels < options.min_labels:
                break
        return trained


def refine(network: CodeNetwork, patch: Patch, options: Backprop, *, steps: int, device: str = "cpu") -> CodeNetwork:
    """Return the scene network fine-tuned on one tile, with distillation from the scene network.

    The target of a pixel is a mixture: ``options.distillation_weight`` of the prediction of the scene network, the rest
    the most frequent code of the superpixel. This keeps neighbouring tiles consistent where a tile holds no evidence
    for a change; with a distillation weight of 1 no code changes. There is no entropy term and no minimum number of
    labels, because a tile may contain a single land cover. The learning rate decays to 0 along a cosine, so that
    momentum does not dominate the last of few steps.

    Parameters
    ----------
    network : CodeNetwork
        The scene network in evaluation mode; it is not changed.
    patch : Patch
    options : Backprop
    steps : int
        Exact number of steps.
    device : str

    Returns
    -------
    CodeNetwork
        A new network on `device`, in evaluation mode.

    Notes
    -----
    The target is that of soft bootstrapping (Reed et al. 2015). Up to a constant, the loss is ``(1 - w) × cross entropy
    + w × KL(scene network ‖ this network)`` with the distillation weight w (Hinton et al. 2015).
    """
    with fixed_threads():
        refined = placed(copy.deepcopy(network), device).eval()
        if not (patch.superpixels >= 0).any():
            return refined
        optimizer, descent = Optimizer(refined.parameters(), options), _descent(refined, [patch], device)
        for step in range(steps):
            optimizer.decay(options.learning_rate, step / steps)
            descent.distil(optimizer, options.distillation_weight)
        return refined


def labels(network: CodeNetwork, patch: Patch, *, device: str = "cpu") -> NDArray[np.int64]:
    """Return the current labels of an image: for each pixel the most frequent code of its superpixel.

    Returns
    -------
    (y, x) int64
        `IGNORE` = nodata.
    """
    with fixed_threads(), torch.no_grad():
        image, superpixels = on_device([patch], device)
        found = responses(copy.deepcopy(network), image)  # a copy: training mode updates running statistics
        target = majority(found.argmax(dim=1), superpixels, found.shape[1])
        return np.asarray(target.reshape(patch.superpixels.shape).cpu().numpy())


def learn(
    network: CodeNetwork,
    patches: Sequence[Patch],
    config: Config,
    *,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda _: None,
) -> CodeNetwork:
    """Return the scene network, trained on crops from all over the scene.

    Codes that develop from random weights depend on the seed. So the targets of the first
    ``config.learn.warmup_fraction`` of the steps are clusters of the superpixels' mean channels, found by deterministic
    k-means; the other steps are those of the method. The learning rate decays to 0 along a cosine (Loshchilov and
    Hutter 2017). Finally the running statistics of the batch norms are computed over all crops.

    Parameters
    ----------
    network : CodeNetwork
        Initial network; it is not changed.
    patches : sequence of Patch
        Crops of one shape.
    config : Config
        Its sections `backprop` and `learn`, and `seed` for the order of the crops.
    device : str
    progress : callable
        Called with the number of steps done.

    Returns
    -------
    CodeNetwork
        A new network on `device`, in evaluation mode.
    """
    options, sample = config.backprop, config.learn
    with fixed_threads():
        learned = placed(copy.deepcopy(network), device).train()
        optimizer = Optimizer(learned.parameters(), options)
        clusters = _clusters(patches, network.n_codes) if sample.warmup_fraction else []
        draw = np.random.default_rng(config.seed)
        queue: list[int] = []
        for step in range(sample.steps):
            while len(queue) < sample.batch:
                queue += draw.permutation(len(patches)).tolist()
            batch, queue = queue[: sample.batch], queue[sample.batch :]
            optimizer.decay(options.learning_rate, step / sample.steps)
            warmup = step < sample.warmup_fraction * sample.steps
            targets = [clusters[i] for i in batch] if warmup else None
            _descent(learned, [patches[i] for i in batch], device).step(optimizer, options, targets)
            progress(step + 1)
        return with_statistics_of_all(learned, [patch.channels for patch in patches], device)


def _clusters(patches: Sequence[Patch], n_clusters: int) -> list[NDArray[np.int64]]:
    """Return for each patch the cluster of each pixel's superpixel, (pixel,); `IGNORE` = nodata."""
    means, sizes = zip(*(_superpixel_means(patch) for patch in patches), strict=True)
    centres = kmeans(np.concatenate(means), np.sqrt(np.concatenate(sizes)), n_clusters)
    clusters = (np.append(nearest(mean, centres), IGNORE) for mean in means)  # index -1 is nodata
    return [cluster[patch.superpixels.ravel()] for cluster, patch in zip(clusters, patches, strict=True)]


def _superpixel_means(patch: Patch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean channels of each superpixel, (superpixel, channel), and its number of pixels."""
    data = patch.superpixels >= 0
    superpixels = patch.superpixels[data]
    sizes = np.bincount(superpixels).astype(float)
    sums = [np.bincount(superpixels, channel[data]) for channel in patch.channels]
    return np.stack(sums, axis=1) / sizes[:, None], sizes


def _descent(network: CodeNetwork, patches: Sequence[Patch], device: str) -> StripDescent | WholeDescent:
    return StripDescent(network, patches) if device == "cpu" else WholeDescent(network, patches, device)
