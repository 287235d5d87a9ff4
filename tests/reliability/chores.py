"""What workers are made to do in the tests of their supervision; importable by a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def prepare(offset: int) -> Callable[[str], tuple[int, int]]:
    """Give a function that does a chore: process number, and a number with something added."""

    def do(chore: str) -> tuple[int, int]:
        word, _, number = chore.partition(" ")
        _WORDS[word]()
        return os.getpid(), int(number) + offset

    return do


def in_order(waiting: Sequence[str], _doing: Sequence[str], _last: str | None) -> int | None:
    return 0 if waiting else None


def never(_waiting: Sequence[str], _doing: Sequence[str], _last: str | None) -> int | None:
    return None


def no_preparation() -> Callable[[str], None]:
    msg = "cannot be prepared"
    raise ImportError(msg)


_WORDS: dict[str, Callable[[], object]] = {
    "add": lambda: None,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: ctypes.string_at(0),
    "leave": lambda: os._exit(3),
    "sleep": lambda: time.sleep(60),
}
