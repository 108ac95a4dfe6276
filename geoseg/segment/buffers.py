"""Memory for large tensors on the CPU that the C library can use again.

torch asks for aligned blocks. glibc before 2.38 takes a larger block for that and gives back what is left at its ends;
as soon as small objects are there, the block is too small for the next tensor of the same size. So training on crops,
which needs 90 MB at a time, took 220 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes, as torch has it: a line of the cache


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor with undefined values, as `torch.empty`; its memory is that of an array.

    Examples
    --------
    >>> values = empty((3, 5), torch.bfloat16)
    >>> values.shape, values.dtype, values.data_ptr() % 64, values.is_contiguous()
    (torch.Size([3, 5]), torch.bfloat16, 0, True)
    """
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    block = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    begin = -block.ctypes.data % _ALIGNMENT
    return torch.from_numpy(block[begin : begin + n_bytes]).view(dtype).view(*shape)
