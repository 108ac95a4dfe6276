"""Steps of the method on whole images, by automatic differentiation: on a GPU, whose memory is fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Backprop
from geoseg.segment.descent import Optimizer, loss_gradient, soft_loss_gradient
from geoseg.segment.network import CodeNetwork, autocast
from geoseg.segment.patch import IGNORE, Patch


class WholeDescent:
    """Training of a network on some images of one shape together; the same methods as `strip_descent`.

    Parameters
    ----------
    network : CodeNetwork
        On the device; it is changed by the steps.
    patches : sequence of Patch
    device : str
    """

    def __init__(self, network: CodeNetwork, patches: Sequence[Patch], device: str) -> None:
        self._network, self._device = network, device
        self._image, self._superpixels = on_device(patches, device)
        self._scene_shares: Tensor | None = None  # prediction before the first step of distillation

    def step(self, optimizer: Optimizer, options: Backprop, targets: Sequence[NDArray[np.int64]] | None = None) -> int:
        """Do one step of gradient descent, and return the number of labels of the target; 0 if it was given."""
        found = responses(self._network, self._image)  # (pixel, code)
        if targets is None:
            target = majority(found.argmax(dim=1), self._superpixels, found.shape[1])
            n_labels = len(torch.unique(target[target >= 0]))
        else:
            target, n_labels = torch.from_numpy(np.concatenate(targets)).to(self._device), 0
        optimizer.descend(found, loss_gradient(found, target, options.entropy_weight))
        return n_labels

    def distil(self, optimizer: Optimizer, weight: float) -> None:
        """Do one step with a mixture of the most frequent code and the prediction before the first step."""
        data = self._superpixels >= 0
        found = responses(self._network, self._image)[data]  # (pixel, code)
        if self._scene_shares is None:
            self._scene_shares = found.detach().softmax(dim=1)
        n_codes = found.shape[1]
        target = F.one_hot(majority(found.argmax(dim=1), self._superpixels[data], n_codes), n_codes)
        mixture = (1 - weight) * target + weight * self._scene_shares
        optimizer.descend(found, soft_loss_gradient(found, mixture))


def majority(codes: Tensor, superpixels: Tensor, n_codes: int) -> Tensor:
    """Return the refined codes c': give every pixel the most frequent code of its superpixel.

    Parameters
    ----------
    codes : (pixel,) int64
    superpixels : (pixel,) int64
        From 0; `IGNORE` = nodata.
    n_codes : int

    Returns
    -------
    (pixel,) int64
        `IGNORE` = nodata.

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


def on_device(patches: Sequence[Patch], device: str) -> tuple[Tensor, Tensor]:
    """Return the images (image, channel, y, x) and their superpixels (pixel,), numbered differently in each image."""
    image = torch.from_numpy(np.stack([patch.channels for patch in patches]))  # (image, channel, y, x)
    offset, flat = 0, []
    for patch in patches:
        own = patch.superpixels.astype(np.int64).ravel()
        flat.append(np.where(own >= 0, own + offset, IGNORE))
        offset += int(own.max(initial=-1)) + 1
    superpixels = torch.from_numpy(np.concatenate(flat))  # (pixel,)
    return image.to(device, memory_format=torch.channels_last), superpixels.to(device)


def responses(network: CodeNetwork, image: Tensor) -> Tensor:
    """Return the responses to images, (pixel, code) float32."""
    with autocast(image.device.type):
        result = network(image)  # (image, code, y, x)
    return result.float().permute(0, 2, 3, 1).flatten(0, 2)  # (pixel, code)
