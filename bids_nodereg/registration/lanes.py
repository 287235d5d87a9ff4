"""Queues for the work of pairs on a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager


class Lane:
    """A CUDA stream, so that pairs need not wait for each other; on the CPU nothing of the kind.

    One pair after the other goes on a lane: torch keeps the memory that it has in reserve for each stream
    apart. CUDA graphs are recorded on such a stream, never on the default one.

    Parameters
    ----------
    device
        Where the pairs are.
    is_first
        Whether it is the first of its caller's lanes, which is the caller's own stream where that is not the
        default one.
    """

    def __init__(self, device: torch.device, *, is_first: bool = True) -> None:
        self._device = device
        self._stream = _stream(device, own=not is_first) if device.type == "cuda" else None

    def begin(self) -> None:
        """Take a new pair: what the caller has queued comes first."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def advance(self, work: Generator[None, None, Any]) -> None:
        """Do a work up to its next pause; raises StopIteration with its result, as the work does."""
        with self._here():
            next(work)

    def hand_over(self, result: object) -> None:
        """Let the caller's stream use the tensors of a finished record."""
        if self._stream is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for field in fields(result):  # type: ignore[arg-type]  # a record, as all results are
            value = getattr(result, field.name)
            if isinstance(value, torch.Tensor):
                value.record_stream(current)

    def _here(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def _stream(device: torch.device, *, own: bool) -> torch.cuda.Stream:
    current = torch.cuda.current_stream(device)
    is_default = current == torch.cuda.default_stream(device)
    return torch.cuda.Stream(device) if own or is_default else current
