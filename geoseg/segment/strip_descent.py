"""Steps of the method on a CPU, in strips of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Backprop
from geoseg.segment.buffers import empty
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
        shares, majority, n_labels = self._predict(needs_majority=targets is None)
        parts = self._by_superpixel(majority) if targets is None else self._of_strips(targets)
        by_mean = self._entropy_gradient(shares, options.entropy_weight) if options.entropy_weight > 0 else None
        self._descend(optimizer, shares, parts, by_mean)
        return n_labels

    def distil(self, optimizer: Optimizer, weight: float) -> None:
        """Do one step with a mixture of the most frequent code and the prediction before the first step.

        Parameters
        ----------
        optimizer : Optimizer
        weight : float
            Of that prediction.
        """
        shares, majority, _ = self._predict(needs_majority=True)
        if not self._scene_shares:
            self._scene_shares = [part.clone() for part in shares]
        for part, scene in zip(shares, self._scene_shares, strict=True):
            part.sub_(scene, alpha=weight)
        self._descend(optimizer, shares, self._by_superpixel(majority), weight=1 - weight)

    def _of_strips(self, images: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Return the values of the pixels of each strip, given those of each image, (pixel,)."""
        return [np.concatenate(images[strip.images])[strip.part] for strip in self._passes.strips]

    def _by_superpixel(self, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return for each strip the values of the superpixels of its pixels; `IGNORE` = nodata."""
        table = np.append(values, IGNORE)  # index -1 is nodata
        return [table[part] for part in self._superpixels]

    def _predict(self, *, needs_majority: bool) -> tuple[list[Tensor], NDArray[np.int64], int]:
        """Do a forward pass.

        Returns
        -------
        sequence of (pixel, code) float32
            Softmax of the responses of each strip.
        (superpixel,) int64
            Most frequent code; ties go to the lower code.
        int
            Number of different ones.
        """
        self._passes.forward()
        counts, shares = np.zeros((self._n_superpixels, self._passes.n_codes), np.int32), []
        for i, part in enumerate(self._superpixels):
            responses = self._passes.responses(i)
            if needs_majority:
                count_codes(responses.numpy(), part, counts)
            shares.append(torch.softmax(responses, dim=1, out=empty(responses.shape, responses.dtype)))
        codes = counts.argmax(axis=1)
        return shares, codes, len(np.unique(codes[counts.any(axis=1)]))

    def _entropy_gradient(self, shares: Sequence[Tensor], weight: float) -> Tensor:
        total = torch.zeros(self._passes.n_codes, dtype=torch.float64)
        for part, superpixels in zip(shares, self._superpixels, strict=True):
            data = superpixels >= 0
            total += part.sum(dim=0) if data.all() else torch.from_numpy(data.astype(np.float32)) @ part
        return entropy_gradient((total / max(self._n_data, 1)).float(), weight)

    def _descend(
        self,
        optimizer: Optimizer,
        shares: list[Tensor],
        targets: Sequence[NDArray[np.int64]],
        by_mean: Tensor | None = None,
        weight: float = 1.0,
    ) -> None:
        """Change the parameters; the shares are needed no more and freed."""
        gradients = []
        for target in targets:
            gradient = loss_gradient_of_shares(
                shares.pop(0), torch.from_numpy(target), self._n_data, by_mean, weight=weight
            )
            gradients.append(empty(gradient.shape, self._passes.dtype).copy_(gradient))
        optimizer.apply(self._passes.backward(gradients))
