"""Steps of the method for several networks at once, each on its own image: for networks per tile on a GPU.

The networks are one of grouped convolutions, so that a step launches as many operations as that of a single network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from torch import Tensor, nn

from geoseg.config import Backprop
from geoseg.segment.descent import Optimizer, entropy_gradient, loss_gradient_of_shares
from geoseg.segment.network import CodeNetwork, autocast
from geoseg.segment.patch import IGNORE, Patch
from geoseg.segment.whole_descent import on_device

_STEPS_PER_CHECK = 16  # of whether all networks have stopped, for which the device must have finished
_RUNNING = ("running_mean", "running_var")


class GroupedNetworks:
    """Networks of one kind as one network of grouped convolutions; each sees its own image.

    Parameters
    ----------
    networks : sequence of CodeNetwork
        At least one, all in training or all in evaluation mode; they are not changed. In training mode batch norms use
        the statistics of the own image.
    device : str

    Attributes
    ----------
    parameters : list of Tensor
        As those of one network, with the values of all networks one after the other in the first dimension.
    """

    def __init__(self, networks: Sequence[CodeNetwork], device: str) -> None:
        self._networks, self._layers = list(networks), networks[0].layers
        values = [[parameter.detach() for parameter in network.parameters()] for network in networks]
        self.parameters = [_joined(same, device).requires_grad_() for same in zip(*values, strict=True)]
        norms = [[layer for layer in network.layers if isinstance(layer, nn.BatchNorm2d)] for network in networks]
        self._statistics = [_statistics(same, device) for same in zip(*norms, strict=True)]

    def __len__(self) -> int:
        return len(self._networks)

    def responses(self, images: Tensor) -> Tensor:
        """Return the responses, (pixel, network, code) float32, to images, (1, network and channel, y, x)."""
        parameters, statistics = iter(self.parameters), iter(self._statistics)
        with autocast(images.device.type):
            for layer in self._layers:
                if isinstance(layer, nn.Conv2d):
                    weight, bias = next(parameters), next(parameters)
                    images = F.conv2d(images, weight, bias, padding=layer.padding, groups=len(self))
                elif isinstance(layer, nn.BatchNorm2d):
                    scale, shift = next(parameters), next(parameters)
                    mean, variance = next(statistics) or (None, None)
                    images = F.batch_norm(images, mean, variance, scale, shift, layer.training, eps=layer.eps)
                else:
                    images = F.relu(images, inplace=True)
        # Pixels first, as in memory: the gradient of these views needs no copy.
        flat = images.float().permute(0, 2, 3, 1).flatten(0, 2)  # (pixel, network and code)
        return flat.view(len(flat), len(self), -1)

    def separate(self) -> list[CodeNetwork]:
        """Return the networks as they are now, on their device; the running statistics are those of before."""
        parts = [parameter.detach().chunk(len(self)) for parameter in self.parameters]
        found = []
        for i, network in enumerate(self._networks):
            one = copy.deepcopy(network).to(parts[0][0].device)
            for parameter, part in zip(one.parameters(), parts, strict=True):
                parameter.data.copy_(part[i])
            found.append(one)
        return found


def _joined(values: Sequence[Tensor], device: str) -> Tensor:
    """Return the values of networks one after the other, with the memory layout in which convolutions are fastest."""
    joined = torch.cat(list(values)).to(device)
    return joined.contiguous(memory_format=torch.channels_last) if joined.dim() == 4 else joined


def _statistics(norms: Sequence[nn.BatchNorm2d], device: str) -> tuple[Tensor, Tensor] | None:
    """Return the running mean and variance of one batch norm of all networks; None in training mode."""
    if norms[0].training:
        return None
    mean, variance = (_joined([norm.get_buffer(name) for norm in norms], device) for name in _RUNNING)
    return mean, variance


class GroupedDescent:
    """Training of several networks, each on an image of its own, with the results of `whole_descent` for each of them.

    Parameters
    ----------
    networks : GroupedNetworks
        They are changed by the steps.
    patches : sequence of Patch
        One for each network, of one shape.
    device : str
    """

    def __init__(self, networks: GroupedNetworks, patches: Sequence[Patch], device: str) -> None:
        images, superpixels = on_device(patches, device)
        self._networks, n = networks, len(networks)
        self._images = images.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
        sizes = [int(patch.superpixels.max(initial=IGNORE)) + 1 for patch in patches]
        self._owner = torch.from_numpy(np.repeat(np.arange(n), sizes)).to(device)  # (superpixel,)
        # Nodata is a last superpixel, so that no step waits for the device to count what is valid.
        self._rows = torch.where(superpixels >= 0, superpixels, sum(sizes)).reshape(n, -1).T  # (pixel, network)
        self._n_data = [int((patch.superpixels >= 0).sum()) for patch in patches]
        self._is_training = torch.ones(n, dtype=torch.bool, device=device)
        self._scene_shares: Tensor | None = None  # prediction before the first step of distillation

    def step(self, optimizer: Optimizer, options: Backprop) -> Tensor:
        """Do one step of gradient descent for the networks that have not stopped.

        Returns
        -------
        (network,) bool
            Whether it had ``options.min_labels`` labels or more in this and all earlier steps; it has stopped if not.
        """
        found = self._networks.responses(self._images)
        target, n_labels = self._majority(found)
        gradients = []
        for strided, own, n_data in zip(
            found.detach().softmax(dim=2).unbind(1), target.unbind(1), self._n_data, strict=True
        ):
            shares, by_mean = strided.contiguous(), None  # so that sums do not depend on the number of networks
            if options.entropy_weight > 0:
                mean = (own >= 0).to(shares.dtype) @ shares / max(n_data, 1)
                by_mean = entropy_gradient(mean, options.entropy_weight)
            gradients.append(loss_gradient_of_shares(shares, own, n_data, by_mean))
        before = [parameter.detach().clone() for parameter in self._networks.parameters]
        optimizer.descend(found, torch.stack(gradients, dim=1))
        self._restore_stopped(before)
        self._is_training &= n_labels >= options.min_labels
        return self._is_training

    def distil(self, optimizer: Optimizer, weight: float) -> None:
        """Do one step with a mixture of the most frequent code and the prediction before the first step."""
        found = self._networks.responses(self._images)
        shares = found.detach().softmax(dim=2)
        if self._scene_shares is None:
            self._scene_shares = shares.clone()
        target, _ = self._majority(found)
        mixture = (1 - weight) * F.one_hot(target.clamp(min=0), found.shape[2]) + weight * self._scene_shares
        for one, n_data in zip(shares.sub_(mixture).unbind(1), self._n_data, strict=True):
            one.div_(max(n_data, 1))
        optimizer.descend(found, shares.mul_((target >= 0)[..., None]))

    def _majority(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most frequent code of each pixel's superpixel, and how many there are of each network.

        Returns
        -------
        (pixel, network) int64
            `IGNORE` = nodata. Ties go to the lower code.
        (network,) int64
        """
        n_codes, n_superpixels = found.shape[2], len(self._owner)
        pairs = (self._rows * n_codes + found.argmax(dim=2)).flatten()
        counts = torch.zeros((n_superpixels + 1) * n_codes, dtype=torch.int32, device=found.device)
        counts.scatter_add_(0, pairs, torch.ones_like(pairs, dtype=torch.int32))
        counts = counts.reshape(-1, n_codes)
        codes = counts.argmax(dim=1)
        codes[n_superpixels] = IGNORE
        present = torch.zeros(len(self._networks) * n_codes, dtype=torch.int32, device=found.device)
        is_used = counts[:n_superpixels].any(dim=1).int()
        present.scatter_add_(0, self._owner * n_codes + codes[:n_superpixels], is_used)
        return codes[self._rows], (present.reshape(-1, n_codes) > 0).sum(dim=1)

    def _restore_stopped(self, before: Sequence[Tensor]) -> None:
        n = len(self._networks)
        with torch.no_grad():
            for parameter, old in zip(self._networks.parameters, before, strict=True):
                is_kept = self._is_training[:, None].expand(n, len(old) // n).reshape(-1, *[1] * (old.dim() - 1))
                parameter.copy_(torch.where(is_kept, parameter, old))


def train_each(
    networks: Sequence[CodeNetwork], patches: Sequence[Patch], options: Backprop, *, steps: int, device: str
) -> list[CodeNetwork]:
    """Return networks trained each on its own image, as `backprop.train` does for one.

    Parameters
    ----------
    networks : sequence of CodeNetwork
        In training mode; they are not changed.
    patches : sequence of Patch
        Of one shape.
    options : Backprop
    steps : int
        Maximum number; a network stops as soon as it has fewer than ``options.min_labels`` labels.
    device : str
    """
    grouped = GroupedNetworks(networks, device)
    optimizer, descent = Optimizer(grouped.parameters, options), GroupedDescent(grouped, patches, device)
    for step in range(steps):
        is_training = descent.step(optimizer, options)
        if (step + 1) % _STEPS_PER_CHECK == 0 and not is_training.any():
            break
    return grouped.separate()


def refine_each(
    network: CodeNetwork, patches: Sequence[Patch], options: Backprop, *, steps: int, device: str
) -> list[CodeNetwork]:
    """Return the scene network fine-tuned on each of several images, as `backprop.refine` does for one.

    Parameters
    ----------
    network : CodeNetwork
        In evaluation mode; it is not changed.
    patches : sequence of Patch
        Of one shape.
    options : Backprop
    steps : int
        Exact number of steps.
    device : str
    """
    grouped = GroupedNetworks([network] * len(patches), device)
    optimizer, descent = Optimizer(grouped.parameters, options), GroupedDescent(grouped, patches, device)
    for step in range(steps):
        optimizer.decay(options.learning_rate, step / steps)
        descent.distil(optimizer, options.distillation_weight)
    return grouped.separate()
