"""A queue of its own for the work of one pair on a GPU."""

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

    CUDA graphs are recorded on such a stream, never on the default one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._stream is not None:  # what the caller has queued comes first
            self._stream.wait_stream(torch.cuda.current_stream(device))

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
