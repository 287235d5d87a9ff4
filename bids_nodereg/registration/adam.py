"""Adam in one pass over all weights, with a rate for each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """The optimiser of Kingma and Ba (2015), as ``torch.optim.Adam(fused=True)`` has it, to the last bit.

    That one loads torch's compiler when it is made, which nothing here uses: more than a second of
    processor time and 140 MB. It is the same operation that both call. Steps are counted on the device of
    the weights, so that they can be recorded.

    Parameters
    ----------
    weights
        Leaves, on one device. Those without a gradient are passed over.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._states = [_State.of(weight) for weight in weights]

    def forget_gradients(self) -> None:
        """Clear the gradients of all weights."""
        for state in self._states:
            state.weight.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step of a rate along the gradients."""
        moving = [state for state in self._states if state.weight.grad is not None]
        for dtype in dict.fromkeys(state.weight.dtype for state in moving):
            _step([state for state in moving if state.weight.dtype == dtype], rate)


def cosine(rate: float, least: float, step: int, steps: int) -> float:
    """Rate of a step, from 0, that falls from ``rate`` to ``least`` along half a cosine."""
    return least + (rate - least) * (1 + math.cos(math.pi * step / steps)) / 2


@dataclass(frozen=True, eq=False)
class _State:
    """A weight with the running means of its gradient and of its square, and the number of its steps."""

    weight: Tensor
    mean: Tensor
    square: Tensor
    count: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> _State:
        count = torch.zeros((), dtype=torch.float32, device=weight.device)
        return cls(weight, torch.zeros_like(weight), torch.zeros_like(weight), count)


def _step(states: list[_State], rate: float) -> None:
    """Step weights of one type."""
    counts = [state.count for state in states]
    torch._foreach_add_(counts, 1)
    torch._fused_adam_(
        [state.weight for state in states],
        [state.weight.grad for state in states if state.weight.grad is not None],
        [state.mean for state in states],
        [state.square for state in states],
        [],
        counts,
        lr=rate,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )
