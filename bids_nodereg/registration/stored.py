"""Descriptors as the comparison reads them: channels last, in the precision of the implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """A descriptor ready for :func:`.kernels.descriptor_distance`.

    Attributes
    ----------
    values
        ``1 i j k p``, ``p`` at least the number of channels. The channels added to fill ``p`` are the same
        number in every descriptor stored with the same bounds, so that they differ by nothing.
    channels
        How many channels the descriptor has.
    unit
        What a difference of 1 between two stored values is worth; 1 where they are stored as numbers.
    """

    values: Tensor
    channels: int
    unit: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes."""
        i, j, k = self.values.shape[1:4]
        return i, j, k
