"""Marks of the pairs that are under way, so that a run that is killed leaves word of what killed it.

A pair that ends takes its mark away, well or not; so does a run that ends by a signal. What stays is of a
process that had no time for anything. See docs/reliability.md for what the next runs do then.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from bids_nodereg.errors import NodeRegError
from bids_nodereg.files import write_json
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_MARK = ".begun"
_KEY = "Begun"
_RUN = "Run"

APART_AFTER = 2
"""Deaths after which a pair is done in a process of its own."""
MOST_DEATHS = 3
"""Deaths after which a pair is not tried, and recorded as failed; the run after that tries it again."""


class Begun:
    """The marks of a run, and what those of dead runs say. To be used by `with`.

    Parameters
    ----------
    out_dir
        Root of the output data set.
    run_id
        Name of the run, which its marks carry; its worker processes give the same.
    """

    def __init__(self, out_dir: Path, run_id: str = "") -> None:
        self._folder = out_dir / "logs"
        self._run_id = run_id
        self._own: set[str] = set()
        self._lock = Lock()

    def __enter__(self) -> Begun:
        """Nothing is begun yet."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Take away the marks of what an early end has left: the run was told to end, and did."""
        for name in tuple(self._own):
            self.end(name)

    def deaths(self) -> dict[str, int]:
        """How often each pair was under way when a run died; or is now, where another run has it."""
        paths = self._folder.glob(f".*{_MARK}") if not self._folder.is_symlink() else ()
        return {path.name.removeprefix(".").removesuffix(_MARK): _count(path) for path in paths}

    def adopt(self, name: str) -> None:
        """Answer for the mark of a pair from now on; its claim must be held, so whoever left one is dead."""
        with self._lock:
            self._own.add(name)

    def begin(self, name: str) -> None:
        """Leave a mark for a pair that was adopted; it is on the disk when this returns.

        Raises
        ------
        NodeRegError
            If the pair was under way :data:`MOST_DEATHS` times when a run died.
        OutputError
            If the mark cannot be written.
        """
        path = self._path(name)
        deaths = _count(path)
        if deaths >= MOST_DEATHS:
            msg = (
                f"{name}: {deaths} runs died over it, so it is left out of this one. Look for the kernel's "
                "out-of-memory messages (dmesg, or those of the scheduler), and at its images; the next run "
                "tries it again."
            )
            raise NodeRegError(msg)
        write_json(path, {_KEY: deaths + 1, _RUN: self._run_id})

    def end(self, name: str) -> None:
        """Take away the mark of a pair that was adopted: it has ended."""
        with self._lock:
            is_own = name in self._own
            self._own.discard(name)
        if is_own:
            self._remove(name)

    def remove_of_worker(self, name: str) -> None:
        """Take away the mark of a pair whose process of this run was seen to die, or was ended from here.

        Its claim must be held. A mark of another run stays: this one had not begun the pair.
        """
        if _run_of(self._path(name)) == self._run_id:
            self._remove(name)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f".{name}{_MARK}"


def _count(path: Path) -> int:
    """Number in a mark; 0 where there is none, and 1 for one that cannot be read."""
    try:
        told = read_json(path, is_ours=True)
        return max(int(told[_KEY]), 1)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def _run_of(path: Path) -> str | None:
    """Name of the run that left a mark; None where there is none, or it does not say."""
    try:
        return str(read_json(path, is_ours=True)[_RUN])
    except (OSError, ValueError, KeyError, TypeError):
        return None
