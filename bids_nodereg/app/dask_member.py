"""One worker of a dask cluster, as the driver sees it, and what is said of one that does not get ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bids_nodereg.errors import NodeRegError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Future

Task = TypeVar("Task")


class Member(Generic[Task]):
    """One worker.

    Parameters
    ----------
    address
        Where it listens.
    told
        What the scheduler tells of it.
    has_lasting_name
        Whether it has the same name when it is started again on the GPU that it had.
    """

    def __init__(self, address: str, told: Mapping[str, Any], *, has_lasting_name: bool) -> None:
        self.address = address
        self.host = str(told.get("host", address))
        name = str(told.get("name", address))
        self.name = address if name == address else f"{address} ({name})"
        self.place = name if has_lasting_name else address
        """What stays the same when it is started again on the GPU that it had, as far as can be known."""
        self.is_running = True
        self.is_ready = False
        """Whether it has said that it is ready."""
        self.future: Future[Any] | None = None
        """What it is doing: getting ready, or its task."""
        self.task: Task | None = None
        self.last: Task | None = None
        self.done = 0
        self.first_mib = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it may be given something."""
        return self.future is None and self.is_running


def as_refusal(worker: Member[Any], error: BaseException) -> NodeRegError:
    """Say why a worker did not get ready, as an error of ours."""
    if isinstance(error, NodeRegError):
        return type(error)(f"dask worker {worker.address}: {error}")
    return TemporaryError(f"dask worker {worker.address} did not get ready{why(error)}.")


def why(done: object) -> str:
    """What kept a task from its result, where that is more than the loss of its worker."""
    if done is None:
        return ""
    return f" [{type(done).__name__}: {str(done).partition(chr(10))[0][:300]}]"
