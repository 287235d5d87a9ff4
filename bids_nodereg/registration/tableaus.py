"""Explicit Runge-Kutta schemes as Butcher tableaus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta scheme: stage ``n`` starts from ``sum_m a[n][m] k_m``; the step is ``b . k``.

    A field constant in time needs no nodes ``c``.
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


class Leg(NamedTuple):
    """Part of a way in time: equal Runge-Kutta steps through one stationary field."""

    part: int
    """Which of the fields."""
    steps: int
    h: float
    """Step size, negative on the way back; the time that passes is ``steps * h``."""


TABLEAUS: Mapping[str, Tableau] = {
    "euler": Tableau(1, ((),), (1.0,)),
    "heun": Tableau(2, ((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": Tableau(4, ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def advance(position: Tensor, h: float, weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    """``position + h * sum_n weights[n] stages[n]``, leaving out zero weights."""
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0:
            position = position + (h * weight) * stage
    return position
