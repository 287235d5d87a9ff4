"""Register one pair, or many, on its working grid: the door to this room."""

from __future__ import annotations

import traceback
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.diffeomorphism import Repair, diffeomorphic_maps
from bids_nodereg.registration.guard import Rescue, refuse_unusable
from bids_nodereg.registration.lanes import Lane
from bids_nodereg.registration.optimise import Step, optimising
from bids_nodereg.registration.settings import Execution
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from torch import Tensor

    from bids_nodereg.registration.image_pair import ImagePair
    from bids_nodereg.registration.settings import DescriptorSettings, RegistrationSettings


@dataclass(frozen=True)
class Registration:
    """The result for one pair; tensors on the device of the images.

    Attributes
    ----------
    forward
        Displacement ``1 3 i j k`` in voxels of the working grid: fixed points to moving points.
    inverse
        The same for the inverse map.
    velocity
        The final velocity field, ``n 3 i j k`` in voxels of its own lattice per unit time.
    history
        One record per iteration.
    repair
        What had to be done against folds.
    distance_before, distance_after
        Descriptor distance at half the working resolution, without and with the forward map. It is
        what was optimised, so it tells that the optimisation worked, not that the result is right.
    rescues
        What was done where a loss was not finite; see :mod:`.guard`.
    remarks
        What is to be said of the way it was computed.
    """

    forward: Tensor
    inverse: Tensor
    velocity: Tensor
    history: tuple[Step, ...]
    repair: Repair
    distance_before: float
    distance_after: float
    rescues: tuple[Rescue, ...] = ()
    remarks: tuple[str, ...] = ()


Failure = Exception
"""What may stop one pair and no other: images without numbers (FloatingPointError), too little memory."""


def register(
    pair: ImagePair,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None] = lambda _step: None,
    execution: Execution = Execution(),  # noqa: B008 - a frozen record
) -> Registration:
    """Find the diffeomorphism ``phi`` for which ``M o phi`` resembles ``F`` in structure.

    Parameters
    ----------
    pair
        Fixed and moving image and masks, on one isotropic working grid, affinely aligned.
    settings
        The whole choice; see :mod:`bids_nodereg.registration.settings`.
    on_step
        Hears of every iteration; see :func:`.optimise.optimise`.
    execution
        How the device is used.

    Raises
    ------
    FloatingPointError
        If a voxel of an image is not a finite number, or no voxel of one counts.
    ValueError
        If the images do not lie on one grid.
    """
    (result,) = register_many([pair], settings, lambda _number, step: on_step(step), 1, execution)
    if isinstance(result, Exception):
        raise result
    return result


def register_many(
    pairs: Iterable[ImagePair],
    settings: RegistrationSettings,
    on_step: Callable[[int, Step], None] = lambda _number, _step: None,
    together: int = 2,
    execution: Execution = Execution(),  # noqa: B008 - a frozen record
) -> Iterator[Registration | Failure]:
    """Register pairs, several at a time where they are on a GPU.

    Each pair has a stream of its own there. The host queues a window of iterations of one pair, and while the
    GPU works on them, a window of the next. On the CPU one pair comes after the other, and uses all threads.
    Either way each pair's numbers are those it has alone.

    Parameters
    ----------
    pairs
        As :func:`register` takes them; the next one is asked for when there is room for it.
    settings
        The same for all.
    on_step
        Hears of every iteration, with the number of the pair, from 0.
    together
        Most pairs at a time on a GPU; see :func:`.memory.peak_bytes` for what each of them needs.
    execution
        How the device is used.

    Yields
    ------
    Registration or Exception
        The result of each pair, or the error that ended it, such as a FloatingPointError where its images
        are of no use; in the order of the pairs. No error of one pair ends another.
    """
    active: deque[_Work] = deque()
    lanes: list[Lane] = []
    done: dict[int, Registration | Failure] = {}
    waiting = enumerate(pairs)
    given, exhausted = 0, False
    while active or not exhausted:
        room = together if not active or active[0].on_gpu else 1
        if not exhausted and len(active) < room:
            number, pair = next(waiting, (-1, None))
            exhausted = pair is None
            if pair is not None:
                lane = lanes.pop() if lanes else Lane(pair.fixed.device, is_first=not active)
                active.append(_Work(number, pair, settings, on_step, execution, lane))
            continue
        work = active.popleft()
        if work.is_done():
            done[work.number] = work.result
            lanes.append(work.lane)
        else:
            active.append(work)
        while given in done:
            yield done.pop(given)
            given += 1


class _Work:
    """A pair that is being registered."""

    result: Registration | Failure

    def __init__(
        self,
        number: int,
        pair: ImagePair,
        settings: RegistrationSettings,
        on_step: Callable[[int, Step], None],
        execution: Execution,
        lane: Lane,
    ) -> None:
        self.number = number
        self.on_gpu = pair.fixed.device.type == "cuda"
        self.lane = lane
        lane.begin()
        self._steps = _registering(pair, settings, lambda step: on_step(number, step), execution)

    def is_done(self) -> bool:
        """Go on to the next pause; whether the end was reached."""
        try:
            self.lane.advance(self._steps)
        except StopIteration as end:
            self.lane.hand_over(end.value)
            self.result = end.value
            return True
        except Exception as error:  # noqa: BLE001 - whatever it is, the other pairs must go on
            traceback.clear_frames(error.__traceback__)  # they hold the tensors of the pair
            self.result = error
            return True
        return False


def _registering(
    pair: ImagePair,
    settings: RegistrationSettings,
    on_step: Callable[[Step], None],
    execution: Execution,
) -> Generator[None, None, Registration]:
    """The registration of one pair, with a pause each time before the host waits for the device."""
    history: list[Step] = []

    def record(step: Step) -> None:
        history.append(step)
        on_step(step)

    if pair.moving.shape != pair.fixed.shape:  # the compiled loops read both by the shape of one
        shapes = tuple(pair.fixed.shape), tuple(pair.moving.shape)
        msg = f"register: both images must lie on one grid, got the shapes {shapes[0]} and {shapes[1]}"
        raise ValueError(msg)
    refuse_unusable(pair)
    pair = pair.without_excluded().contiguous()
    found = yield from optimising(pair, settings, record, execution)
    maps = diffeomorphic_maps(found.velocity, pair.fixed.shape[2:], settings.final_steps)
    before, after = _distances(pair, maps.forward, settings.descriptor)
    return Registration(
        forward=maps.forward,
        inverse=maps.inverse,
        velocity=maps.velocity,
        history=tuple(history),
        repair=maps.repair,
        distance_before=before,
        distance_after=after,
        rescues=found.rescues,
        remarks=found.remarks,
    )


def _distances(pair: ImagePair, forward: Tensor, descriptor: DescriptorSettings) -> tuple[float, float]:
    """Descriptor distance without and with a displacement, at half the resolution."""
    descriptor = replace(descriptor, lmi_weight=0.0)
    coarse = pair.shrunk(2)
    shape = coarse.fixed.shape[2:]
    distance = similarity_of(coarse, descriptor).forward
    with torch.no_grad():
        after = resize_vectors(forward, shape)
        return float(distance(torch.zeros_like(after))), float(distance(after))
