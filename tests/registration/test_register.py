"""The optimisation and the door: small pairs of two contrasts with a known map between them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.diffeomorphism import flow_on, folded_cells
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.optimise import (
    Step,
    optimise,
    velocity_lattice,
)
from bids_nodereg.registration.register import Registration, register
from bids_nodereg.registration.settings import (
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
    SolverSettings,
    VelocitySettings,
)
from bids_nodereg.registration.similarity import similarity_of
from bids_nodereg.registration.velocity import VELOCITIES
from bids_nodereg.registration.warp import sample
from tests.registration.fields import PAIR_SHAPE as SHAPE
from tests.registration.fields import inverse_consistency, known_pair, other_contrast

ALONE = DescriptorSettings(lmi_weight=0.0)
GOOD = RegistrationSettings(
    levels=(Level(2, 60), Level(1, 40)), descriptor=ALONE, weights=LossWeights(gradient=0.02)
)
SHORT = RegistrationSettings(levels=(Level(2, 6), Level(1, 4)), learning_rate=1e-2)


@lru_cache(maxsize=1)
def good_result() -> Registration:
    return register(known_pair()[0], GOOD)


def endpoint_error(displacement: Tensor) -> float:
    pair, truth = known_pair()
    return float((displacement - truth).norm(dim=1, keepdim=True)[pair.fixed_mask > 0].mean())


def test_a_known_flow_is_recovered_across_contrasts() -> None:
    _, truth = known_pair()

    result = good_result()

    before = endpoint_error(torch.zeros_like(truth))
    assert before > 0.8
    assert endpoint_error(result.forward) < 0.4 * before


def test_the_warped_image_regains_the_structure() -> None:
    pair, _ = known_pair()
    points = identity(SHAPE, pair.fixed)

    warped = sample(pair.moving, points + good_result().forward)

    inside = pair.fixed_mask > 0
    truth = other_contrast(pair.fixed)[inside]
    start, end = ((image[inside] - truth).square().mean() for image in (pair.moving, warped))
    assert float(end) < 0.25 * float(start)


def test_the_maps_do_not_fold_and_undo_each_other() -> None:
    result = good_result()

    assert result.forward.shape == result.inverse.shape == (1, 3, *SHAPE)
    assert not folded_cells(result.forward).any()
    assert not folded_cells(result.inverse).any()
    error = inverse_consistency(result.forward, result.inverse)
    assert float(error.mean()) < 0.01
    assert float(error.max()) < 0.1
    for axis in (2, 3, 4):
        for end in (0, -1):
            assert not result.forward.select(axis, end).any()


def test_the_maps_are_the_flow_of_the_returned_velocity() -> None:
    result = good_result()

    assert result.velocity.shape[2:] == velocity_lattice(SHAPE, GOOD.levels[-1], GOOD.velocity.lattice)
    assert torch.equal(result.forward, flow_on(result.velocity, SHAPE, GOOD.final_steps))
    assert result.repair.folded_before == 0


def test_the_history_falls_and_numbers_every_iteration() -> None:
    history = good_result().history

    for level in (1, 2):
        steps = [step for step in history if step.level == level]
        assert [step.iteration for step in steps] == list(range(1, len(steps) + 1))
        losses = [step.loss for step in steps]
        assert min(losses[-5:]) < losses[0]
        rises = sum(late > early for early, late in pairwise(losses))
        assert rises < 0.35 * len(losses)
    coarse = [step.loss for step in history if step.level == 1]
    assert coarse[-1] < 0.7 * coarse[0]
    assert {step.stage for step in history} == {"deformable"}
    for step in history:
        weights = GOOD.weights
        total = step.similarity + weights.folding * step.folding + weights.gradient * step.gradient
        assert step.loss == pytest.approx(total + weights.magnitude * step.magnitude, rel=1e-5)
        assert step.levels == 2


@pytest.mark.parametrize("name", sorted(VELOCITIES))
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    pair, _ = known_pair()
    settings = replace(SHORT, velocity=VelocitySettings(name=name), seed=5)

    first = register(pair, settings)
    torch.rand(7)  # the state of the global generator before a run must not matter
    second = register(pair, settings)

    for one, other in ((first.forward, second.forward), (first.inverse, second.inverse)):
        assert torch.equal(one, other)
    assert [step.loss for step in first.history] == [step.loss for step in second.history]


ROUTES = [
    *(replace(SHORT, velocity=VelocitySettings(name=name)) for name in sorted(VELOCITIES)),
    *(
        replace(SHORT, solver=SolverSettings(scheme, steps, gradient))
        for scheme, steps in (("euler", 4), ("heun", 3), ("rk4", 2))
        for gradient in ("backprop", "checkpoint", "adjoint")
    ),
    *(replace(SHORT, solver=SolverSettings("squaring", 5, route)) for route in ("backprop", "checkpoint")),
    replace(SHORT, descriptor=DescriptorSettings(name="mind")),
    replace(SHORT, descriptor=DescriptorSettings(name="mind", search_radius=1)),
    replace(SHORT, descriptor=DescriptorSettings(recompute=True)),
    replace(SHORT, descriptor=DescriptorSettings(name="mind", recompute=True)),
    replace(SHORT, weights=LossWeights(gradient_of="displacement", magnitude=1e-3)),
    replace(SHORT, velocity=VelocitySettings(name="grid", lattice=1)),
]


def describe_route(settings: RegistrationSettings) -> str:
    solver, descriptor = settings.solver, settings.descriptor
    parts = (
        f"{settings.velocity.name}{settings.velocity.lattice}",
        f"{solver.scheme}-{solver.gradient}",
        f"{descriptor.name}{descriptor.search_radius}{'-again' if descriptor.recompute else ''}",
        settings.weights.gradient_of,
    )
    return "_".join(parts)


@pytest.mark.parametrize("settings", ROUTES, ids=describe_route)
def test_every_route_runs_and_lowers_the_loss(settings: RegistrationSettings) -> None:
    pair, truth = known_pair()

    result = register(pair, settings)

    losses = [step.loss for step in result.history if step.level == 1]
    assert all(math.isfinite(step.loss) for step in result.history)
    assert min(losses) < 0.995 * losses[0]
    assert endpoint_error(result.forward) < endpoint_error(torch.zeros_like(truth))
    assert not folded_cells(result.forward).any()


def test_backprop_and_checkpoint_take_the_same_path() -> None:
    pair, _ = known_pair()

    results = [
        register(pair, replace(SHORT, solver=SolverSettings("rk4", 2, route)))
        for route in ("backprop", "checkpoint")
    ]

    assert torch.allclose(results[0].forward, results[1].forward, atol=1e-5)


def test_the_similarity_of_equal_structures_is_nothing_and_the_mask_bounds_it() -> None:
    pair, truth = known_pair()
    zero = torch.zeros_like(truth)
    for recompute in (False, True):
        same = ImagePair(pair.fixed, 1 - pair.fixed, pair.fixed_mask, pair.fixed_mask)
        at = similarity_of(same, replace(ALONE, recompute=recompute)).forward
        assert float(at(zero)) < 1e-8
        assert float(at(truth)) > 1e-3

        there = similarity_of(pair, replace(ALONE, recompute=recompute)).forward
        assert float(there(truth)) < 0.5 * float(there(zero))


def test_outside_the_fixed_mask_nothing_counts() -> None:
    pair, truth = known_pair()
    changed = truth.clone()
    changed[:, :, :2] += 5  # the descriptor of the mask's first voxel, at 3, reads voxel 2
    for recompute in (False, True):
        at = similarity_of(pair, DescriptorSettings(recompute=recompute, patch_radius=0)).forward
        assert float(at(changed)) == float(at(truth))


def test_a_level_that_diverges_keeps_its_best_field() -> None:
    pair, _ = known_pair()
    wild = replace(SHORT, levels=(Level(2, 12),), learning_rate=1e30)

    result = register(pair, wild)

    assert len(result.history) < 12
    assert torch.isfinite(result.forward).all()
    assert [rescue.remedy for rescue in result.rescues] == ["smaller step"] * 2 + ["last good state"]


def test_registering_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    register(known_pair()[0], replace(SHORT, levels=(Level(2, 1),)))
    assert torch.equal(torch.rand(3), expected)


def test_an_identical_pair_stays_at_rest() -> None:
    pair, _ = known_pair()
    twin = replace(pair, moving=pair.fixed)

    result = register(twin, SHORT)

    assert float(result.forward.norm(dim=1).max()) < 1e-3


def test_a_level_ends_early_once_nothing_is_gained() -> None:
    pair, _ = known_pair()
    settings = replace(SHORT, levels=(Level(2, 40),), convergence_window=2, convergence_tolerance=0.9)

    steps: list[Step] = []
    optimise(pair, settings, steps.append)

    assert len(steps) == 6  # what two windows gain is all there is, and the third tells
    assert steps[-1].iterations == 40


def test_no_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels is empty"):
        register(known_pair()[0], RegistrationSettings(levels=()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    pair, truth = known_pair()
    there = ImagePair(*(t.cuda() for t in (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask)))
    settings = replace(GOOD, levels=(Level(2, 20), Level(1, 10)), velocity=VelocitySettings(name="grid"))

    here, away = register(pair, settings), register(there, settings)

    assert away.forward.device.type == "cuda"
    gap = (here.forward - away.forward.cpu()).norm(dim=1)
    assert float(gap.mean()) < 0.02
    assert not folded_cells(away.forward).any()
    assert endpoint_error(away.forward.cpu()) < endpoint_error(torch.zeros_like(truth))
