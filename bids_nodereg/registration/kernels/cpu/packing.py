"""Vector fields as the compiled loops read them: the components of a voxel side by side, and a zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.floating[Any]]


def dtype_of(tensor: Tensor) -> type[np.floating[Any]]:
    """The type of a tensor's numbers in NumPy: float64 or float32."""
    return np.float64 if tensor.dtype == torch.float64 else np.float32


def lattice_of(field: Tensor) -> tuple[int, int, int]:
    """Voxels along each axis of ``b c i j k``."""
    i, j, k = field.shape[2:]
    return i, j, k


def packed(field: Tensor) -> Array:
    """Fields ``p 3 i j k`` as ``n 4``: field after field, voxel after voxel."""
    parts, components = field.shape[:2]
    out = torch.zeros((parts, *field.shape[2:], 4), dtype=field.dtype)
    out[..., :components] = field.detach().movedim(1, -1)
    array: Array = out.view(-1, 4).numpy()
    return array


def unpacked(array: Array, shape: Sequence[int]) -> Tensor:
    """Fields ``p 3 i j k`` of packed ones on a lattice ``i j k``."""
    fields = torch.from_numpy(array).view(-1, *shape, 4)
    return fields[..., :3].movedim(-1, 1).contiguous()
