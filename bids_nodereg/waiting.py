"""How threads of the libraries wait for one another."""

from __future__ import annotations

import os

_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}


def wait_asleep() -> None:
    """Let threads that wait spin for some microseconds only, and then sleep; unless the user says otherwise.

    With long spinning a shared machine does several times the work, with none small images wait for threads
    to wake. The libraries read this when they are loaded: to be called before.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
