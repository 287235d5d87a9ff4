"""Who makes the calls of an iteration: the host each time, or a recording of them on the GPU.

Hundreds of small kernels a pair wait for the host to launch them one by one. A CUDA graph is launched as a
whole. It is recorded after a few iterations made by the host, which let every library set itself up, and
reads and writes the same buffers. What is computed is the same.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import torch

from bids_nodereg.registration.kernels.choice import why_not_triton

if TYPE_CHECKING:
    from collections.abc import Callable

    from bids_nodereg.registration.iteration import Iteration
    from bids_nodereg.registration.settings import Execution

LEAST_WARM_UP = 3
"""Iterations made by the host before anything is recorded, and one of each variant at least."""


class Runner(Protocol):
    """Makes the iterations of one attempt, in order: evaluate, update, evaluate, ..."""

    @property
    def remark(self) -> str:
        """Why the host makes the calls though a recording was wanted; empty where nothing is to be said."""
        ...

    def evaluate(self, number: int) -> None:
        """Compute the objective of an iteration."""
        ...

    def update(self) -> None:
        """Take the step that follows it."""
        ...


class Recorder(Protocol):
    """Makes a recording of calls."""

    def record(self, calls: Callable[[], None]) -> Callable[[], None]:
        """Return what makes the calls that ``calls`` makes; itself it does not carry them out.

        Raises
        ------
        RuntimeError
            If they cannot be recorded.
        """
        ...


def runner_of(iteration: Iteration, recorder: Recorder | None) -> Runner:
    """Replay recordings where there is a recorder."""
    return Eager(iteration) if recorder is None else Replaying(iteration, recorder)


def recorder_on(device: torch.device, execution: Execution) -> Recorder | None:
    """The recorder of a device; None on the CPU, where it is not wanted, and where plain torch computes.

    Some of the plain kernels ask the device for numbers, which cannot be recorded.
    """
    if not execution.graphs or device.type != "cuda":
        return None
    return CudaRecorder() if why_not_triton(device) is None else None


class Eager:
    """The host makes every call."""

    remark = ""

    def __init__(self, iteration: Iteration) -> None:
        self.evaluate = iteration.evaluate
        self.update = iteration.update


class Replaying:
    """The host makes the first iterations, then one recording of each variant is replayed in turn.

    A recording holds the update too. Where a level ends, its last update is therefore made and not used.
    """

    def __init__(self, iteration: Iteration, recorder: Recorder) -> None:
        self.remark = ""
        self._iteration, self._recorder = iteration, recorder
        self._recordings: dict[int, Callable[[], None]] = {}
        self._host_calls = False
        self._warm_up = max(LEAST_WARM_UP, iteration.variants)

    def evaluate(self, number: int) -> None:
        """Replay the iteration with its update, or have the host evaluate it."""
        replay = None if number < self._warm_up or self.remark else self._recording_of(number)
        self._host_calls = replay is None
        if replay is None:
            self._iteration.evaluate(number)
        else:
            replay()

    def update(self) -> None:
        """Take the step, unless the recording has."""
        if self._host_calls:
            self._iteration.update()

    def _recording_of(self, number: int) -> Callable[[], None] | None:
        variant = number % self._iteration.variants

        def whole() -> None:
            self._iteration.evaluate(number)
            self._iteration.update()

        if variant not in self._recordings:
            try:
                self._recordings[variant] = self._recorder.record(whole)
            except RuntimeError as error:
                first_line = str(error).partition("\n")[0]
                self.remark = f"the iterations could not be recorded as CUDA graphs: {first_line}"
                return None
        return self._recordings[variant]


class CudaRecorder:
    """Records CUDA graphs on the current stream, which must not be the default one.

    The recordings share one pool of memory: they are replayed one after the other, and what outlives an
    iteration lies in buffers outside the pool.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, calls: Callable[[], None]) -> Callable[[], None]:
        """Capture the calls. Other threads and streams may go on meanwhile."""
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            calls()
        except BaseException:
            with suppress(RuntimeError):  # the capture is broken already, and the first error tells why
                graph.capture_end()
            raise
        graph.capture_end()
        replay: Callable[[], None] = graph.replay
        return replay
