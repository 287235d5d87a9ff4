"""The record of a pair: coarser lattices, exchanged roles, and regions that must not count."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from torch import Tensor

from bids_nodereg.registration.image_pair import CONTINUED_VOXELS, ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.register import Registration, register
from bids_nodereg.registration.settings import (
    CaptureSettings,
    DescriptorSettings,
    Level,
    LossWeights,
    RegistrationSettings,
)
from bids_nodereg.registration.smoothing import downsample
from bids_nodereg.registration.warp import sample
from tests.registration.fields import PAIR_SHAPE, ball, known_pair, noise, structured_image

SHAPE = (24, 31, 19)
FIELDS = ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_cost", "moving_cost", "stiffness")
HOLE = ball(PAIR_SHAPE, (16, 17, 14), 5)
AROUND = ball(PAIR_SHAPE, (16, 17, 14), 9) & ~HOLE


def unlike_fields() -> ImagePair:
    """Every field is a tensor of its own."""
    return ImagePair(*(noise(1, 1, *SHAPE, seed=seed).round(decimals=0) for seed in range(len(FIELDS))))


def test_a_mask_thinner_than_a_coarse_voxel_does_not_vanish() -> None:
    image = noise(1, 1, *SHAPE)
    thin = torch.zeros_like(image)
    thin[..., 12, :, :] = 1
    coarse = ImagePair(image, image, thin, thin).shrunk(4)
    assert coarse.fixed_mask.sum() > 0
    assert coarse.fixed_mask.sum() < 0.5 * coarse.fixed_mask.numel()


def test_a_thick_mask_keeps_its_extent() -> None:
    thick = torch.zeros(1, 1, *SHAPE)
    thick[..., 6:18, 8:24, 5:15] = 1
    coarse = ImagePair(thick, thick, thick, thick).shrunk(2).fixed_mask
    share = thick.mean()
    assert abs(coarse.mean() - share) < 0.25 * share


def test_a_shrunk_pair_has_shrunk_images_and_hard_masks() -> None:
    pair, _ = known_pair()

    coarse = pair.shrunk(2)

    assert torch.equal(coarse.fixed, downsample(pair.fixed, 2))
    assert coarse.fixed.shape == coarse.moving_mask.shape == (1, 1, 17, 18, 15)
    assert set(coarse.fixed_mask.unique().tolist()) == {0.0, 1.0}
    # Along the middle of each axis the mask reaches from voxel 3 to the last but 3, give or take.
    for axis, (fine, size) in enumerate(zip(PAIR_SHAPE, (17, 18, 15), strict=True)):
        others = [slice(None) if a == axis else 8 for a in range(3)]
        position = torch.arange(size) * (fine - 1) / (size - 1)
        depth = torch.minimum(position, fine - 1 - position)
        line = coarse.fixed_mask[(0, 0, *others)] > 0
        assert bool(line[depth > 3.5].all())
        assert not bool(line[depth < 1.5].any())


def test_shrinking_by_one_is_the_pair_itself_and_what_is_not_given_stays_so() -> None:
    pair, _ = known_pair()

    assert pair.shrunk(1) is pair
    assert pair.without_excluded() == pair
    for coarse in (pair.shrunk(2), pair.swapped()):
        assert coarse.fixed_cost is coarse.moving_cost is coarse.stiffness is None


def test_swapping_exchanges_all_that_belongs_to_an_image() -> None:
    pair = unlike_fields()
    swapped = pair.swapped()

    for name in FIELDS:
        other = {"fixed": "moving", "moving": "fixed"}.get(name.split("_")[0], name.split("_")[0])
        assert getattr(swapped, name) is getattr(pair, "_".join([other, *name.split("_")[1:]]))
        assert getattr(swapped.swapped(), name) is getattr(pair, name)


@pytest.mark.parametrize("shrink", [2, 3, 4])
def test_a_shrunk_cost_mask_excludes_the_region_and_no_more(shrink: int) -> None:
    cost = torch.ones(1, 1, *SHAPE)
    cost[..., 5:19, 8:24, 4:16] = 0
    coarse = replace(unlike_fields(), fixed_cost=cost, moving_cost=cost).shrunk(shrink)

    at = [torch.linspace(0, n - 1, m) for n, m in zip(SHAPE, coarse.fixed_cost.shape[2:], strict=True)]
    nearest = torch.stack(torch.meshgrid(*[p.round() for p in at], indexing="ij"))[None]
    # A coarse voxel off the border either way there is no doubt.
    grown = torch.nn.functional.max_pool3d(1 - cost, 2 * shrink + 1, 1, shrink)
    shrunk = -torch.nn.functional.max_pool3d(-(1 - cost), 2 * shrink + 1, 1, shrink)
    assert set(coarse.fixed_cost.unique().tolist()) == {0.0, 1.0}
    assert bool((sample(shrunk, nearest) == 1).any())
    assert not bool(coarse.fixed_cost[sample(shrunk, nearest) == 1].any())
    assert bool((coarse.fixed_cost[sample(grown, nearest) == 0] == 1).all())
    assert torch.equal(coarse.moving_cost, coarse.fixed_cost)


def test_an_excluded_region_is_continued_from_the_brain_around_it() -> None:
    image = structured_image(PAIR_SHAPE, 2).float()
    mask = known_pair()[0].fixed_mask
    image = torch.where(mask > 0, 0.5 + 0.5 * image, 0)
    deep = ball(PAIR_SHAPE, (16, 17, 14), CONTINUED_VOXELS + 3)
    for hole in (HOLE, deep):
        cost = 1 - hole.float()
        broken = torch.where(hole, math.nan, image)
        pair = ImagePair(broken, broken, mask, mask, cost, cost).without_excluded()

        assert torch.equal(pair.fixed, pair.moving)
        assert torch.equal(pair.fixed[~hole], image[~hole])
        inside = image[(mask > 0) & ~hole]  # no background, which is 0
        assert float(pair.fixed[hole].min()) >= float(inside.min()) >= 0.5
        assert float(pair.fixed[hole].max()) <= float(inside.max())


QUICK = RegistrationSettings(levels=(Level(4, 2), Level(2, 4), Level(1, 3)), symmetric=True)
SIGHTS = {
    "mind-ssc": replace(QUICK, weights=LossWeights(spatial="confidence"), capture=CaptureSettings(reach=1)),
    "mind-far": replace(
        QUICK,
        levels=QUICK.levels[1:],
        descriptor=DescriptorSettings("mind", offset=2, patch_sigma=1.0),
    ),
    "mind-recomputed": replace(QUICK, descriptor=DescriptorSettings("mind", recompute=True)),
    "mind-ssc-filled": replace(QUICK, descriptor=DescriptorSettings(fill_outside=True)),
    "lmi": replace(QUICK, descriptor=DescriptorSettings("lmi", window_radius=3)),
    "lncc": replace(QUICK, descriptor=DescriptorSettings("lncc", window_radius=2)),
    "mse": replace(QUICK, descriptor=DescriptorSettings("mse")),
}


@pytest.mark.parametrize("which", ["fixed", "moving"])
@pytest.mark.parametrize("sight", sorted(SIGHTS))
def test_excluded_intensities_have_no_influence_at_all(sight: str, which: str) -> None:
    pair, _ = known_pair()
    hole = ball(PAIR_SHAPE, (8, 9, 8), 3.5)
    given = replace(pair, **{f"{which}_cost": 1 - hole.float()})
    changed = torch.where(hole, 3 * noise(1, 1, *PAIR_SHAPE, dtype=torch.float32), getattr(pair, which))

    results = [register(p, SIGHTS[sight]) for p in (given, replace(given, **{which: changed}))]

    for name in ("forward", "inverse", "velocity", "distance_before", "distance_after", "history"):
        one, other = (getattr(result, name) for result in results)
        if name == "history":
            one, other = ([replace(step, seconds=0) for step in steps] for steps in (one, other))
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    assert float(results[0].forward.norm(dim=1).max()) > 0.01


def test_without_a_cost_mask_the_same_intensities_do_count() -> None:
    pair, _ = known_pair()
    hole = ball(PAIR_SHAPE, (8, 9, 8), 3.5)
    changed = torch.where(hole, 3 * noise(1, 1, *PAIR_SHAPE, dtype=torch.float32), pair.moving)

    results = [register(p, SIGHTS["mind-ssc"]) for p in (pair, replace(pair, moving=changed))]

    assert float((results[0].forward - results[1].forward).norm(dim=1).max()) > 0.05


@pytest.mark.parametrize("sight", sorted(SIGHTS))
def test_an_image_of_which_nothing_counts_is_no_result(sight: str) -> None:
    pair, _ = known_pair()
    nothing = replace(pair, moving_cost=torch.zeros_like(pair.moving))

    with pytest.raises(FloatingPointError, match="no voxel of the moving image counts"):
        register(nothing, SIGHTS[sight])


LESION = RegistrationSettings(levels=(Level(2, 50), Level(1, 30)), weights=LossWeights(gradient=0.02))
PULL_VOXELS = 3.0


@lru_cache(maxsize=4)
def with_lesion(which: str, *, excluded: bool) -> Registration:
    """The known pair, with structure moved along i in a ball of one image: it pulls a wrong way."""
    pair, _ = known_pair()
    image = getattr(pair, which)
    there = identity(PAIR_SHAPE, image)
    there[:, 0] += PULL_VOXELS if which == "fixed" else -PULL_VOXELS
    changes = {which: torch.where(HOLE, sample(image, there), image)}
    if excluded:
        changes[f"{which}_cost"] = 1 - HOLE.float()
    return register(replace(pair, **changes), LESION)


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_lesion_pulls_the_field_unless_it_is_excluded(which: str) -> None:
    _, truth = known_pair()
    error, around, pull = {}, {}, {}
    for excluded in (False, True):
        off = with_lesion(which, excluded=excluded).forward - truth
        length = off.norm(dim=1, keepdim=True)
        error[excluded], around[excluded] = float(length[HOLE].mean()), float(length[AROUND].mean())
        pull[excluded] = float(off[:, :1][HOLE].mean())

    assert pull[False] > 0.4 * PULL_VOXELS
    assert abs(pull[True]) < 0.6 * pull[False]
    assert error[True] < 0.75 * error[False]
    assert around[True] < around[False]


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_the_field_is_smooth_through_an_excluded_region(which: str) -> None:
    forward = with_lesion(which, excluded=True).forward

    slopes = torch.stack(torch.gradient(forward, dim=(2, 3, 4))).square().sum((0, 2)).sqrt()[None]
    assert float(forward.norm(dim=1, keepdim=True)[HOLE].mean()) > 1
    assert float(slopes[HOLE].max()) <= float(slopes[AROUND].max())
    assert float(slopes[HOLE].mean()) <= float(slopes[AROUND].mean())
