"""Numbers that are none, put into the optimisation at chosen evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from bids_nodereg.registration import iteration
from bids_nodereg.registration.similarity import BothWays, similarity_of

if TYPE_CHECKING:
    from collections.abc import Container

    import pytest
    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import DescriptorSettings


class _NoGradient(torch.autograd.Function):
    """A value that stays, and a gradient that is none."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * math.nan


@dataclass
class Faults:
    """Evaluations of the forward similarity, counted from 1 over the whole optimisation, that go wrong."""

    losses: Container[int] = ()
    gradients: Container[int] = ()
    seen: int = field(default=0, init=False)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Faults:
        monkeypatch.setattr(iteration, "similarity_of", self._similarity_of)
        return self

    def _similarity_of(self, pair: ImagePair, settings: DescriptorSettings) -> BothWays:
        whole = similarity_of(pair, settings)

        def forward(displacement: Tensor, number: int = 0) -> Tensor:
            self.seen += 1
            value = whole.forward(displacement, number)
            if self.seen in self.gradients:
                value = _NoGradient.apply(value)
            return value * math.nan if self.seen in self.losses else value

        return BothWays(forward, whole.backward)
