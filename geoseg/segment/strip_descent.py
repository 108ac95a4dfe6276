"""Steps of the method on a CPU, in strips of images that fit the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Backprop
from geoseg.segment.descent import Optimizer, entropy_gradient, loss_gradient_of_shares
from geoseg.segment.elementwise import count_codes
from geoseg.segment.network import CodeNetwork, computing_dtype
from geoseg.segment.passes import Passes
from geoseg.segment.patch import IGNORE, Patch


class StripDescent:
    """Training of a network on some images together, with the results of `whole_descent` up to rounding.

    Parameters
    ----------
    network : CodeNetwork
        On the CPU; it is changed by the steps. In training mode batch norms use the statistics of all images together.
    patches : sequence of Patch
    """

    def __init__(self, network: CodeNetwork, patches: Sequence[Patch]) -> None:
        self._passes = Passes(network, [patch.channels for patch in patches], computing_dtype("cpu"))
        numbers, n = [], 0
        for patch in patches:
            own = patch.superpixels.ravel().astype(np.int64)
            numbers.append(np.where(own >= 0, own + n, IGNORE))
            n += int(own.max(initial=-1)) + 1
        self._n_superpixels = n
        self._superpixels = self._of_strips(numbers)
        self._n_data = sum(int(np.count_nonzero(part >= 0)) for part in self._superpixels)
        self._scene_shares: list[Tensor] = []  # prediction before the first step of distillation

    def step(self, optimizer: Optimizer, options: Backprop, targets: Sequence[NDArray[np.int64]] | None = None) -> int:
        """Do one step of gradient descent.

        Parameters
        ----------
        optimizer : Optimizer
        options : Backprop
        targets : sequence of (pixel,) int64, optional
            Of each image; by default the most frequent code of the superpixel.

        Returns
        -------
        int
            Number of labels of the target; 0 if it was given.
        """
        self._passes.forward()
        n_labels = 0
        if targets is None:
            majority, n_labels = self._majority()
            parts = self._by_superpixel(majority)
        else:
            parts = self._of_strips(targets)
        by_mean = self._entropy_gradient(options.entropy_weight) if options.entropy_weight > 0 else None
        gradients = [
            loss_gradient_of_shares(self._shares(i), torch.from_numpy(part), self._n_data, by_mean)
            for i, part in enumerate(parts)
        ]
        self._descend(optimizer, gradients)
        return n_labels

    def distil(self, optimizer: Optimizer, weight: float) -> None:
        """Do one step with a mixture of the most frequent code and the prediction before the first step.

        Parameters
        ----------
        optimizer : Optimizer
        weight : float
            Of that prediction.
        """
        self._passes.forward()
        if not self._scene_shares:
            self._scene_shares = [self._shares(i) for i in range(len(self._superpixels))]
        gradients = []
        for i, part in enumerate(self._by_superpixel(self._majority()[0])):
            shares = self._shares(i).sub_(self._scene_shares[i], alpha=weight)
            gradients.append(loss_gradient_of_shares(shares, torch.from_numpy(part), self._n_data, weight=1 - weight))
        self._descend(optimizer, gradients)

    def _of_strips(self, images: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Return the values of the pixels of each strip, given those of each image, (pixel,)."""
        return [images[s.image][s.begin * s.cols : s.end * s.cols] for s in self._passes.strips]

    def _by_superpixel(self, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return for each strip the values of the superpixels of its pixels; `IGNORE` = nodata."""
        table = np.append(values, IGNORE)  # index -1 is nodata
        return [table[part] for part in self._superpixels]

    def _majority(self) -> tuple[NDArray[np.int64], int]:
        """Return the most frequent code of each superpixel, and the number of different ones."""
        counts = np.zeros((self._n_superpixels, self._passes.n_codes), np.int32)
        for i, part in enumerate(self._superpixels):
            count_codes(self._passes.responses(i).numpy(), part, counts)
        codes = counts.argmax(axis=1)  # ties go to the lower code
        return codes, len(np.unique(codes[counts.any(axis=1)]))

    def _shares(self, i: int) -> Tensor:
        """Return the softmax of the responses of a strip, (pixel, code)."""
        return self._passes.responses(i).softmax(dim=1)

    def _entropy_gradient(self, weight: float) -> Tensor:
        total = torch.zeros(self._passes.n_codes, dtype=torch.float64)
        for i, part in enumerate(self._superpixels):
            data = part >= 0
            shares = self._shares(i)
            total += shares.sum(dim=0) if data.all() else torch.from_numpy(data.astype(np.float32)) @ shares
        return entropy_gradient((total / max(self._n_data, 1)).float(), weight)

    def _descend(self, optimizer: Optimizer, gradients: Sequence[Tensor]) -> None:
        optimizer.apply(self._passes.backward([gradient.to(self._passes.dtype) for gradient in gradients]))
