"""What a run says while it works: live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from bids_nodereg.registration.optimise import Step

LOG = logging.getLogger("nodereg")
SECONDS_BETWEEN_LINES = 10.0


class PairProgress(Protocol):
    """Hears how far one pair is; several pairs may be under way at a time, each with its own."""

    def stage(self, text: str) -> None:
        """Something other than an iteration begins."""
        ...

    def step(self, step: Step) -> None:
        """One iteration is done."""
        ...

    def end(self) -> None:
        """Nothing more comes from this pair."""
        ...


class Progress(Protocol):
    """Hears which pairs are begun."""

    def begin(self, title: str, number: int, count: int) -> PairProgress:
        """A pair begins: its name, its number, and how many there are."""
        ...


class PlainProgress:
    """Lines in the log: one when a level begins, and then one every few seconds."""

    def begin(self, title: str, number: int, count: int) -> PairProgress:
        """Say which pair begins."""
        LOG.info("[%d/%d] %s", number, count, title)
        return _PlainPair()


class _PlainPair:
    """One pair's lines; the handlers of the log say whose they are."""

    def __init__(self) -> None:
        self._last = 0.0

    def stage(self, text: str) -> None:
        """Say what begins."""
        LOG.info("    %s", text)

    def step(self, step: Step) -> None:
        """Say how far it is, not more often than every few seconds."""
        now = time.monotonic()
        if step.iteration == 1 or now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            LOG.info("    %s", describe(step))

    def end(self) -> None:
        """Need nothing."""


class LiveProgress:
    """A line on the terminal for each pair under way, drawn again and again."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._rows: dict[int, tuple[str, str, str]] = {}

    def begin(self, title: str, number: int, count: int) -> PairProgress:
        """Show the pair and log it."""
        LOG.info("[%d/%d] %s", number, count, title)
        place = f"[bold]{number}/{count}[/bold]"
        return _LivePair(lambda doing: self._show(number, (place, title, doing)))

    def _show(self, number: int, row: tuple[str, str, str]) -> None:
        """Show what a pair does, or no longer show one that does nothing."""
        with self._lock:
            self._rows[number] = row
            self._rows = {each: known for each, known in sorted(self._rows.items()) if known[2]}
            table = Table.grid(padding=(0, 2))
            for known in self._rows.values():
                table.add_row(*known)
            self._live.update(table)


class _LivePair:
    """One pair's line."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.stage = show
        self._show = show

    def step(self, step: Step) -> None:
        """Show the iteration."""
        self._show(describe(step))

    def end(self) -> None:
        """Take the line away."""
        self._show("")


class StoppingProgress:
    """Tells on what it hears, and ends the work of a thread once the run is to stop.

    A signal interrupts the main thread alone; what works beside it asks here between its parts.

    Parameters
    ----------
    heard
        Who is told.
    stop
        Set when the run is to end.
    """

    def __init__(self, heard: PairProgress, stop: threading.Event) -> None:
        self._heard = heard
        self._stop = stop

    def stage(self, text: str) -> None:
        """Tell what begins, or do not begin it."""
        self._check()
        self._heard.stage(text)

    def step(self, step: Step) -> None:
        """Tell the iteration, or end."""
        self._check()
        self._heard.step(step)

    def end(self) -> None:
        """Tell that nothing more comes."""
        self._heard.end()

    def _check(self) -> None:
        if self._stop.is_set():
            msg = "the run was stopped"
            raise KeyboardInterrupt(msg)


def describe(step: Step) -> str:
    """Stage, level, iteration, loss and time left of the level, in words."""
    left = step.seconds / step.iteration * (step.iterations - step.iteration)
    return (
        f"{step.stage} level {step.level}/{step.levels}, iteration {step.iteration}/{step.iterations}, "
        f"loss {step.loss:.5f}, ETA {left:.0f} s"
    )


@contextmanager
def open_progress(console: Console) -> Iterator[Progress]:
    """A live display where the console is a terminal, plain lines where it is not.

    Plain lines too where the system gives no thread that draws the display.
    """
    live = Live(console=console, refresh_per_second=4, transient=True)
    if not console.is_terminal or not _is_drawn(live):
        yield PlainProgress()
        return
    with live:
        yield LiveProgress(live)


def _is_drawn(live: Live) -> bool:
    """Start a display; whether the system gave it a thread."""
    try:
        live.start()
    except RuntimeError:
        live.stop()
        return False
    return True
