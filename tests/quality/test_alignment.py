from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_nodereg.quality.alignment import affine_measures, affine_parts, affine_words
from bids_nodereg.quality.dictionary import DICTIONARY

CENTRE = np.array([12.0, -30.0, 45.0])


def about_centre(linear: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = CENTRE - linear @ CENTRE + shift
    return affine


@pytest.mark.parametrize("angle", [0.0, 4.0, 90.0, 179.0])
def test_an_affine_comes_apart_as_it_was_put_together(angle: float) -> None:
    turn = Rotation.from_rotvec(np.radians(angle) * np.array([2.0, -1.0, 2.0]) / 3).as_matrix()
    stretch = np.diag([0.9, 1.2, 1.05])

    parts = affine_parts(about_centre(turn @ stretch, (3.0, 4.0, 12.0)), CENTRE)

    assert parts.rotation_deg == pytest.approx(angle, abs=1e-5)
    assert parts.translation_mm == pytest.approx(13)
    assert parts.scales == pytest.approx((0.9, 1.05, 1.2))
    assert parts.determinant == pytest.approx(0.9 * 1.2 * 1.05)
    assert set(affine_measures(parts)) <= set(DICTIONARY)


def test_a_shear_shows_in_the_scales_and_a_mirror_in_the_determinant() -> None:
    shear, mirror = np.eye(3), np.diag([1.0, -1.0, 1.0])
    shear[0, 1] = 0.2

    sheared, mirrored = (affine_parts(about_centre(each, (0, 0, 0)), CENTRE) for each in (shear, mirror))

    # singular values of [[1, s], [0, 1]]: sqrt(1 + s^2 / 4) -+ s / 2
    assert sheared.scales == pytest.approx((1.01**0.5 - 0.1, 1, 1.01**0.5 + 0.1))
    assert sheared.determinant == pytest.approx(1)
    assert mirrored.determinant == pytest.approx(-1)


def test_the_words_hold_the_numbers() -> None:
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()

    words = affine_words(affine_parts(about_centre(turn * 1.1, (0, 0, 20)), CENTRE))

    assert "90.0 degrees" in words
    assert "20.0 mm" in words
    assert "1.100" in words
    assert "+33.1 %" in words
