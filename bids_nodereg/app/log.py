"""Where messages go: the terminal, and the log file of the run."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.logging import RichHandler

from bids_nodereg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

LOG = logging.getLogger("nodereg")
LEVELS = {-1: logging.WARNING, 0: logging.INFO}


def log_to_console(console: Console, verbosity: int) -> None:
    """Send messages to the console: -1 warnings only, 0 what happens, 1 and more everything."""
    LOG.handlers.clear()
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, markup=False)
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    handler.setLevel(LEVELS.get(verbosity, logging.DEBUG))
    LOG.addHandler(handler)


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
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}). Check the free space and permissions."
        raise OutputError(msg) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()
