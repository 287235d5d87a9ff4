"""What a run says while it works: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from bids_nodereg.registration.optimise import Step

LOG = logging.getLogger("nodereg")
SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Hears which pair is worked on and of every iteration."""

    def start_pair(self, title: str, number: int, count: int) -> None:
        """A pair begins: its name, its number, and how many there are."""
        ...

    def step(self, step: Step) -> None:
        """One iteration is done."""
        ...

    def stage(self, text: str) -> None:
        """Something other than an iteration begins."""
        ...


class PlainProgress:
    """Lines in the log: one when a level begins, and then one every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._title = ""

    def start_pair(self, title: str, number: int, count: int) -> None:
        """Say which pair begins."""
        self._title = title
        LOG.info("[%d/%d] %s", number, count, title)

    def step(self, step: Step) -> None:
        """Say how far it is, not more often than every few seconds."""
        now = time.monotonic()
        if step.iteration == 1 or now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            LOG.info("    %s", describe(step))

    def stage(self, text: str) -> None:
        """Say what begins."""
        LOG.info("    %s", text)


@dataclass(frozen=True)
class _Now:
    """What the live line shows."""

    title: str = ""
    number: int = 0
    count: int = 0
    doing: str = ""


class LiveProgress:
    """One line on the terminal that is drawn again and again."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._now = _Now()

    def start_pair(self, title: str, number: int, count: int) -> None:
        """Show the pair and log it."""
        self._now = _Now(title, number, count)
        LOG.info("[%d/%d] %s", number, count, title)

    def step(self, step: Step) -> None:
        """Show the iteration."""
        self._show(describe(step))

    def stage(self, text: str) -> None:
        """Show what begins."""
        self._show(text)

    def _show(self, doing: str) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_row(f"[bold]{self._now.number}/{self._now.count}[/bold]", self._now.title, doing)
        self._live.update(table)


def describe(step: Step) -> str:
    """Stage, level, iteration, loss and time left of the level, in words."""
    left = step.seconds / step.iteration * (step.iterations - step.iteration)
    return (
        f"{step.stage} level {step.level}/{step.levels}, iteration {step.iteration}/{step.iterations}, "
        f"loss {step.loss:.5f}, ETA {left:.0f} s"
    )


@contextmanager
def open_progress(console: Console) -> Iterator[Progress]:
    """A live display where the console is a terminal, plain lines where it is not."""
    if not console.is_terminal:
        yield PlainProgress()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveProgress(live)
