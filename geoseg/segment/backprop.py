"""Unsupervised segmentation by backpropagation (Kanezaki 2018; the faster variant of 2019).

A network gives every pixel a code. The pixels of a superpixel are pulled towards the code that most of them have; one
step; again. Labels merge as it goes. Training is the inference, and the network may go on to serve other images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Backprop, Learn
from geoseg.grid import TileGrid, Window
from geoseg.segment.clustering import kmeans, nearest
from geoseg.segment.grouped import grouped_mean
from geoseg.segment.network import CodeNetwork, folded

IGNORE = -1  # target of a pixel without data
_THREADS = 1  # sums of floats depend on the number of threads, and the same scene must give the same classes
_CACHE_SIZE = 192  # px; an image of this size and the network's layers fit the cache: twice the speed of 600
_AVERAGING_BATCHES = 16  # crops at a time when the statistics of the batch norm are taken over the whole sample


@dataclass(frozen=True)
class Patch:
    """One image for the network.

    Parameters
    ----------
    channels : (channel, y, x) float32, standardised; 0 = no data
    superpixels : (y, x) int32, from 0; -1 = no data
    """

    channels: NDArray[np.float32]
    superpixels: NDArray[np.int32]


def majority(codes: Tensor, superpixels: Tensor, n_codes: int) -> Tensor:
    """Give every pixel the most frequent code of its superpixel.

    Parameters
    ----------
    codes : (pixel,) int64
    superpixels : (pixel,) int64, from 0; `IGNORE` = no data
    n_codes : number of codes there are

    Returns
    -------
    (pixel,) int64; `IGNORE` where there is no data

    Notes
    -----
    The refinement step of Kanezaki (2018), Algorithm 1, without its loop over superpixels. Ties go to the lower code.
    """
    data = superpixels >= 0
    n_superpixels = int(superpixels.max()) + 1 if data.any() else 0
    pairs = superpixels[data] * n_codes + codes[data]
    counts = torch.bincount(pairs, minlength=n_superpixels * n_codes).reshape(n_superpixels, n_codes)
    target = torch.full_like(codes, IGNORE)
    target[data] = counts.argmax(dim=1)[superpixels[data]]
    return target


def train(
    network: CodeNetwork,
    patch: Patch,
    options: Backprop,
    *,
    steps: int,
    device: str = "cpu",
    watch: Callable[[int, CodeNetwork], None] = lambda _step, _network: None,
) -> CodeNetwork:
    """Run the method on one image.

    Parameters
    ----------
    network : where to start; it is not changed. In training mode each step normalises by the image itself, as the
        articles do; in evaluation mode by what was learned, so that codes keep their meaning
    steps : at most; fewer when less than ``options.min_labels`` labels are left
    watch : shown the number of steps done and the network as it is then, which it must not change

    Returns
    -------
    CodeNetwork : a new one, on `device`
    """
    with _fixed_threads():
        trained = _placed(copy.deepcopy(network), device)
        image, superpixels = _on_device([patch], device)
        optimizer = _optimizer(trained, options)
        for step in range(steps):
            n_labels = _step(trained, optimizer, image, superpixels, options)
            watch(step + 1, trained)
            if n_labels < options.min_labels:
                break
        return trained


def refine(network: CodeNetwork, patch: Patch, options: Backprop, *, steps: int, device: str = "cpu") -> CodeNetwork:
    """Fit the network of a scene to one of its tiles, without losing hold of what it says of the scene.

    The target of a pixel is no longer a code alone: a share ``options.hold`` of it is what the scene network says, the
    rest the most frequent code of the pixel's superpixel. So the scene network's doubts are kept where the tile says
    nothing new, neighbouring tiles stay alike, and a hold of 1 moves nothing. There is no entropy term, nor a least
    number of labels, for a tile may be all of one ground. The learning rate falls to 0 along a cosine, so that the
    last of a few steps with momentum are no leap.

    Parameters
    ----------
    network : the scene network, in evaluation mode; it is not changed
    steps : all are done

    Returns
    -------
    CodeNetwork : a new one, on `device`, in evaluation mode

    Notes
    -----
    The target is that of soft bootstrapping (Reed et al. 2015), and the loss, but for a constant,
    ``(1 - hold) × cross entropy + hold × KL(scene network ‖ this network)``: distillation (Hinton et al. 2015).
    """
    with _fixed_threads():
        refined = _placed(copy.deepcopy(network), device).eval()
        image, superpixels = _on_device([patch], device)
        data = superpixels >= 0
        if not data.any():
            return refined
        optimizer = _optimizer(refined, options)
        with torch.no_grad():
            said = _scores(refined, image)[data].softmax(dim=1)  # (pixel, code)
        for step in range(steps):
            _decay(optimizer, options.learning_rate, step / steps)
            scores = _scores(refined, image)[data]
            common = F.one_hot(majority(scores.argmax(dim=1), superpixels[data], scores.shape[1]), scores.shape[1])
            loss = F.cross_entropy(
                scores, (1 - options.distillation_weight) * common + options.distillation_weight * said
            )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        return refined


def labels(network: CodeNetwork, patch: Patch, *, device: str = "cpu") -> NDArray[np.int64]:
    """Return what the method has made of an image so far: each pixel the most frequent code of its superpixel.

    Returns
    -------
    (y, x) int64; `IGNORE` where there is no data
    """
    with _fixed_threads(), torch.no_grad():
        image, superpixels = _on_device([patch], device)
        scores = _scores(copy.deepcopy(network), image)  # a copy, as in training mode it keeps statistics
        target = majority(scores.argmax(dim=1), superpixels, scores.shape[1])
        found: NDArray[np.int64] = target.reshape(patch.superpixels.shape).cpu().numpy()
        return found


def learn(
    network: CodeNetwork,
    patches: Sequence[Patch],
    options: Backprop,
    sample: Learn,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda _: None,
) -> CodeNetwork:
    """Run the method on crops from all over a scene, so that one network serves all of it.

    A network that starts at random ends with codes that luck has chosen. So the first steps teach it the groups that
    superpixels fall into by their channels, one code each, found without chance; from there on the method itself
    decides. The learning rate falls to 0 along a cosine (Loshchilov and Hutter 2017): the codes of the last step are
    kept. The statistics of the batch norm are taken over all patches at the end and then hold for every image.

    Parameters
    ----------
    network : where to start; it is not changed
    patches : crops of one shape
    progress : told the number of steps done

    Returns
    -------
    CodeNetwork : a new one, on `device`, in evaluation mode
    """
    with _fixed_threads():
        learned = _placed(copy.deepcopy(network), device).train()
        optimizer = _optimizer(learned, options)
        first = _first_codes(patches, network.n_codes) if sample.warmup_fraction else []
        draw = np.random.default_rng(seed)
        queue: list[int] = []
        for step in range(sample.steps):
            while len(queue) < sample.batch:
                queue += draw.permutation(len(patches)).tolist()
            batch, queue = queue[: sample.batch], queue[sample.batch :]
            _decay(optimizer, options.learning_rate, step / sample.steps)
            image, superpixels = _on_device([patches[i] for i in batch], device)
            led = step < sample.warmup_fraction * sample.steps
            target = torch.from_numpy(np.concatenate([first[i] for i in batch])).to(device) if led else None
            _step(learned, optimizer, image, superpixels, options, target)
            progress(step + 1)
        return _with_whole_statistics(learned, patches, device)


def _first_codes(patches: Sequence[Patch], n_codes: int) -> list[NDArray[np.int64]]:
    """Return for each patch the group of each pixel's superpixel, (pixel,); `IGNORE` = no data."""
    means, sizes = zip(*(_superpixel_means(patch) for patch in patches), strict=True)
    centres = kmeans(np.concatenate(means), np.sqrt(np.concatenate(sizes)), n_codes)
    codes = (np.append(nearest(mean, centres), IGNORE) for mean in means)  # the last is for no data, -1
    return [code[patch.superpixels.ravel()] for code, patch in zip(codes, patches, strict=True)]


def _superpixel_means(patch: Patch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean channels of the superpixels of a patch, (superpixel, channel), and their pixels."""
    data = patch.superpixels >= 0
    labels = patch.superpixels[data]
    sizes = np.bincount(labels).astype(float)
    return grouped_mean(patch.channels[:, data].T, labels, len(sizes)), sizes


def shares(
    network: CodeNetwork,
    channels: NDArray[np.float32],
    *,
    device: str = "cpu",
    own_statistics: bool = False,
    hard: bool = False,
) -> NDArray[np.uint8]:
    """Say how much each pixel belongs to each code.

    Parameters
    ----------
    channels : (channel, y, x) float32, as in `Patch`
    own_statistics : normalise by the image itself, as the articles do, instead of by what was learned
    hard : all to the code with the highest score, as the articles do, instead of by softmax

    Returns
    -------
    (y, x, code) uint8, in 1/255; of no meaning where there is no data
    """
    with _fixed_threads(), torch.inference_mode(), _autocast(device):
        network = copy.deepcopy(network).train(own_statistics)
        network = _placed(network if own_statistics else folded(network), device)
        whole = Window(0, 0, channels.shape[2], channels.shape[1])
        if own_statistics or device != "cpu":
            return _shares_of(network, channels, hard, device)
        parts = TileGrid(whole.shape, _CACHE_SIZE, network.reach)
        found: NDArray[np.uint8] | None = None
        for part in parts:
            seen = _shares_of(network, channels[:, *part.read.within(whole)], hard, device)
            if found is None:
                found = np.empty((*whole.shape, seen.shape[2]), np.uint8)
            found[part.core.within(whole)] = seen[part.core.within(part.read)]
        assert found is not None  # a grid has at least one part
        return found


def _shares_of(network: CodeNetwork, channels: NDArray[np.float32], hard: bool, device: str) -> NDArray[np.uint8]:
    image = torch.from_numpy(channels)[None].to(device).contiguous(memory_format=torch.channels_last)
    scores = network(image)[0].permute(1, 2, 0)  # (y, x, code)
    given = F.one_hot(scores.argmax(dim=2), scores.shape[2]) if hard else scores.float().softmax(dim=2)
    found: NDArray[np.uint8] = (given * 255 + 0.5).to(torch.uint8).contiguous().cpu().numpy()
    return found


@contextmanager
def _fixed_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _placed(network: CodeNetwork, device: str) -> CodeNetwork:
    """Move the network to the device, its weights in the order in which convolutions are quickest."""
    moved: CodeNetwork = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's hints lack it
    return moved


def _on_device(patches: Sequence[Patch], device: str) -> tuple[Tensor, Tensor]:
    image = torch.from_numpy(np.stack([patch.channels for patch in patches]))  # (image, channel, y, x)
    offset, flat = 0, []
    for patch in patches:  # the superpixels of a batch get different numbers
        labels = patch.superpixels.astype(np.int64).ravel()
        flat.append(np.where(labels >= 0, labels + offset, IGNORE))
        offset += int(labels.max(initial=-1)) + 1
    superpixels = torch.from_numpy(np.concatenate(flat))  # (pixel,)
    return image.to(device, memory_format=torch.channels_last), superpixels.to(device)


def _optimizer(network: CodeNetwork, options: Backprop) -> torch.optim.Optimizer:
    kind = torch.optim.SGD if options.optimizer == "sgd" else torch.optim.RMSprop
    return kind(network.parameters(), lr=options.learning_rate, momentum=options.momentum)


def _decay(optimizer: torch.optim.Optimizer, rate: float, done: float) -> None:
    """Let the learning rate fall from `rate` to 0, along a cosine of the share that is done."""
    for settings in optimizer.param_groups:
        settings["lr"] = rate * (1 + math.cos(math.pi * done)) / 2


def _step(
    network: CodeNetwork,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    superpixels: Tensor,
    options: Backprop,
    target: Tensor | None = None,
) -> int:
    """Do one step of the method, or towards a target that is given, and return the number of labels that are left."""
    scores = _scores(network, image)  # (pixel, code)
    if target is None:
        target = majority(scores.argmax(dim=1), superpixels, scores.shape[1])
    data = target >= 0
    loss = F.cross_entropy(scores[data], target[data])
    if options.entropy_weight > 0:
        loss = loss - options.entropy_weight * _entropy(scores[data].softmax(dim=1).mean(dim=0))
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return int(torch.unique(target[data]).numel())


def _scores(network: CodeNetwork, image: Tensor) -> Tensor:
    with _autocast(image.device.type):
        scores = network(image)
    return scores.float().permute(0, 2, 3, 1).flatten(0, 2)  # (pixel, code)


def _autocast(device: str) -> Any:
    """Compute in bfloat16 where the processor has it."""
    gains = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device, dtype=torch.bfloat16, enabled=gains)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * (shares + 1e-12).log()).sum()


def _with_whole_statistics(network: CodeNetwork, patches: Sequence[Patch], device: str) -> CodeNetwork:
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    with torch.inference_mode():
        for begin in range(0, len(patches), _AVERAGING_BATCHES):
            batch = patches[begin : begin + _AVERAGING_BATCHES]
            seen += len(batch)
            for norm in norms:
                norm.momentum = len(batch) / seen  # so that every patch counts the same
            image, _ = _on_device(batch, device)
            network(image)
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()
