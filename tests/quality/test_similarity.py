from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bids_nodereg.quality.similarity import (
    correlation,
    local_correlation,
    mutual_information,
    rank_correlation,
    similarity_measures,
)

RNG = np.random.default_rng(7)
ALL = np.ones((20, 20, 20), bool)


def test_an_image_and_any_one_to_one_change_of_it_share_all_information() -> None:
    image = RNG.integers(0, 64, size=ALL.shape).astype(float)
    windows = ((0.0, 64.0), (0.0, 64.0))

    same = mutual_information(image, 63 - image, ALL, windows)

    assert same.nmi == pytest.approx(2)
    assert same.mi == pytest.approx(math.log(64), rel=2e-3)


def test_a_coin_that_agrees_three_times_in_four() -> None:
    a = np.tile([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 100).reshape(10, 10, 8)
    b = np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0], 100).reshape(10, 10, 8)
    joint = -2 * (3 / 8 * math.log(3 / 8) + 1 / 8 * math.log(1 / 8))

    found = mutual_information(a, b, np.ones(a.shape, bool), ((0.0, 1.0), (0.0, 1.0)), bins=2)

    assert found.mi == pytest.approx(2 * math.log(2) - joint)
    assert found.nmi == pytest.approx(2 * math.log(2) / joint)


def test_independent_images_share_next_to_nothing() -> None:
    a, b = RNG.normal(size=(60, 60, 60)), RNG.normal(size=(60, 60, 60))

    assert mutual_information(a, b, np.ones(a.shape, bool), bins=16).nmi == pytest.approx(1, abs=1e-3)


def test_constant_images_have_no_number() -> None:
    flat = np.ones(ALL.shape)

    assert math.isnan(mutual_information(flat, flat, ALL).nmi)
    assert math.isnan(correlation(flat, flat, ALL))


def test_correlation_equals_numpy_and_respects_the_mask() -> None:
    a = RNG.normal(size=ALL.shape)
    b = a + RNG.normal(size=ALL.shape)
    mask = RNG.random(ALL.shape) > 0.5
    b[~mask] = 1e6

    assert correlation(a, b, mask) == pytest.approx(np.corrcoef(a[mask], b[mask])[0, 1])


def test_the_same_image_before_and_after_gets_the_same_numbers_and_a_better_one_higher() -> None:
    fixed = RNG.normal(size=ALL.shape)
    noisy = -fixed + 0.5 * RNG.normal(size=ALL.shape)

    same = similarity_measures(fixed, noisy, noisy, ALL)
    better = similarity_measures(fixed, noisy, -fixed, ALL)

    assert same["nmi_before"] == same["nmi_after"]
    assert same["mi_before_nat"] == same["mi_after_nat"]
    assert better["nmi_after"] > better["nmi_before"] == same["nmi_before"]
    assert better["ncc_after"] == pytest.approx(-1)


def test_local_correlation_forgives_a_drift_of_the_brightness_and_not_its_sign() -> None:
    shape = (30, 30, 30)
    image, mask = RNG.normal(size=shape), np.zeros(shape, bool)
    mask[6:-6, 6:-6, 6:-6] = True
    drift = 6 * np.linspace(0, 1, 30)[:, None, None]
    other = RNG.normal(size=shape)

    assert local_correlation(image, image + drift, mask) > 0.85
    assert correlation(image, image + drift, mask) < 0.75
    assert local_correlation(image, 5 - 3 * image, mask) == pytest.approx(-1)
    assert local_correlation(image, other, mask) == pytest.approx(0, abs=0.02)


def test_a_window_without_anything_in_it_is_left_out_of_the_local_correlation() -> None:
    image = np.zeros((40, 20, 20))
    image[20:] = RNG.normal(size=(20, 20, 20))

    assert local_correlation(image, 2 * image + 1, np.ones(image.shape, bool)) == pytest.approx(1)
    assert math.isnan(local_correlation(image, np.full(image.shape, 3.0), np.ones(image.shape, bool)))
    assert math.isnan(local_correlation(image, image, np.zeros(image.shape, bool)))


def test_rank_correlation_is_spearmans_and_knows_order_only() -> None:
    a = RNG.normal(size=ALL.shape)
    b = np.round(a + RNG.normal(size=ALL.shape), 1)  # with ties

    assert rank_correlation(a, b, ALL) == pytest.approx(stats.spearmanr(a[ALL], b[ALL]).statistic)
    assert rank_correlation(a, np.exp(3 * a), ALL) == pytest.approx(1)
    assert math.isnan(rank_correlation(a, np.ones(ALL.shape), ALL))
