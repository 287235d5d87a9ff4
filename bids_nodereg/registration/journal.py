"""What the iterations of a level leave behind: written on the device, read by the host now and then.

A host that asks a GPU for a number waits until the GPU has done all that was queued before. So an iteration
writes its terms into a table on the device, and the host reads many rows at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.objective import Terms


@dataclass(frozen=True)
class Step:
    """What one iteration did; the loss terms are unweighted, before the update."""

    stage: str
    level: int
    levels: int
    iteration: int
    iterations: int
    loss: float
    similarity: float
    folding: float
    gradient: float
    magnitude: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """The terms of one iteration, on the host."""

    similarity: float
    folding: float
    gradient: float
    magnitude: float
    loss: float


@dataclass(frozen=True, eq=False)
class Journal:
    """Table of terms on the device.

    Attributes
    ----------
    table
        A row for each iteration, in the order of :class:`Row`.
    place
        Number of the next row, one integer on the device: a recorded iteration writes where it says.
    """

    table: Tensor
    place: Tensor

    @classmethod
    def of(cls, iterations: int, like: Tensor) -> Journal:
        """An empty journal on the device of ``like`` and in its precision."""
        place = torch.zeros(1, dtype=torch.long, device=like.device)
        return cls(like.new_zeros(iterations, len(Row.__dataclass_fields__)), place)

    def write(self, terms: Terms) -> None:
        """Put the terms into the next row."""
        each = (terms.similarity, terms.folding, terms.gradient, terms.magnitude, terms.loss)
        self.table.index_copy_(0, self.place, torch.stack([term.detach() for term in each])[None])
        self.place.add_(1)

    def read(self, start: int, end: int) -> list[Row]:
        """Rows ``start`` to ``end``; waits for the device."""
        return [Row(*values) for values in self.table[start:end].tolist()]
