"""The voxel lattice: its points, and the ratio of two lattices over one extent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def identity(shape: Sequence[int], like: Tensor) -> Tensor:
    """Positions of all voxels: ``1 3 i j k`` in voxel index, dtype and device of ``like``."""
    axes = [torch.arange(size, dtype=like.dtype, device=like.device) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def lattice_ratio(old: Sequence[int], new: Sequence[int], like: Tensor) -> Tensor:
    """New voxels per old voxel along each axis, as ``1 3 1 1 1``, when corners coincide."""
    ratio = [(n - 1) / (o - 1) for o, n in zip(old, new, strict=True)]
    return constants(ratio, like).view(1, 3, 1, 1, 1)


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers in a row, in the dtype and on the device of ``like``.

    They are made there, one by one: for a copy the host would wait, and no CUDA graph could record it.
    """
    return torch.stack([like.new_full((), value) for value in values])
