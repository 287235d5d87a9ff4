"""What workers on GPUs are made to do in tests; light, and importable by a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.app.gpus import VARIABLE
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(broken: str) -> Callable[[str], tuple[str, str]]:
    """Give a function that says which GPU it sees, and ``lost`` on one that is broken."""
    gpu = os.environ[VARIABLE]
    if f"killed {gpu}" in broken or _is_first(f"killed once {gpu} ", broken):
        os.kill(os.getpid(), signal.SIGKILL)
    if f"no start {gpu}" in broken:
        msg = f"GPU {gpu} is not there"
        raise UsageError(msg)
    return lambda _task: (gpu, "lost" if f"lost {gpu}" in broken else "done")


def _is_first(how: str, broken: str) -> bool:
    """Whether this happens for the first time: the file whose path follows tells."""
    _, is_meant, path = broken.partition(how)
    if not is_meant or Path(path).exists():
        return False
    Path(path).touch()
    return True


def why_unfit(result: tuple[str, str]) -> str:
    return "CUDA error" if result[1] == "lost" else ""
