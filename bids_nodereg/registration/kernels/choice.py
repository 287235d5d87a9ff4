"""Which implementation serves a tensor: by its device, its dtype and its batch size alone."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.kernels import cpu, reference

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

OLDEST_CAPABILITY = (7, 5)
"""Compute capability of the oldest cards that every Triton since 3.2 compiles for."""


def implementation_for(tensor: Tensor) -> ModuleType:
    """Numba takes float32 on the CPU, Triton float32 and float16 on CUDA, torch all the rest.

    Numba and Triton take one image at a time, and lattices of two voxels or more along each axis.
    """
    if tensor.shape[0] != 1 or min(tensor.shape[2:]) < 2:
        return reference
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
        return cpu
    if tensor.device.type == "cuda" and tensor.dtype in {torch.float32, torch.float16}:
        return _triton_kernels() if why_not_triton(tensor.device) is None else reference
    return reference


@cache
def why_not_triton(device: torch.device) -> str | None:
    """Why plain torch must serve a CUDA device; None where Triton does.

    Tried once for each device by compiling and starting a small kernel: Triton needs a C compiler for its
    launcher unless that is in its cache already (``docs/decisions/0007-triton-kernels.md``).
    """
    if find_spec("triton") is None:
        return "the package triton is not installed"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return f"the card has compute capability {capability[0]}.{capability[1]}, Triton needs 7.5 or newer"
    try:
        _triton_kernels().resize(torch.zeros((1, 1, 2, 2, 2), device=device), (3, 3, 3))
        torch.cuda.synchronize(device)  # or its failure would show in a later call
    except Exception as error:  # noqa: BLE001  # whatever stops Triton, torch can do the work
        return f"Triton could not start a kernel ({type(error).__name__}: {error})"
    return None


def _triton_kernels() -> ModuleType:
    """The package of Triton kernels, imported where it is used: it needs Triton."""
    from bids_nodereg.registration.kernels import cuda

    return cuda
