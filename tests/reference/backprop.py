"""The method as in the public scripts: one image, float32, and a loop over the superpixels."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def refine(im_target: NDArray[np.int64], superpixels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Give every pixel the most frequent label of its superpixel, as in Kanezaki's demo.py; nodata is kept."""
    im_target = im_target.copy()
    l_inds = [np.where(superpixels == label)[0] for label in np.unique(superpixels) if label >= 0]
    for inds in l_inds:
        labels_per_sp = im_target[inds]
        u_labels_per_sp = np.unique(labels_per_sp)
        hist = np.zeros(len(u_labels_per_sp))
        for j in range(len(hist)):
            hist[j] = len(np.where(labels_per_sp == u_labels_per_sp[j])[0])
        im_target[inds] = u_labels_per_sp[np.argmax(hist)]
    return im_target


def train(
    network: nn.Module,
    channels: NDArray[np.float32],
    superpixels: NDArray[np.integer],
    *,
    optimizer: str,
    learning_rate: float,
    momentum: float,
    min_labels: int,
    entropy_weight: float,
    steps: int,
) -> tuple[nn.Module, int]:
    """Return the trained network and the number of steps done."""
    model = copy.deepcopy(network)
    kinds = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    descent = kinds[optimizer](model.parameters(), lr=learning_rate, momentum=momentum)
    data = torch.from_numpy(np.flatnonzero(superpixels.ravel() >= 0))
    done = 0
    for _ in range(steps):
        descent.zero_grad()
        output = model(torch.from_numpy(channels)[None])[0]  # (code, y, x)
        output = output.permute(1, 2, 0).contiguous().view(-1, output.shape[0])  # (pixel, code)
        im_target = refine(output.argmax(dim=1).numpy(), superpixels.ravel())
        target = torch.from_numpy(im_target)
        loss = nn.functional.cross_entropy(output[data], target[data])
        mean = torch.softmax(output[data], dim=1).mean(dim=0)
        loss = loss + entropy_weight * (mean * torch.log(mean + 1e-12)).sum()
        loss.backward()  # type: ignore[no-untyped-call] # torch has no hints for it
        descent.step()
        done += 1
        if len(np.unique(im_target[data.numpy()])) < min_labels:
            break
    return model, done


def distil(
    network: nn.Module,
    channels: NDArray[np.float32],
    superpixels: NDArray[np.integer],
    *,
    learning_rate: float,
    momentum: float,
    weight: float,
    steps: int,
) -> nn.Module:
    """Return the network fine-tuned on a tile: cross entropy and divergence from the initial network."""
    scene, model = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    descent = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
    data = torch.from_numpy(np.flatnonzero(superpixels.ravel() >= 0))
    for step in range(steps):
        descent.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        descent.zero_grad()
        expected = scene(torch.from_numpy(channels)[None])[0].flatten(1).T.detach()  # (pixel, code)
        output = model(torch.from_numpy(channels)[None])[0].flatten(1).T
        target = torch.from_numpy(refine(output.argmax(dim=1).numpy(), superpixels.ravel()))
        divergence = nn.functional.kl_div(
            output[data].log_softmax(dim=1), expected[data].log_softmax(dim=1), log_target=True, reduction="batchmean"
        )
        loss = (1 - weight) * nn.functional.cross_entropy(output[data], target[data]) + weight * divergence
        loss.backward()  # type: ignore[no-untyped-call] # torch has no hints for it
        descent.step()
    return model
