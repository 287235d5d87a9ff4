"""One run at a time does a pair, however many runs share an output folder."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bids_nodereg.bids.lock import hold, let_go
from bids_nodereg.errors import OutputError
from bids_nodereg.files import make_folder
from bids_nodereg.plain_text import printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from bids_nodereg.bids.lock import Held

_CLAIM = ".claim"
_PAUSE_S = 0.5
_LONGEST = 200
"""Characters of a claim that are read: a machine and a process."""

PATIENCE_S = 2 * 3600.0
"""How long another run is waited for that has a pair; no pair takes so long."""

LOG = logging.getLogger("nodereg")


class Claims:
    """The pairs that this run has taken, so that other runs leave them alone. To be used by `with`.

    The claims of a run that dies are free at once. Where the file system knows no locks every run takes
    every pair, which costs double work and no result: each file is whole, and the record in the sidecar
    tells which files belong together.

    Parameters
    ----------
    out_dir
        Root of the output data set.
    """

    def __init__(self, out_dir: Path) -> None:
        self._folder = out_dir / "logs"
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Claims:
        """Nothing is claimed yet."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Give back what an early end has left claimed."""
        for name in tuple(self._held):
            self.give_back(name)

    def take(self, name: str, *, patient: bool = False) -> bool:
        """Claim a pair by its name.

        Parameters
        ----------
        name
            Of the pair (:attr:`bids_nodereg.bids.derivatives.Outputs.claim`): one for both its directions,
            which write files of the same names.
        patient
            Wait while another run has it, for :data:`PATIENCE_S` at most.

        Returns
        -------
        bool
            False where another run has it.

        Raises
        ------
        OutputError
            If the output folder cannot be written.
        """
        path = self._folder / f".{name}{_CLAIM}"
        try:
            make_folder(self._folder)
            held = hold(path)
            if held is None and patient:
                held = _wait_for(path)
        except OSError as error:
            why = error.strerror or error
            msg = f"{path}: cannot be written ({why}). Check the free space and permissions."
            raise OutputError(msg) from error
        if held is None:
            return False
        _sign(held)
        with self._lock:
            self._held[name] = held
        return True

    def give_back(self, name: str) -> None:
        """Leave a pair to others, if it was taken."""
        with self._lock:
            held = self._held.pop(name, None)
        if held is not None:
            let_go(held)


def _wait_for(path: Path) -> Held | None:
    """Take a claim as soon as it is free; None when it is not in time."""
    LOG.info("    waiting for another run that has it (%s), %.0f min at most", _holder(path), PATIENCE_S / 60)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
        if held := hold(path):
            return held
    LOG.warning("    the other run (%s) has it still", _holder(path))
    return None


def _sign(held: Held) -> None:
    """Write into a claim who has it, for those who wait; another user's file stays as it is."""
    if held.descriptor is not None:
        with suppress(OSError):
            os.ftruncate(held.descriptor, 0)
            os.pwrite(held.descriptor, f"{platform.node()}, process {os.getpid()}".encode(), 0)


def _holder(path: Path) -> str:
    """Who has a claim, as far as the file tells."""
    try:
        with path.open(encoding="utf-8", errors="replace") as claim:
            told = claim.read(_LONGEST).strip()
    except OSError:
        told = ""
    return printable(told) or "it does not say who it is"


def remove_dead_claims(out_dir: Path) -> None:
    """Remove the files of claims whose runs are dead; where `logs` is a link, it is not followed."""
    folder = out_dir / "logs"
    if folder.is_symlink():
        return
    for path in folder.glob(f".*{_CLAIM}"):
        with suppress(OSError):
            if held := hold(path):
                let_go(held)
