from __future__ import annotations

import numpy as np
import pytest

from bids_nodereg.quality.evaluation_dictionary import EVALUATION
from bids_nodereg.quality.landmarks import landmark_measures, target_registration_error_mm


def test_the_error_is_the_distance_in_mm() -> None:
    mapped = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    moving = np.array([[4.0, 6.0, 3.0], [0.0, 0.0, -2.0]])
    np.testing.assert_allclose(target_registration_error_mm(mapped, moving), [5.0, 2.0])
    with pytest.raises(ValueError, match="expected the same"):
        target_registration_error_mm(mapped, moving[:1])


def test_the_measures_are_those_of_the_sorted_errors() -> None:
    values = landmark_measures(np.array([4.0, 1.0, 2.0, 5.0, 3.0]), "after")
    assert values == {
        "tre_mean_after_mm": 3.0,
        "tre_median_after_mm": 3.0,
        "tre_p95_after_mm": pytest.approx(4.8),
        "tre_max_after_mm": 5.0,
    }
    assert set(values) | set(landmark_measures(np.ones(1), "identity")) <= set(EVALUATION)
    assert landmark_measures(np.empty(0), "after") == {}
