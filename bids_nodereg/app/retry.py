"""Which troubles may pass, and what is done then: see docs/reliability.md."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Literal

from bids_nodereg.errors import ShortOfMemoryError, TemporaryError
from bids_nodereg.files import system_error

if TYPE_CHECKING:
    from collections.abc import Iterator

Trouble = Literal[
    "", "another run", "memory", "device memory", "device lost", "gpu lost", "storage", "worker lost"
]
"""Why a pair did not end that may be otherwise the next time; empty for an error that would come again."""

PAUSE_S = 5.0
"""Least time between the tries of a pair whose trouble was the storage."""

_STORAGE = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "ENOLCK")
    if hasattr(errno, name)
}
"""What a network file system answers while its server is away; no full disk, which stays full."""

_ROOM = {errno.EAGAIN, errno.ENOMEM}
"""What the system answers where it has no room for another process, thread or page."""

_HOST_MEMORY = ("DefaultCPUAllocator", "allocate memory", "bad_alloc", "can't start new thread")
_WORDS: dict[Trouble, str] = {
    "memory": "out of memory. Give the run more, use fewer --n-procs, or a coarser --working-resolution.",
    "device memory": "out of GPU memory. Take a GPU with more, one that nobody else uses, or --device cpu.",
    "device lost": "the GPU was lost. See the messages of its driver (nvidia-smi, dmesg), and run again.",
    "gpu lost": "its GPU was lost, and those that are left may do it. See the messages of the driver "
    "(nvidia-smi, dmesg), and run again.",
    "storage": "the storage did not answer. Run again when the file system is well.",
    "worker lost": "its process was killed twice, or could not be started. Look for the kernel's "
    "out-of-memory messages (dmesg), and at the limits (ulimit -a).",
}
_CODES: dict[Trouble, int] = dict.fromkeys(("device lost", "gpu lost", "storage"), TemporaryError.exit_code)


def trouble_of(error: BaseException) -> Trouble:
    """Say which trouble that may pass an error comes from, whatever it was wrapped into."""
    return next((found for each in _chain(error) if (found := _of_one(each))), "")


def words_of(trouble: Trouble) -> str:
    """Say in words what went wrong and what to do, where the error itself speaks to programmers."""
    return _WORDS[trouble]


def code_of(trouble: Trouble) -> int:
    """Exit code of a pair that ended by this trouble, and whose error has none itself."""
    return _CODES.get(trouble, 1)


def may_pass(trouble: Trouble) -> bool:
    """Whether a pair that ended with a trouble is worth another try in this run.

    A lost GPU is lost for the whole process.
    """
    return trouble not in {"", "device lost"}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it comes from."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)


def _of_one(error: BaseException) -> Trouble:
    if isinstance(error, (MemoryError, ShortOfMemoryError)) or system_error(error) in _ROOM:
        return "memory"
    if system_error(error) in _STORAGE:
        return "storage"
    return _of_library(str(error)) if isinstance(error, RuntimeError) else ""


def _of_library(text: str) -> Trouble:
    """What an error of torch, ITK or HDF5 is about, which have one class for all."""
    if "out of memory" in text and ("CUDA" in text or "GPU" in text):
        return "device memory"
    if "CUDA error" in text or "cuDNN error" in text:
        return "device lost"  # whatever it was: nothing more can be computed there in this process
    return "memory" if any(words in text for words in _HOST_MEMORY) else ""
