"""N4 against a bias field that is known everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.bias import without_bias
from bids_nodereg.imaging.prepare import normalise, prepare
from bids_nodereg.imaging.volume import Volume

SHAPE, SPACING = (30, 35, 26), (6.0, 5.0, 7.0)


@pytest.fixture(scope="module")
def biased():
    """Two tissues in a ball, times a field that changes by a factor of about two, with noise."""
    turn = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]]) * SPACING  # axes stored as P, S, L; left-handed
    affine = np.eye(4)
    affine[:3, :3] = turn
    grid = Grid(SHAPE, affine)
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    x, y, z = np.moveaxis((index - (np.array(SHAPE) - 1) / 2) * SPACING / 75, -1, 0)
    radius = np.sqrt(x**2 + y**2 + z**2)
    inner = np.sin(9 * x) * np.sin(8 * y + 1) * np.sin(7 * z) > 0  # tissue in lumps, not in shells
    tissue = np.where(radius < 1, np.where(inner, 900.0, 600.0), 0.0)
    field = np.exp(0.3 * x - 0.2 * y * y + 0.25 * z)
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    data = np.where(tissue > 0, tissue * field + noise, 0).astype(np.float32)
    return Volume(data, grid, Path("x.nii"), np.dtype(np.float32)), tissue


@pytest.fixture(scope="module")
def corrected(biased) -> np.ndarray:
    volume, tissue = biased
    return without_bias(volume, tissue > 0)


def spread(values: np.ndarray) -> float:
    """Coefficient of variation."""
    return float(values.std() / values.mean())


def test_a_known_field_is_taken_out(biased, corrected):
    volume, tissue = biased
    for level in (600.0, 900.0):
        before, after = (spread(image[tissue == level]) for image in (volume.data, corrected))
        assert before > 0.12
        assert after < before / 4
    assert corrected[tissue > 0].mean() == pytest.approx(volume.data[tissue > 0].mean(), rel=0.03)


def test_an_even_image_stays_even_and_the_same_image_gives_the_same_bits(biased):
    volume, tissue = biased
    even = Volume(tissue.astype(np.float32), volume.grid, volume.path, volume.dtype)
    once, again = (without_bias(even, tissue > 0) for _ in range(2))
    assert np.array_equal(once, again)
    np.testing.assert_allclose(once[tissue > 0], even.data[tissue > 0], rtol=0.04)


def test_where_there_is_too_little_to_fit_there_is_no_corrected_image(biased):
    volume, tissue = biased
    negative = Volume(-volume.data, volume.grid, volume.path, volume.dtype)
    assert without_bias(negative, tissue > 0) is None


def test_four_thin_slices_keep_their_spline():
    """Thinned out to 5 mm, four slices of 1 mm would be one, which no spline can be fitted to."""
    grid = Grid((60, 60, 4), np.eye(4))
    tissue = np.full(grid.shape, 700.0)
    field = np.exp(np.linspace(-0.3, 0.3, 60))[:, None, None]
    data = (tissue * field).astype(np.float32)
    corrected = without_bias(Volume(data, grid, Path("x.nii"), data.dtype), tissue > 0)
    assert spread(data) > 0.15
    assert spread(corrected) < spread(data) / 4


def test_no_array_is_larger_than_the_image(biased, monkeypatch):
    monkeypatch.setattr("bids_nodereg.imaging.bias.ITERATIONS", (1,))
    volume, tissue = biased
    held = []
    exp = np.exp
    monkeypatch.setattr(np, "exp", lambda values: held.append(values.dtype) or exp(values))
    without_bias(volume, tissue > 0)
    assert held == [np.float32]


def test_what_is_compared_is_corrected_and_what_was_read_is_kept(biased, corrected):
    volume, tissue = biased
    prepared = prepare(volume, tissue > 0, unbiased=corrected)
    assert prepared.volume is volume
    assert prepared.window == tuple(np.percentile(corrected[tissue > 0], (0.5, 99.5)))
    low, high = prepared.window
    inside = (corrected > low) & (corrected < high)
    np.testing.assert_allclose(
        normalise(prepared)[inside], (corrected[inside] - low) / (high - low), atol=1e-6
    )
