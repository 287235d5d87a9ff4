"""The iteration over buffers: it asks for no number, recordings of it are replayed, precision is bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bids_nodereg.registration import graphs, kernels, optimise
from bids_nodereg.registration.draws import Draws
from bids_nodereg.registration.graphs import Replaying, runner_of
from bids_nodereg.registration.intensity import ORIGINS
from bids_nodereg.registration.iteration import Iteration, level_problem, velocity_field
from bids_nodereg.registration.precision import reduced
from bids_nodereg.registration.register import register
from bids_nodereg.registration.settings import (
    DescriptorSettings,
    Execution,
    Level,
    RegistrationSettings,
    SolverSettings,
    VelocitySettings,
)
from tests.registration.fields import known_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ALONE = DescriptorSettings(lmi_weight=0.0)
SETTINGS = RegistrationSettings(levels=(Level(4, 12),), descriptor=ALONE)
WITH_INFORMATION = replace(SETTINGS, levels=(Level(2, 30),), descriptor=DescriptorSettings())


def iteration_of(settings: RegistrationSettings, rate: float = 1e-2) -> Iteration:
    pair, _ = known_pair()
    shape = optimise.velocity_lattice(pair.fixed.shape[2:], settings.levels[0], settings.velocity.lattice)
    problem = level_problem(pair, shape, 0, settings)
    with Draws(0).here():
        velocity = velocity_field(pair.fixed.new_zeros(1, 3, *shape), problem.level, settings, Execution())
    return Iteration(velocity, problem, settings, rate, problem.level.iterations)


class NoQuestions(TorchDispatchMode):
    """Refuses what makes the host wait for a device, or what the host would have to copy there."""

    REFUSED = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "lift_fresh",
        "unique",
        "is_nonzero",
        "equal",
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).split(".")[1]
        by_mask = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in self.REFUSED or by_mask:
            msg = f"{func} in an iteration"
            raise AssertionError(msg)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, descriptor=DescriptorSettings(name="mind", recompute=True, lmi_weight=0.0)),
        replace(
            SETTINGS, velocity=VelocitySettings(name="nodeo"), solver=SolverSettings("euler", 3, "adjoint")
        ),
        replace(SETTINGS, solver=SolverSettings("squaring", 4, "backprop")),
        replace(SETTINGS, descriptor=DescriptorSettings(name="lncc")),
    ],
    ids=["default", "recompute", "paper", "squaring", "lncc"],
)
def test_an_iteration_asks_the_device_for_nothing(
    settings: RegistrationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kernels in torch, whose calls the mode sees; those of a GPU are tested there."""
    monkeypatch.setattr(kernels, "_for", lambda _tensor: kernels.reference)
    iteration = iteration_of(settings)
    with NoQuestions():
        for number in range(2):
            iteration.evaluate(number)
            iteration.update()
    first, second = iteration.journal.read(0, 2)
    assert math.isfinite(second.loss)
    assert first.loss != second.loss


def test_the_mode_of_that_test_notices_questions() -> None:
    with NoQuestions(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(torch.ones(1))
    ones, mask = torch.ones(3), torch.ones(3, dtype=torch.bool)
    with NoQuestions(), pytest.raises(AssertionError, match="index"):
        ones[mask]


def test_what_outlives_an_iteration_never_moves() -> None:
    iteration = iteration_of(SETTINGS)
    kept = (iteration.best, iteration.journal.table, iteration.journal.place)
    places = [tensor.data_ptr() for tensor in kept]

    for number in range(4):
        iteration.evaluate(number)
        iteration.update()

    assert [tensor.data_ptr() for tensor in kept] == places
    assert int(iteration.journal.place) == 4
    assert iteration.best.any()


def test_an_update_follows_an_evaluation() -> None:
    with pytest.raises(RuntimeError, match="nothing was evaluated"):
        iteration_of(SETTINGS).update()


def test_nothing_counts_after_a_loss_that_was_none() -> None:
    """A GPU is asked once a window: iterations that follow the fault have been made by then."""
    iteration = iteration_of(SETTINGS)
    distance = iteration._problem.distance
    faulty = replace(
        iteration._problem,
        distance=lambda u, number: torch.full((), math.nan) if number == 3 else distance(u, number),
    )
    iteration._problem = faulty
    for number in range(6):
        iteration.evaluate(number)
        if number == 2:
            best = iteration.best.clone()
        if number != 3:  # the weights stay finite, so that later losses are
            iteration.update()

    losses = [row.loss for row in iteration.journal.read(0, 6)]
    assert math.isnan(losses[3])
    assert math.isfinite(losses[5])
    assert losses[5] < min(losses[:3])
    assert torch.equal(iteration.best, best)


@dataclass
class Tape:
    """A recorder without a GPU: it carries the calls out when they are replayed, or refuses."""

    refuses_after: float = math.inf
    recordings: int = field(default=0, init=False)
    replays: int = field(default=0, init=False)

    def record(self, calls: Callable[[], None]) -> Callable[[], None]:
        if self.recordings >= self.refuses_after:
            msg = "operation not permitted when stream is capturing\nand more lines"
            raise RuntimeError(msg)
        self.recordings += 1

        def replay() -> None:
            self.replays += 1
            calls()

        return replay


@pytest.mark.parametrize(("settings", "variants"), [(SETTINGS, 1), (WITH_INFORMATION, ORIGINS)])
def test_each_variant_is_recorded_once_and_replayed(settings: RegistrationSettings, variants: int) -> None:
    by_host, replayed = iteration_of(settings), iteration_of(settings)
    tape = Tape()
    runners = (runner_of(by_host, None), runner_of(replayed, tape))
    count = settings.levels[0].iterations - 1
    for runner in runners:
        for number in range(count):
            runner.evaluate(number)
            runner.update()

    assert tape.recordings == variants
    assert tape.replays == count - max(3, variants)
    assert by_host.journal.read(0, count) == replayed.journal.read(0, count)
    assert torch.equal(by_host.best, replayed.best)
    assert not any(runner.remark for runner in runners)


def test_where_recording_fails_the_host_goes_on_and_says_why() -> None:
    by_host, replayed = iteration_of(SETTINGS), iteration_of(SETTINGS)
    runner = Replaying(replayed, Tape(refuses_after=0))
    for each in (runner_of(by_host, None), runner):
        for number in range(7):
            each.evaluate(number)
            each.update()

    assert torch.equal(by_host.best, replayed.best)
    assert runner.remark.endswith("as CUDA graphs: operation not permitted when stream is capturing")


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Record, and read the journal where windows end."""
    tape = Tape()
    monkeypatch.setattr(optimise, "recorder_on", lambda *_: tape)
    monkeypatch.setattr(
        optimise, "_is_read_after", lambda count, _device, settings: count % settings.convergence_window == 0
    )
    return tape


@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_the_way_of_a_gpu_gives_the_same_registration(
    tolerance: float, as_on_a_gpu: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(
        SETTINGS, levels=(Level(4, 30), Level(2, 5)), convergence_window=4, convergence_tolerance=tolerance
    )
    heard: list[int] = []
    there = register(known_pair()[0], settings, lambda step: heard.append(step.iteration))
    monkeypatch.undo()
    here = register(known_pair()[0], settings)

    assert as_on_a_gpu.replays > 0
    assert torch.equal(here.forward, there.forward)
    assert [replace(step, seconds=0.0) for step in here.history] == [
        replace(step, seconds=0.0) for step in there.history
    ]
    coarse = sum(step.level == 1 for step in here.history)
    assert coarse == 30 if tolerance == 0 else coarse < 30
    assert coarse % 4 == 0 or coarse == 30
    assert heard == [*range(1, coarse + 1), *range(1, 6)]
    seconds = [step.seconds for step in there.history if step.level == 1]
    assert seconds == sorted(seconds)


def test_what_could_not_be_recorded_once_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tapes: list[Tape] = []

    def recorder(_device: torch.device, execution: Execution) -> Tape | None:
        tapes.extend([Tape(refuses_after=0)] if execution.graphs else [])
        return tapes[-1] if execution.graphs else None

    monkeypatch.setattr(optimise, "recorder_on", recorder)
    settings = replace(SETTINGS, levels=(Level(4, 6), Level(4, 6), Level(2, 5)))
    found = register(known_pair()[0], settings)

    assert len(tapes) == 1
    assert len(found.remarks) == 1


def test_nothing_is_recorded_where_plain_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "CudaRecorder", Tape)
    card = torch.device("cuda")
    for reason, recorded in ((None, True), ("no compiler", False)):
        monkeypatch.setattr(graphs, "why_not_triton", lambda _device, reason=reason: reason)
        assert (graphs.recorder_on(card, Execution()) is not None) == recorded
    assert graphs.recorder_on(card, Execution(graphs=False)) is None
    assert graphs.recorder_on(torch.device("cpu"), Execution()) is None


@lru_cache(maxsize=2)
def loss_and_gradient(dtype: torch.dtype) -> tuple[float, Tensor]:
    """After a few iterations in float32: the objective, and its slope with respect to the latent grid."""
    torch.set_num_threads(1)
    iteration = iteration_of(replace(SETTINGS, levels=(Level(2, 20),)))
    for number in range(8):
        iteration.evaluate(number)
        iteration.update()
    networks = iteration._field.networks
    iteration._field.networks = reduced(networks, dtype)
    iteration.evaluate(8)
    iteration._optimiser.forget_gradients()
    iteration._loss.backward()  # type: ignore[union-attr]
    (row,) = iteration.journal.read(8, 9)
    return row.loss, networks[0].latent.grad.clone()


def test_a_network_in_bfloat16_changes_loss_and_gradient_little() -> None:
    exact, slope = loss_and_gradient(torch.float32)
    near, near_slope = loss_and_gradient(torch.bfloat16)

    assert near != exact
    assert near == pytest.approx(exact, rel=2e-3)
    assert near_slope.dtype == torch.float32
    assert float((near_slope - slope).norm()) < 0.05 * float(slope.norm())
    cosine = torch.nn.functional.cosine_similarity(near_slope.flatten(), slope.flatten(), dim=0)
    assert float(cosine) > 0.995


def test_float16_would_lose_gradients() -> None:
    """Why the network does not compute in float16: most slopes at the velocity are too small for it.

    The mean over a million voxels makes them about a million times smaller than in a sum.
    """
    _, slope = loss_and_gradient(torch.float32)
    voxels_here, voxels_at_1_mm = 8 * slope.numel() / SETTINGS.velocity.channels, 3.9e6
    expected = slope.abs() * voxels_here / voxels_at_1_mm
    smallest = 2.0**-24
    assert float((expected < smallest).double().mean()) > 0.5
