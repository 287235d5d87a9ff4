"""Shapes that an operation can take, told before a compiled loop reads memory by them.

The loops trust their arguments: a lattice smaller than another one would be read, and written, beyond its
end. These questions cost microseconds, and no number of a tensor is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def one_lattice(operation: str, **tensors: Tensor | None) -> None:
    """Batch and lattice are the same in all tensors ``b c i j k``; None stands for one that is not given.

    Raises
    ------
    ValueError
        If one differs from the first.
    """
    given = [(name, _extent(tensor)) for name, tensor in tensors.items() if tensor is not None]
    for name, extent in given[1:]:
        same(operation, **{given[0][0]: given[0][1], name: extent})


def same(operation: str, **shapes: Sequence[int]) -> None:
    """Two shapes are the same.

    Raises
    ------
    ValueError
        If they are not.
    """
    (one, expected), (other, got) = shapes.items()
    if tuple(got) != tuple(expected):
        msg = f"{operation}: {other} must have the shape of {one}, got {tuple(got)} and {tuple(expected)}"
        raise ValueError(msg)


def vectors(operation: str, **tensors: Tensor) -> None:
    """Tensors ``b 3 i j k`` have three components.

    Raises
    ------
    ValueError
        If one has another number of them.
    """
    for name, tensor in tensors.items():
        if tensor.shape[1] != 3:
            msg = f"{operation}: {name} needs 3 components, got {tensor.shape[1]} in {tuple(tensor.shape)}"
            raise ValueError(msg)


def cells(operation: str, **lattices: Sequence[int]) -> None:
    """Each lattice has a cell: interpolation is between two voxels along every axis.

    Raises
    ------
    ValueError
        If an axis has a single voxel: the index has no scale there.
    """
    for name, lattice in lattices.items():
        if min(lattice) < 2:
            msg = f"{operation}: {name} needs 2 voxels or more along every axis, got {tuple(lattice)}"
            raise ValueError(msg)


def at_least(operation: str, name: str, got: int, least: int) -> None:
    """A number is large enough.

    Raises
    ------
    ValueError
        If it is not.
    """
    if got < least:
        msg = f"{operation}: {name} must be {least} or more, got {got}"
        raise ValueError(msg)


def _extent(tensor: Tensor) -> tuple[int, ...]:
    """Images and voxels: the shape without the channels."""
    return (tensor.shape[0], *tensor.shape[2:])
