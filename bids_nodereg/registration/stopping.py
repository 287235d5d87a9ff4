"""When a level has converged.

The rule looks at whole windows of iterations, and only where a window ends: a measure that moves its patches
from one iteration to the next has been at every place once in each of them, and a GPU is asked for its losses
once a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.registration.settings import RegistrationSettings


def ends_window(iterations: int, settings: RegistrationSettings) -> bool:
    """Whether a window ends after this many iterations of a level."""
    return iterations % settings.convergence_window == 0


def has_converged(losses: Sequence[float], settings: RegistrationSettings) -> bool:
    """Whether the last window of losses gained nothing beside all that was gained since the first window.

    A constant added to the loss changes nothing: information has no natural zero.
    """
    window = settings.convergence_window
    if settings.convergence_tolerance == 0 or len(losses) < 2 * window:
        return False
    first, before = sum(losses[:window]), sum(losses[-2 * window : -window])
    last = sum(losses[-window:])
    return before - last <= settings.convergence_tolerance * (first - last)
