"""Agreement of two images: mutual information and correlation, the same way before and after.

Windows and bins are chosen once, from the images before registration, so that a difference
between before and after is a difference of alignment and not of sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.floating]
    Mask = NDArray[np.bool_]

BINS = 64
CLIP_PERCENT = (0.5, 99.5)


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
