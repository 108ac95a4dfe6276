"""The small convolutional network whose argmax channel is the code of a pixel."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geoseg.config import Network

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_GENERATOR = threading.Lock()  # of torch's random numbers, which all threads share


class CodeNetwork(nn.Module):
    """Convolutional network that maps an image to a response per pixel and code.

    The networks of Kanezaki (2018; order relu-bn) and of Yonv (2019; order bn-relu); the last layer has no ReLU.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    options : Network
        Kernel sizes and channels of the layers.

    Attributes
    ----------
    reach : int
        Pixels on each side on which a response depends.
    n_codes : int
    """

    def __init__(self, n_channels: int, options: Network) -> None:
        super().__init__()
        self.reach = options.reach
        self.n_codes = options.channels[-1]
        layers: list[nn.Module] = []
        last = len(options.kernels) - 1
        for i, (kernel, channels) in enumerate(zip(options.kernels, options.channels, strict=True)):
            layers.append(nn.Conv2d(n_channels, channels, kernel, padding=kernel // 2))
            norm, active = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)  # what it replaces is needed no more
            if i == last:
                layers.append(norm)
            else:
                layers += [norm, active] if options.order == "bn-relu" else [active, norm]
            n_channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Return the responses (image, code, y, x) to images (image, channel, y, x)."""
        responses: Tensor = self.layers(image)
        return responses


def new_network(n_channels: int, options: Network, *, seed: int) -> CodeNetwork:
    """Return a network with random weights that depend on the seed alone.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    options : Network
    seed : int

    Returns
    -------
    CodeNetwork
        In training mode, on the CPU.
    """
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CodeNetwork(n_channels, options)


def fold_batch_norms(network: CodeNetwork) -> CodeNetwork:
    """Return a network for inference with the same responses in fewer passes over memory.

    A batch norm that directly follows a convolution is folded into its weights (Jacob et al. 2018, section 3.2).

    Parameters
    ----------
    network : CodeNetwork
        In evaluation mode; it is not changed.
    """
    layers: list[nn.Module] = []
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(nn.ReLU(inplace=True) if isinstance(layer, nn.ReLU) else copy.deepcopy(layer))
    folded = copy.copy(network)  # a shallow copy suffices: its layers are replaced
    folded._modules = {"layers": nn.Sequential(*layers)}
    return folded


def to_arrays(network: CodeNetwork) -> dict[str, NDArray[Any]]:
    """Return the weights and running statistics by parameter name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def from_arrays(arrays: Mapping[str, NDArray[Any]], n_channels: int, options: Network) -> CodeNetwork:
    """Return a network with the weights returned by `to_arrays`."""
    network = new_network(n_channels, options, seed=0)  # all of its weights are replaced
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
    return network


def placed(network: CodeNetwork, device: str) -> CodeNetwork:
    """Move the network to the device, with the memory layout in which convolutions are fastest."""
    moved: CodeNetwork = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's hints lack it
    return moved


def computing_dtype(device: str) -> torch.dtype:
    """Return the type of numbers in which convolutions are computed: bfloat16 if the processor supports it."""
    if device == "mps":  # of which not every version has it
        return torch.float32
    supported = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if supported else torch.float32


def autocast(device: str) -> torch.autocast:
    """Return a context in which torch computes in the type of `computing_dtype`."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=computing_dtype(device) == torch.bfloat16)


def with_device(compute: Callable[[str], Result], device: str) -> Result:
    """Compute on a device, or on the CPU if the memory of the device does not suffice.

    Parameters
    ----------
    compute : callable
        Takes the name of the device.
    device : str

    Returns
    -------
    object
        What `compute` returns. That of the CPU differs from that of a GPU in the last digits.
    """
    try:
        return compute(device)
    except RuntimeError as err:
        if device == "cpu" or not lacks_memory(err):
            raise
    # Outside of the handler: its traceback would keep the tensors of the failed attempt in the memory of the device.
    _log.warning("the memory of %s does not suffice, so the CPU computes this part", device)
    torch.cuda.empty_cache()  # does nothing where no GPU is in use
    return compute("cpu")


def lacks_memory(err: RuntimeError) -> bool:
    """Return whether an error of torch is that the memory of a device does not suffice."""
    is_memory = isinstance(err, torch.cuda.OutOfMemoryError)
    return is_memory or any(text in str(err) for text in ("_STATUS_ALLOC_FAILED", "MPS backend out of memory"))


def gpu_is_available(device: str) -> bool:
    """Return whether torch finds a GPU that it can use as "cuda" or "mps"."""
    return torch.backends.mps.is_available() if device == "mps" else torch.cuda.is_available()
