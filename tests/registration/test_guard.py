"""Losses and gradients that are not finite, injected: what is done, and that healthy pairs do not notice."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.registration.diffeomorphism import folded_cells
from bids_nodereg.registration.guard import Rescue, refuse_unusable
from bids_nodereg.registration.register import register
from bids_nodereg.registration.settings import DescriptorSettings, Level, RegistrationSettings
from tests.registration.faults import Faults
from tests.registration.fields import known_pair

if TYPE_CHECKING:
    from bids_nodereg.registration.journal import Step
    from bids_nodereg.registration.register import Registration

ALONE = DescriptorSettings(lmi_weight=0.0)
SETTINGS = RegistrationSettings(
    levels=(Level(2, 10), Level(1, 6)), descriptor=ALONE, convergence_tolerance=0.0
)
ALWAYS = range(1, 1000)


def without_times(history: tuple[Step, ...]) -> list[Step]:
    return [replace(step, seconds=0.0) for step in history]


def with_faults(monkeypatch: pytest.MonkeyPatch, **which: object) -> Registration:
    with monkeypatch.context() as patched:
        Faults(**which).install(patched)  # type: ignore[arg-type]
        return register(known_pair()[0], SETTINGS)


def test_a_healthy_pair_does_not_notice_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy, watched = register(known_pair()[0], SETTINGS), with_faults(monkeypatch)

    assert healthy.rescues == watched.rescues == ()
    assert torch.equal(healthy.forward, watched.forward)
    assert without_times(healthy.history) == without_times(watched.history)


def test_a_loss_that_is_none_restarts_the_level_from_its_last_good_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    healthy, found = register(known_pair()[0], SETTINGS), with_faults(monkeypatch, losses={5})

    assert found.rescues == (Rescue(1, 5, SETTINGS.rate, "smaller step"),)
    coarse, before = ([step for step in each.history if step.level == 1] for each in (found, healthy))
    assert [step.iteration for step in coarse] == list(range(1, 11))
    assert [step.loss for step in coarse[:4]] == [step.loss for step in before[:4]]
    # The new start is the best of the four good ones.
    assert coarse[4].loss == pytest.approx(min(step.loss for step in coarse[:4]), rel=1e-5)
    assert coarse[-1].loss < min(step.loss for step in coarse[:5])
    assert len(found.history) == len(healthy.history)


def test_a_gradient_that_is_none_shows_in_the_next_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_faults(monkeypatch, gradients={3})

    assert found.rescues == (Rescue(1, 4, SETTINGS.rate, "smaller step"),)
    assert torch.isfinite(found.forward).all()
    assert float(found.forward.norm(dim=1).max()) > 0.1


def test_each_new_start_halves_the_step_and_then_the_last_good_state_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rate = SETTINGS.rate
    # Good are 1 to 3, 5 and 6, none of the third attempt; then the next level.
    found = with_faults(monkeypatch, losses={4, 7, 8})

    assert found.rescues == (
        Rescue(1, 4, rate, "smaller step"),
        Rescue(1, 6, rate / 2, "smaller step"),
        Rescue(1, 6, rate / 4, "last good state"),
    )
    assert [step.iteration for step in found.history if step.level == 1] == [1, 2, 3, 4, 5]
    assert [step.iteration for step in found.history if step.level == 2] == [1, 2, 3, 4, 5, 6]
    fine = [step.loss for step in found.history if step.level == 2]
    assert fine[-1] < fine[0]


def test_where_the_first_level_never_has_a_loss_the_affine_alone_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = with_faults(monkeypatch, losses=ALWAYS)

    assert [rescue.remedy for rescue in found.rescues] == ["smaller step", "smaller step", "affine alone"]
    assert {rescue.iteration for rescue in found.rescues} == {1}
    assert found.history == ()
    for displacement in (found.forward, found.inverse, found.velocity):
        assert not displacement.any()
    assert found.distance_before == found.distance_after
    assert not folded_cells(found.forward).any()


def test_a_later_level_without_a_loss_keeps_what_the_first_found(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse_only = register(known_pair()[0], replace(SETTINGS, levels=SETTINGS.levels[:1]))

    found = with_faults(monkeypatch, losses=range(11, 1000))

    assert [rescue.level for rescue in found.rescues] == [2, 2, 2]
    assert found.rescues[-1].remedy == "last good state"
    gap = (found.forward - coarse_only.forward).norm(dim=1)
    assert float(gap.max()) < 0.05 * float(coarse_only.forward.norm(dim=1).max())


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_images_that_are_not_finite_are_refused(side: str) -> None:
    pair, _ = known_pair()
    image = getattr(pair, side).clone()
    image[0, 0, 5, 5, 5] = math.inf

    with pytest.raises(FloatingPointError, match=f"the {side} image has voxels that are not finite"):
        register(replace(pair, **{side: image}), SETTINGS)


@pytest.mark.parametrize("field", ["fixed_mask", "moving_mask", "fixed_cost", "moving_cost"])
def test_images_of_which_nothing_counts_are_refused(field: str) -> None:
    pair, _ = known_pair()
    empty = replace(pair, **{field: torch.zeros_like(pair.fixed)})

    with pytest.raises(FloatingPointError, match=f"no voxel of the {field[:-5]} image counts"):
        refuse_unusable(empty)


def test_a_usable_pair_is_not_refused() -> None:
    refuse_unusable(known_pair()[0])
