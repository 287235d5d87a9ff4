"""One run at a time does a pair, however many runs share an output folder."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bids_nodereg.bids.lock import hold, let_go
from bids_nodereg.errors import OutputError
from bids_nodereg.files import make_folder

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from bids_nodereg.bids.lock import Held

_CLAIM = ".claim"
_PAUSE_S = 0.5


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
            Of the pair.
        patient
            Wait as long as another run has it.

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
            while held is None and patient:
                time.sleep(_PAUSE_S)
                held = hold(path)
        except OSError as error:
            why = error.strerror or error
            msg = f"{path}: cannot be written ({why}). Check the free space and permissions."
            raise OutputError(msg) from error
        if held is None:
            return False
        with self._lock:
            self._held[name] = held
        return True

    def give_back(self, name: str) -> None:
        """Leave a pair to others, if it was taken."""
        with self._lock:
            held = self._held.pop(name, None)
        if held is not None:
            let_go(held)


def remove_dead_claims(out_dir: Path) -> None:
    """Remove the files of claims whose runs are dead."""
    for path in (out_dir / "logs").glob(f".*{_CLAIM}"):
        with suppress(OSError):
            if held := hold(path):
                let_go(held)
