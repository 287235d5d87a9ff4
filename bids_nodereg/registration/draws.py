"""The random numbers of one registration, whatever else draws meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_ONE_AT_A_TIME = Lock()  # while a pair is registered, a brain may be looked for in the next one


class Draws:
    """A sequence of random numbers that goes on from level to level.

    Modules draw their first weights from torch's own generator. Inside :meth:`here` that generator continues
    this sequence; outside it stands where its owner left it. So neither the caller's numbers nor those of
    another pair that is registered in turn with this one make a difference. On the CPU only: weights are
    drawn there on every device.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def here(self) -> Iterator[None]:
        """Draw from this sequence; one thread at a time, as torch's own generator is that of the process."""
        with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()
