"""Agreement of two images: mutual information and correlation, the same way before and after.

Windows and bins are chosen once, from the images before registration, so that a difference
between before and after is a difference of alignment and not of sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.floating]
    Mask = NDArray[np.bool_]

BINS = 64
CLIP_PERCENT = (0.5, 99.5)

LOCAL_RADIUS = 4
"""Half-width in voxels of the window of the local correlation."""

FLAT = 1e-4
"""A window whose variance is below this part of the variance in the mask has nothing to compare."""


@dataclass(frozen=True)
class MutualInformation:
    """Entropies of two images in nat.

    Attributes
    ----------
    mi
        ``H(F) + H(M) - H(F, M)`` in nat.
    nmi
        ``(H(F) + H(M)) / H(F, M)``: 1 independent, 2 one determines the other; not a number when
        both images are constant. Studholme, Hill, Hawkes, Pattern Recognition 32, 1999.
    """

    mi: float
    nmi: float


def intensity_window(image: Image, mask: Mask) -> tuple[float, float]:
    """Robust intensity range of an image in a mask: its 0.5th and 99.5th percentiles."""
    inside = image[mask]
    if inside.size == 0:
        return (0.0, 1.0)
    low, high = np.percentile(inside, CLIP_PERCENT)
    return (float(low), float(high))


def mutual_information(
    fixed: Image,
    moving: Image,
    mask: Mask,
    windows: tuple[tuple[float, float], tuple[float, float]] | None = None,
    bins: int = BINS,
) -> MutualInformation:
    """Mutual information of two images on one grid inside a mask, from a joint histogram.

    Parameters
    ----------
    fixed, moving
        ``(i, j, k)``, any intensity units.
    mask
        ``(i, j, k)``, voxels that are counted.
    windows
        Intensity range of the fixed and of the moving image; values outside are clipped. Default:
        :func:`intensity_window` of each.
    bins
        Number of bins of each axis of the histogram.
    """
    if windows is None:
        windows = (intensity_window(fixed, mask), intensity_window(moving, mask))
    columns = _bin(fixed[mask], windows[0], bins) * bins + _bin(moving[mask], windows[1], bins)
    joint = np.bincount(columns, minlength=bins * bins).reshape(bins, bins).astype(float)
    joint /= max(joint.sum(), 1.0)
    marginals = _entropy(joint.sum(1)) + _entropy(joint.sum(0))
    together = _entropy(joint)
    return MutualInformation(marginals - together, marginals / together if together > 0 else float("nan"))


def correlation(fixed: Image, moving: Image, mask: Mask) -> float:
    """Pearson correlation (NCC) inside a mask; not a number when an image is constant there."""
    a, b = np.asarray(fixed[mask], float), np.asarray(moving[mask], float)
    if a.size == 0:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else float("nan")


def local_correlation(fixed: Image, moving: Image, mask: Mask) -> float:
    """Mean over a mask of the Pearson correlation in a window around each voxel (LNCC), signed.

    Only for images of one contrast: it asks that bright be bright, and lets the brightness drift from
    place to place (Avants et al., Medical Image Analysis 12, 2008, there squared).

    Parameters
    ----------
    fixed, moving
        ``(i, j, k)`` on one grid.
    mask
        ``(i, j, k)``, the voxels whose windows count. Windows that are flat in either image are left
        out.

    Returns
    -------
    float
        In [-1, 1]; not a number when no window has anything in it.
    """
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return float("nan")
    box = tuple(
        slice(max(0, part.start - LOCAL_RADIUS), part.stop + LOCAL_RADIUS) for part in boxes[0] if part
    )
    inside = mask[box]
    a, b = (np.asarray(image[box], np.float64) - np.mean(image[mask]) for image in (fixed, moving))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = ndimage.uniform_filter(values, 2 * LOCAL_RADIUS + 1)
        return smooth[inside]

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    told = (variance_a > FLAT * np.var(a[inside])) & (variance_b > FLAT * np.var(b[inside]))
    if not told.any():
        return float("nan")
    covariance = (mean(a * b) - mean_a * mean_b)[told]
    return float(np.mean(covariance / np.sqrt(variance_a[told] * variance_b[told])))


def rank_correlation(fixed: Image, moving: Image, mask: Mask) -> float:
    """Spearman's correlation inside a mask; not a number when an image is constant there.

    It asks only whether bright goes with bright, not how bright: that is what two images of one contrast
    share whatever the scanner, and two images of different contrasts do not.
    """
    from scipy import stats  # takes long to import, and is needed at the end of a pair only

    a, b = np.asarray(fixed[mask]), np.asarray(moving[mask])
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return correlation(stats.rankdata(a), stats.rankdata(b), np.ones(a.size, bool))


def similarity_measures(fixed: Image, before: Image, after: Image, mask: Mask) -> dict[str, float]:
    """NMI, MI and NCC of the fixed image with the moving one before and after; keys of the dictionary.

    Parameters
    ----------
    fixed
        ``(i, j, k)`` fixed image.
    before, after
        ``(i, j, k)`` moving image on the fixed grid by the affine alone, and by the whole map.
    mask
        ``(i, j, k)`` voxels that are counted, the same before and after.
    """
    windows = (intensity_window(fixed, mask), intensity_window(before, mask))
    first = mutual_information(fixed, before, mask, windows)
    second = mutual_information(fixed, after, mask, windows)
    return {
        "nmi_before": first.nmi,
        "nmi_after": second.nmi,
        "nmi_gain": second.nmi - first.nmi,
        "mi_before_nat": first.mi,
        "mi_after_nat": second.mi,
        "ncc_before": correlation(fixed, before, mask),
        "ncc_after": correlation(fixed, after, mask),
    }


def _bin(values: Image, window: tuple[float, float], bins: int) -> NDArray[np.intp]:
    low, high = window
    scaled = (np.asarray(values, np.float64) - low) * (bins / (high - low) if high > low else 0.0)
    return np.clip(scaled, 0, bins - 1).astype(np.intp)


def _entropy(probability: NDArray[np.float64]) -> float:
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())
