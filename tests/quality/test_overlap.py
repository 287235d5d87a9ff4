from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_nodereg.quality.overlap import coverage, dice, hd95_mm, label_overlap, overlap_measures

SPACING = (1.0, 1.7, 2.3)


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two irregular masks that touch no border."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(26, 24, 18)), 2.5)
    first, second = noise > 0.02, np.roll(noise, (2, -1, 1), (0, 1, 2)) > 0.03
    inside = np.zeros(noise.shape, bool)
    inside[3:-3, 3:-3, 3:-3] = True
    return first & inside, second & inside


def test_dice_and_hd95_agree_with_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    a, b = blobs()

    def image(mask: np.ndarray) -> object:
        result = sitk.GetImageFromArray(mask.astype(np.uint8).transpose())
        result.SetSpacing(SPACING)
        return result

    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(a), image(b))
    directed = []
    for mask, other in ((a, b), (b, a)):
        contour = sitk.GetArrayFromImage(sitk.BinaryContour(image(mask), fullyConnected=False)) > 0
        far = sitk.SignedMaurerDistanceMap(
            sitk.BinaryContour(image(other), fullyConnected=False),
            squaredDistance=False,
            useImageSpacing=True,
        )
        directed.append(np.percentile(np.maximum(sitk.GetArrayFromImage(far)[contour], 0), 95))

    assert dice(a, b) == pytest.approx(overlap.GetDiceCoefficient())
    assert hd95_mm(a, b, SPACING) == pytest.approx(max(directed), abs=1e-4)


def test_distance_of_shifted_boxes_is_the_shift_in_mm() -> None:
    a, b = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    a[8:12, 8:12, 5] = b[8:12, 8:12, 8] = True

    assert hd95_mm(a, b, SPACING) == pytest.approx(3 * 2.3)
    assert hd95_mm(a, b, SPACING) == hd95_mm(b, a, SPACING)
    assert hd95_mm(a, a, SPACING) == 0


def test_what_cannot_be_said_is_none() -> None:
    a, empty = blobs()[0], np.zeros((26, 24, 18), bool)

    assert dice(empty, empty) is None
    assert dice(a, empty) == 0
    assert hd95_mm(a, empty, SPACING) is None
    assert coverage(empty, a) is None


def test_coverage_is_the_part_of_the_first_mask() -> None:
    a, b = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    a[:2], b[1:] = True, True

    assert coverage(a, b) == 0.5
    assert coverage(b, a) == pytest.approx(1 / 3)


def test_labels_one_by_one_and_their_means() -> None:
    fixed, moved = np.zeros((10, 10, 10), int), np.zeros((10, 10, 10), int)
    fixed[1:3, 1:5, 1:5] = moved[2:4, 1:5, 1:5] = 4
    fixed[6:8, 6:8, 6:8] = 17  # missing in the moved map

    rows = label_overlap(fixed, moved, SPACING, {4: "lateral ventricle"})

    assert [(row.label, row.name, row.dice) for row in rows] == [
        (4, "lateral ventricle", 0.5),
        (17, "label 17", 0.0),
    ]
    assert rows[0].fixed_volume_ml == pytest.approx(32 * 1.7 * 2.3 / 1000)
    assert overlap_measures(rows, "after") == {"dice_mean_after": 0.25, "hd95_mean_after_mm": rows[0].hd95_mm}
    assert overlap_measures((), "before") == {"dice_mean_before": None, "hd95_mean_before_mm": None}
