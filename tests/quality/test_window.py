"""Windows of intensities, judged by what a reader sees of the brain."""

from __future__ import annotations

import numpy as np
import pytest

from bids_nodereg.quality.figures.window import LARGEST_BRAIN_ML, grey_window, tissue_of

SPACING = np.array([4.0, 4.0, 5.0])
SHAPE = (60, 66, 50)
DEPTH = np.linalg.norm((np.stack(np.indices(SHAPE), -1) - np.array(SHAPE) / 2) * SPACING, axis=-1)
BRAIN, HEAD = DEPTH < 70, DEPTH < 92


def head(fat: float) -> np.ndarray:
    """Grey matter 60 around white matter 100, dark skull, and a shell of fat."""
    volume = np.where(DEPTH < 55, 100.0, 60.0) * BRAIN
    return volume + fat * (HEAD & (DEPTH > 84))


def test_fat_of_the_scalp_does_not_darken_the_brain() -> None:
    assert HEAD.sum() * SPACING.prod() / 1000 > LARGEST_BRAIN_ML > BRAIN.sum() * SPACING.prod() / 1000

    low, high = grey_window(head(fat=600.0), HEAD, SPACING)

    assert (100 - low) / (high - low) > 0.9


def test_a_brain_mask_is_used_as_it_is() -> None:
    steps, tissue = tissue_of(BRAIN, SPACING)

    assert tissue is BRAIN
    assert head(0)[steps].shape == SHAPE


def test_bright_fluid_does_not_darken_the_brain() -> None:
    volume = np.where(DEPTH < 20, 1000.0, 100.0) * BRAIN

    low, high = grey_window(volume, BRAIN, SPACING)

    assert (100 - low) / (high - low) > 0.35


def test_tissue_is_told_from_the_background_and_is_not_clipped() -> None:
    volume = np.where(DEPTH < 40, 100.0, 80.0) * BRAIN

    low, high = grey_window(volume, BRAIN, SPACING)

    assert 0 < low < 80
    assert high > 100


@pytest.mark.parametrize("volume", [np.zeros(SHAPE), np.full(SHAPE, 7.0), np.full(SHAPE, -3.0)])
@pytest.mark.parametrize("mask", [np.zeros(SHAPE, bool), BRAIN, HEAD])
def test_a_window_always_has_a_width(volume: np.ndarray, mask: np.ndarray) -> None:
    low, high = grey_window(volume, mask, SPACING)

    assert high > low
