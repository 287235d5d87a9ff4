"""The inside of a worker process: it does one task after the other and tells its parent."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.log import log_to
from bids_nodereg.errors import NodeRegError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


def serve(pipe: Connection, prepare: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Do the tasks that come, until the pipe ends or a SIGTERM comes.

    Parameters
    ----------
    pipe
        Brings tasks; takes ``("log", level, text)``, ``("ready",)`` and ``("result", result, resident MiB)``.
    prepare, arguments
        See :class:`bids_nodereg.app.workers.Work`.
    """
    _heed_the_parent_alone()
    lock = threading.Lock()

    def tell(*message: object) -> None:
        with lock:  # lines come from several threads
            pipe.send(message)

    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        log_to(lambda level, text: tell("log", level, text))
        do = _prepared(prepare, arguments, tell)
        tell("ready")
        while True:
            result = do(pipe.recv())
            tell("result", result, resident_mib())


def _prepared(
    prepare: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], tell: Callable[..., None]
) -> Callable[[Any], Any]:
    """Make ready; what is wrong with the machine is said in the log of the run.

    Raises
    ------
    SystemExit
        If it is.
    """
    try:
        return prepare(*arguments)
    except NodeRegError as error:
        tell("log", logging.ERROR, f"A worker process cannot begin: {error}")
        raise SystemExit(1) from error


def resident_mib() -> float:
    """Resident memory of this process now, in MiB; 0 where the system does not tell."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return 0.0


def _heed_the_parent_alone() -> None:
    """Leave signals that are meant for all of the run to the parent, and end with it."""
    for name in ("SIGINT", "SIGUSR1"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(TemporaryError.exit_code)
