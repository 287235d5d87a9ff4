"""A pair that kills the process which registers it, as a fault in a library or in memory would."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from bids_nodereg import interruption

if TYPE_CHECKING:
    from collections.abc import Callable


def die_at_01() -> None:
    """Let this process be killed over the pair of participant 01."""
    from bids_nodereg.app import attempt

    solve_pair = attempt.solve_pair

    def solve(opened: Any, *rest: Any) -> Any:
        if opened.job.pair.moving.subject == "01":
            os.kill(os.getpid(), signal.SIGKILL)
        return solve_pair(opened, *rest)

    attempt.solve_pair = solve


def take_time() -> None:
    """Let this process have time to end by itself, on a machine that has other things to do."""
    interruption.GRACE_S = 20.0


def prepare_to_die(*arguments: Any) -> Callable[[Any], Any]:
    """In place of what makes a worker ready: it is killed over the pair of participant 01."""
    from bids_nodereg.app.executors import prepare_worker

    die_at_01()
    return prepare_worker(*arguments)
