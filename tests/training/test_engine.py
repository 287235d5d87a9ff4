"""The data engine: same numbers for the same seed, views of the same anatomy, what the parts promise."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

from training import anatomy
from training.anatomy import Anatomy, from_labels, head, shapes
from training.chance import Chance
from training.loss import SHELL_MM, features_at, info_nce, sample_places
from training.real import with_fluid
from training.views import View, corresponding, two_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(anatomy, "SIZE", 64)
    yield
    grown.cache_clear()


@cache
def grown(grow: Callable[[Chance], Anatomy], number: int) -> Anatomy:
    return grow(Chance(0, number))


def halves() -> Anatomy:
    """Two labels that meet in the plane i = 31.5."""
    labels = torch.ones(64, 64, 64, dtype=torch.long)
    labels[32:] = 2
    return from_labels(torch.nn.functional.pad(labels, [8] * 6))


@pytest.mark.parametrize("grow", [shapes, head])
def test_an_anatomy_is_a_function_of_seed_and_number(grow: Callable[[Chance], Anatomy]) -> None:
    first, again, other = grow(Chance(3, 5)), grow(Chance(3, 5)), grow(Chance(3, 6))
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)
    assert first.labels.max() < first.count
    assert first.brain[first.labels].float().mean() > 0.1
    assert len(first.labels.unique()) > 4


def test_views_are_a_function_of_seed_and_step() -> None:
    whole = grown(shapes, 1)
    first, again = two_views(whole, 24, Chance(0, 7)), two_views(whole, 24, Chance(0, 7))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.image, other.image)
    assert not torch.equal(first[0].image, two_views(whole, 24, Chance(0, 8))[0].image)
    assert not torch.equal(first[0].image, two_views(whole, 24, Chance(1, 7))[0].image)


def test_a_view_is_finite_scaled_and_masked() -> None:
    for step in range(6):
        for view in two_views(grown(head, 0), 24, Chance(0, step)):
            assert view.image.shape == view.mask.shape == (1, 1, 24, 24, 24)
            assert view.image.isfinite().all()
            assert view.image.min() >= 0
            assert view.image.max() <= 1
            assert set(view.mask.unique().tolist()) <= {0.0, 1.0}


def test_corresponding_places_show_the_same_label() -> None:
    """Within the precision of nearest voxels: at least 85 % of random places, chance being 1 / 4."""
    same, total = 0, 0
    for step in range(6):
        a, b = two_views(grown(shapes, 2), 32, Chance(0, step))
        here, there = sample_places(a, b, 400, Chance(1, step))
        i, j, k = here.round().long().unbind(1)
        p, q, r = there.round().long().unbind(1)
        same += int((a.labels[i, j, k] == b.labels[p, q, r]).sum())
        total += len(here)
    assert total > 500
    assert same / total > 0.85


def test_corresponding_is_the_exact_map_between_the_views() -> None:
    a, b = two_views(grown(shapes, 2), 32, Chance(0, 3))
    places = torch.rand(50, 3) * 31
    there = corresponding(places, a, b)
    world_a = places @ a.to_anatomy[:, :3].T + a.to_anatomy[:, 3]
    world_b = there @ b.to_anatomy[:, :3].T + b.to_anatomy[:, 3]
    torch.testing.assert_close(world_b, world_a, rtol=0, atol=1e-3)
    assert (there - places).norm(dim=1).mean() > 0.3  # the second view is moved


def test_contrasts_of_the_two_views_are_unrelated() -> None:
    """Which of two labels is brighter: the same in both views about half of the time."""
    agree, total = 0, 0
    for step in range(60):
        a, b = two_views(halves(), 16, Chance(0, step))
        signs = [contrast(view) for view in (a, b)]
        if None not in signs:
            agree += signs[0] == signs[1]
            total += 1
    assert total > 25
    assert 0.25 < agree / total < 0.75


def contrast(view: View) -> bool | None:
    inside = view.mask[0, 0] > 0
    one, two = (view.image[0, 0][inside & (view.labels == label)] for label in (1, 2))
    return bool(one.mean() > two.mean()) if min(len(one), len(two)) > 20 else None


def test_hard_negatives_lie_in_the_shell_and_all_places_in_both_masks() -> None:
    a, b = two_views(grown(shapes, 2), 32, Chance(0, 3))
    here, there = sample_places(a, b, 400, Chance(1, 3))
    for places, view in ((here, a), (there, b)):
        i, j, k = places.round().long().unbind(1)
        assert (view.mask[0, 0, i, j, k] > 0).all()
    away = torch.cdist(here, here).mul(a.spacing_mm)
    in_shell = ((away > SHELL_MM[0]) & (away < SHELL_MM[1])).float().sum(1)
    assert (in_shell >= 1).float().mean() > 0.9


def test_info_nce_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in "ab"
    )
    places = torch.arange(18.0).view(6, 3) * 5
    places[1] = places[0] + 1  # nearer than two voxels: neither tells against the other
    total = 0.0
    for a, b in ((first, second), (second, first)):
        for n in range(6):
            others = [m for m in range(6) if m == n or {m, n} != {0, 1}]
            scores = torch.stack([(a[n] * b[m]).sum() / 0.07 for m in others])
            total -= float(torch.log_softmax(scores, 0)[others.index(n)]) / 12
    assert float(info_nce(first, second, places, 0.07)) == pytest.approx(total, rel=1e-5)


def test_features_are_read_at_their_places() -> None:
    i, j, k = torch.meshgrid(*[torch.arange(6.0)] * 3, indexing="ij")
    ramps = torch.stack([i, j, k])[None] + 1
    places = torch.tensor([[1.5, 2.0, 3.25], [4.0, 0.5, 0.0]])
    expected = torch.nn.functional.normalize(places + 1, dim=1)
    torch.testing.assert_close(features_at(ramps, places), expected)


def test_fluid_fills_the_gaps_between_labels_and_nothing_else() -> None:
    labels = torch.zeros(40, 40, 40, dtype=torch.long)
    labels[12:18, 12:28, 12:28] = 1
    labels[22:28, 12:28, 12:28] = 5
    filled = with_fluid(labels)
    assert (filled[18:22, 14:26, 14:26] == 6).all()
    assert torch.equal(filled[labels > 0], labels[labels > 0])
    assert (filled[:8] == 0).all()
    assert (filled[:, :, 32:] == 0).all()


def test_texture_has_no_mean_within_a_label() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.long)
    labels[:4], labels[4:6] = 10, 20
    image = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)) + labels
    whole = from_labels(labels, image)
    assert whole.labels.unique().tolist() == [0, 1, 2]
    assert whole.texture is not None
    for label in (1, 2):
        assert abs(float(whole.texture[0, 0][whole.labels == label].mean())) < 1e-5
    assert (whole.texture[0, 0][whole.labels == 0] == 0).all()
    with pytest.raises(ValueError, match="0 as the smallest"):
        from_labels(labels[:4])
