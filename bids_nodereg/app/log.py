"""Where messages go: the terminal, and the log file of the run."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from rich.logging import RichHandler

from bids_nodereg.errors import OutputError
from bids_nodereg.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

LOG = logging.getLogger("nodereg")
MOST_BYTES = 50_000_000
"""Of the log file of a run: then it is kept beside a new one, and the one before that goes."""
LEVELS = {-1: logging.WARNING, 0: logging.INFO}
_PLACE: ContextVar[str] = ContextVar("place", default="")


@contextmanager
def lines_of(place: str) -> Iterator[None]:
    """Say before each message of this thread whose it is, as ``[2/4]``: several pairs may be under way."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def _with_place(record: logging.LogRecord) -> bool:
    """Put the pair's place where its lines are otherwise indented."""
    place = _PLACE.get()
    if place:
        record.msg = f"[{place}] {str(record.msg).removeprefix('    ')}"
    return True


class _Formatter(logging.Formatter):
    """Writes messages that neither command a terminal nor look like two."""

    def format(self, record: logging.LogRecord) -> str:
        """Indent all lines of a message but the first, so that a name cannot forge a line of its own."""
        return printable(super().format(record)).replace("\n", "\n    ")


def log_to_console(console: Console, verbosity: int) -> None:
    """Send messages to the console: -1 warnings only, 0 what happens, 1 and more everything."""
    LOG.handlers.clear()
    LOG.filters.clear()
    LOG.addFilter(_with_place)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, markup=False)
        handler.setFormatter(_Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    handler.setLevel(LEVELS.get(verbosity, logging.DEBUG))
    LOG.addHandler(handler)


def log_to(tell: Callable[[int, str], None]) -> None:
    """Send messages of a worker process, with their levels, to somebody who logs them."""
    LOG.handlers.clear()
    LOG.filters.clear()
    LOG.addFilter(_with_place)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    LOG.addHandler(_Teller(tell))


class _Teller(logging.Handler):
    """Hands messages on."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one message on; where nobody listens any more, the process is about to end."""
        with suppress(OSError):
            self._tell(record.levelno, self.format(record))


class _LogFile(RotatingFileHandler):
    """A log of bounded size. A disk that is full costs lines of it, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is Python's
        """Say nothing: what cannot be logged has been said on the console."""

    def close(self) -> None:
        """Close the file, also where its last lines cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Also keep everything in the log file of the run.

    Raises
    ------
    OutputError
        If the log file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, maxBytes=MOST_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}). Check the free space and permissions."
        raise OutputError(msg) from error
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
