"""The loop: it learns, it resumes bit for bit, and what is shipped is better than chance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load

from bids_nodereg.registration.descriptors.contrastive import WEIGHTS, FeatureNetwork, contrastive
from bids_nodereg.registration.settings import DescriptorSettings
from training import anatomy
from training.anatomy import shapes
from training.chance import Chance
from training.loss import features_at, info_nce, sample_places
from training.retrieval import Search, capture, places_in, retrieve
from training.train import (
    CURVE,
    TrainingSettings,
    learning_rate,
    load_checkpoint,
    new_state,
    train,
)
from training.views import View, corresponding, two_views

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

TINY = TrainingSettings(steps=6, batch=1, size=12, places=64, warm_up=2, reuse=2, seed=3)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "SIZE", 48)


def test_resumed_training_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    at_once, in_two = tmp_path / "once", tmp_path / "two"
    for folder in (at_once, in_two):
        folder.mkdir()
    train(new_state(TINY), TINY, (), at_once)
    train(new_state(TINY), TINY, (), in_two, until=3)
    resumed = load_checkpoint(TINY, in_two)
    assert resumed.step == 3
    train(resumed, TINY, (), in_two)
    assert (at_once / WEIGHTS).read_bytes() == (in_two / WEIGHTS).read_bytes()
    untrained, trained = new_state(TINY).network.state_dict(), load((at_once / WEIGHTS).read_bytes())
    assert all(not torch.equal(trained[name], untrained[name]) for name in trained if "convolution" in name)
    rows = [(folder / CURVE).read_text().splitlines() for folder in (at_once, in_two)]
    losses = [[row.rsplit(",", 1)[0] for row in lines] for lines in rows]  # but for the seconds
    assert losses[0] == losses[1]
    assert len(losses[0]) == 7


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(new_state(TINY), TINY, (), tmp_path, until=1)
    with pytest.raises(ValueError, match="made with"):
        load_checkpoint(replace(TINY, seed=4), tmp_path)


def test_the_loss_falls_when_the_same_views_come_again() -> None:
    state = new_state(replace(TINY, learning_rate=5e-3))
    a, b = two_views(shapes(Chance(0, 0)), 16, Chance(0, 1))
    here, there = sample_places(a, b, 128, Chance(0, 2))

    def loss() -> Tensor:
        views = [state.network(view.image, view.mask) for view in (a, b)]
        return info_nce(features_at(views[0], here), features_at(views[1], there), here, 0.07)

    first = float(loss().detach())
    for _ in range(10):
        state.optimiser.zero_grad()
        loss().backward()
        state.optimiser.step()
    assert float(loss().detach()) < 0.8 * first


def test_learning_rate_warms_up_and_ends_low() -> None:
    settings = TrainingSettings(steps=1000, warm_up=100, learning_rate=1e-3)
    assert learning_rate(0, settings) == pytest.approx(1e-5)
    assert learning_rate(99, settings) == pytest.approx(1e-3)
    assert learning_rate(550, settings) == pytest.approx(0.505e-3)
    assert learning_rate(1000, settings) == pytest.approx(1e-5)


def test_retrieval_of_an_image_in_itself_is_exact_and_of_a_shifted_one_is_the_shift() -> None:
    image = torch.rand(1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    places = places_in(torch.ones_like(image), 30, margin=5)
    search = Search(reach_voxels=3, patch_voxels=1, spacing_mm=2.0, tolerance_mm=1.5)
    exact = retrieve(image, image, places, search)
    assert (exact.within, exact.error_mm, exact.median_rank) == (1.0, 0.0, 0.0)
    moved = retrieve(image, image.roll((1, -2), (2, 4)), places, search)
    assert moved.within == 0.0
    assert moved.error_mm == pytest.approx(2.0 * 5**0.5, rel=1e-5)
    with pytest.raises(ValueError, match="edge"):
        retrieve(image, image, torch.tensor([[3, 9, 9]]), search)


def test_capture_of_a_ramp_is_its_square() -> None:
    ramp = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(1, 1, 20, 20, 20)
    mask = torch.zeros_like(ramp)
    mask[:, :, 5:15, 5:15, 5:15] = 1
    assert capture(ramp, ramp, mask, 3) == pytest.approx([n**2 / 3 for n in range(4)])


def test_shipped_weights_beat_the_start_of_training_random_ones_and_the_intensity() -> None:
    """On shapes no training saw (another seed): how often the true place is the nearest of many."""
    start, random = new_state(TINY).network.eval(), new_state(TINY).network.eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        random.head.reset_parameters()
    rates = dict.fromkeys(("shipped", "start", "random", "intensity"), 0.0)
    for step in range(4):
        views = two_views(shapes(Chance(987, step)), 24, Chance(987, step))
        rates["shipped"] += hit_rate(views, lambda view: described(view, None)) / 4
        rates["start"] += hit_rate(views, lambda view: described(view, start)) / 4
        rates["random"] += hit_rate(views, lambda view: described(view, random)) / 4
        rates["intensity"] += hit_rate(views, lambda view: view.image) / 4
    assert rates["shipped"] > 1.2 * rates["start"]
    assert rates["shipped"] > 2 * rates["random"]
    assert rates["shipped"] > 2 * rates["intensity"]


@torch.no_grad()
def described(view: View, network: FeatureNetwork | None) -> Tensor:
    return contrastive(view.image, view.mask, DescriptorSettings(), network)


def hit_rate(views: tuple[View, View], describe: Callable[[View], Tensor]) -> float:
    """Fraction of 200 places whose nearest of the 200 in the other view is not 3 voxels away."""
    a, b = views
    here, there = sample_places(a, b, 200, Chance(5, 5))
    assert torch.allclose(corresponding(here, a, b), there)
    first, second = (
        values[0, :, i, j, k].T
        for values, (i, j, k) in (
            (describe(a), here.round().long().unbind(1)),
            (describe(b), there.round().long().unbind(1)),
        )
    )
    nearest = torch.cdist(first, second).argmin(1)
    return float(((here[nearest] - here).norm(dim=1) < 3).float().mean())
