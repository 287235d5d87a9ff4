"""Places that worker processes may be started at, one process at a time at each."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOG = logging.getLogger("nodereg")


@dataclass(frozen=True)
class Slot:
    """A place for a process.

    Attributes
    ----------
    name
        For the log.
    environment
        Variables that a process there has, beside those of this one.
    """

    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Slots:
    """Places that are free, and how many are of use at all.

    Parameters
    ----------
    places
        Names and environments, in order of preference.
    """

    def __init__(self, places: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        self._free = [Slot(name, environment) for name, environment in places]
        self._useful = len(self._free)

    def __len__(self) -> int:
        """How many are of use, free or taken."""
        return self._useful

    def take(self) -> Slot | None:
        """Take a free place; None where there is none."""
        return self._free.pop(0) if self._free else None

    def give_back(self, slot: Slot) -> None:
        """Leave a place to the next process."""
        self._free.append(slot)

    def give_up(self, slot: Slot, why: str) -> None:
        """Never use a place again that was taken, nor a free one that is the same."""
        left = [other for other in self._free if other != slot]
        self._useful -= 1 + len(self._free) - len(left)
        self._free = left
        LOG.error("%s is not used any more: %s. Places left: %d.", slot.name, why, self._useful)


@contextmanager
def environment_of(slot: Slot) -> Iterator[None]:
    """Have the variables of a place while a process is started, which takes them over."""
    before = {name: os.environ.get(name) for name in slot.environment}
    os.environ.update(slot.environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
