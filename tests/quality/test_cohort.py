"""Robust z-scores against the definition, and outliers that were put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_nodereg.quality.cohort import KEY_MEASURES, CohortRow, Outlier, find_outliers, kinds, robust_z
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.group_report import outlier_words


def test_what_is_compared_is_in_the_dictionary() -> None:
    assert set(KEY_MEASURES) <= set(DICTIONARY)


def row(
    number: int, *, moving: str = "T2w", rule: str = "within-session", **measures: float | None
) -> CohortRow:
    return CohortRow(f"sub-{number:02d}_from-{moving}_to-T1w", rule, moving, "T1w", "pass", (), measures)


def test_the_score_is_that_of_the_median_and_the_mad() -> None:
    values = np.random.default_rng(0).lognormal(size=101)
    expected = (values - np.median(values)) / stats.median_abs_deviation(values, scale="normal")

    np.testing.assert_allclose(robust_z(values), expected, rtol=1e-4)


def test_a_missing_value_has_no_score_and_changes_none() -> None:
    values = np.arange(20.0)
    with_gap = np.append(values, np.nan)

    found = robust_z(with_gap)

    assert found is not None
    np.testing.assert_allclose(found[:-1], robust_z(values))
    assert np.isnan(found[-1])


def test_one_fold_among_many_maps_without_folds_is_seen() -> None:
    values = np.zeros(50)
    values[7] = 1e-4

    found = robust_z(values)

    assert found is not None
    # mean absolute deviation: 1e-4 / 50
    assert found[7] == pytest.approx(50 / 1.2533, rel=1e-4)
    assert (np.abs(np.delete(found, 7)) < 1).all()


@pytest.mark.parametrize(
    "values", [np.ones(30), np.full(30, 0.1) + 1e-17, np.arange(7.0), np.full(9, np.nan)]
)
def test_without_spread_or_with_too_few_there_is_no_score(values: np.ndarray) -> None:
    assert robust_z(values) is None


def test_the_outlier_that_was_put_in_is_found_and_no_other() -> None:
    spread = np.linspace(-1, 1, 20)
    rows = [row(n, nmi_after=1.1 + 0.01 * s, jacobian_p01=0.8 + 0.1 * s) for n, s in enumerate(spread)]
    rows[4] = row(4, nmi_after=1.0, jacobian_p01=0.8)

    found = find_outliers(rows)

    assert [place for place, each in enumerate(found) if each] == [4]
    assert found[4] is not None
    ((key, z),) = [(outlier.key, outlier.z) for outlier in found[4]]
    assert key == "nmi_after"
    assert z < -3.5


def test_pairs_are_judged_among_their_own_kind() -> None:
    """What is usual for FLAIR is far out for T2w; seven longitudinal pairs say nothing of each other."""
    spread = np.linspace(-1, 1, 10)
    rows = [row(n, nmi_after=1.1 + 0.01 * s) for n, s in enumerate(spread)]
    rows += [row(n, moving="FLAIR", nmi_after=1.4 + 0.01 * s) for n, s in enumerate(spread)]
    rows += [row(n, rule="longitudinal", nmi_after=5.0 * n) for n in range(7)]

    found = find_outliers(rows)

    assert set(kinds(rows)) == {
        (r, m, "T1w")
        for r, m in (("within-session", "T2w"), ("within-session", "FLAIR"), ("longitudinal", "T2w"))
    }
    assert found[:20] == [()] * 20
    assert found[20:] == [None] * 7


def test_the_words_of_a_cell() -> None:
    assert outlier_words(None) == "n/a"
    assert outlier_words(()) == "none"
    assert outlier_words((Outlier("nmi_after", -4.2), Outlier("jacobian_p99", 3.9))) == (
        "nmi_after (z -4.2), jacobian_p99 (z +3.9)"
    )
