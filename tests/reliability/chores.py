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
        WORDS[word]()
        return os.getpid(), int(number) + offset

    return do


class InOrder:
    """Chores that wait for nothing."""

    def __init__(self, chores: Sequence[str]) -> None:
        self._chores = list(chores)

    def __len__(self) -> int:
        return len(self._chores)

    def has_ready(self) -> bool:
        return bool(self._chores)

    def take(self, _last: str | None) -> str | None:
        return self._chores.pop(0) if self._chores else None

    def end(self, chore: str) -> None:
        assert chore not in self._chores


class Never(InOrder):
    """Chores that wait for one another."""

    def has_ready(self) -> bool:
        return False

    def take(self, _last: str | None) -> str | None:
        return None


def no_preparation() -> Callable[[str], None]:
    msg = "cannot be prepared"
    raise ImportError(msg)


WORDS: dict[str, Callable[[], object]] = {
    "add": lambda: None,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: ctypes.string_at(0),
    "leave": lambda: os._exit(3),
    "sleep": lambda: time.sleep(60),
}
