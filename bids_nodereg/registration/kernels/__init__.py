"""The two inner loops that cost the time, behind one interface with several implementations.

`reference` is plain torch and runs everywhere; `cpu` is numba. The choice is by device and dtype
alone, so that the same call gives the same numbers on the same machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.kernels import cpu, reference

if TYPE_CHECKING:
    from torch import Tensor


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Trilinear interpolation with edge values outside; see :func:`reference.sample`."""
    return cpu.sample(image, at) if _suits_cpu(image) else reference.sample(image, at)


def descriptor_distance(fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean squared descriptor difference; see :func:`reference.descriptor_distance`."""
    if _suits_cpu(displacement):
        return cpu.descriptor_distance(fixed, moving, displacement, weight)
    return reference.descriptor_distance(fixed, moving, displacement, weight)


def _suits_cpu(tensor: Tensor) -> bool:
    """Whether the numba kernels can take it: float32 on the CPU, one image at a time."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.shape[0] == 1
