"""Finding where the head or brain is when nobody gives a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_BACKGROUND_ON_FACES = 0.5  # share of the six outer faces that one constant value must hold ...
MIN_BACKGROUND = 0.25  # ... and of the whole image, to be called a constant background
MIN_CONTRAST = 0.005  # of the bright end: a ripple below this is no foreground
HISTOGRAM_BINS = 256
CLOSING_RADIUS = 0.1  # of the radius of a ball as big as the foreground: about 9 mm for a head


def find_mask(
    data: NDArray[np.float32], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.bool_], str]:
    """Tell foreground from background: one connected region without holes.

    Where one constant value fills most of the image's faces and a good part of its inside (a
    skull-stripped, defaced or zero-filled image), whatever stands out from it by more than
    0.5 % of the bright end is foreground: spline interpolation leaves a faint halo around a
    stripped brain that is not part of it. Otherwise Otsu's
    threshold decides, and gaps narrower than a fifth of the foreground's radius (dark fluid, bone)
    are closed. The largest connected piece is kept and its holes are filled.

    Parameters
    ----------
    data
        Intensities ``(i, j, k)``, finite.
    spacing
        Voxel size in mm.

    Returns
    -------
    mask
        ``(i, j, k)`` Boolean; may be empty or tiny, which is for the caller to judge.
    origin
        How it was found, in words.
    """
    background = _constant_background(data)
    if background is None:
        threshold = otsu_threshold(data)
        foreground = _closed(_largest_piece(data > threshold), spacing)
        origin = f"head found by Otsu's threshold ({threshold:.4g}), gaps closed"
    else:
        foreground = _stands_out(np.abs(data - np.float32(background)))
        origin = f"all voxels that stand out from the constant background ({background:g})"
    return one_piece(foreground), f"{origin}, largest piece, holes filled"


def one_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest piece of a mask that is connected through faces, and fill its holes."""
    return _without_holes(_largest_piece(mask))


def otsu_threshold(data: NDArray[np.float32]) -> float:
    """Find the threshold that separates two classes best.

    The between-class variance of a histogram is maximised (Otsu, IEEE Trans. Syst. Man Cybern.
    1979, eq. 18). Intensities above the 99.9th percentile are counted as equal to it, so that a
    few very bright voxels do not stretch the histogram.

    Parameters
    ----------
    data
        Intensities of any shape, not all the same.
    """
    top = float(np.percentile(data, 99.9))
    if top <= data.min():
        top = float(data.max())
    counts, edges = np.histogram(np.minimum(data, top), bins=HISTOGRAM_BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sum_below = np.cumsum(counts * middles)
    both = (below > 0) & (above > 0)
    mean_below = sum_below[both] / below[both]
    mean_above = (sum_below[-1] - sum_below[both]) / above[both]
    between = below[both] * above[both] * (mean_below - mean_above) ** 2
    return float(edges[1:][both][np.argmax(between)])


def _stands_out(difference: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell where the distance from the background is more than a ripple."""
    bright = np.percentile(difference[difference > 0], 99.5)
    return np.asarray(difference > MIN_CONTRAST * bright)


def _constant_background(data: NDArray[np.float32]) -> float | None:
    """Find the value of a constant background, or None where there is none."""
    faces = np.concatenate([data.take((0, -1), axis=axis).ravel() for axis in range(3)])
    values, counts = np.unique(faces, return_counts=True)
    value = values[np.argmax(counts)]
    enough = counts.max() >= MIN_BACKGROUND_ON_FACES * faces.size
    if not enough or np.count_nonzero(data == value) < MIN_BACKGROUND * data.size:
        return None
    return float(value)


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest piece connected through faces."""
    pieces, count = _pieces(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == np.argmax(sizes))


def _closed(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Close gaps by a ball whose size follows the foreground's, so that small animals work too.

    Fine voxels are thinned out to about a quarter of the ball's radius first, which is exact
    enough for gaps and many times faster.
    """
    volume_mm3 = np.count_nonzero(mask) * float(np.prod(spacing))
    radius_mm = CLOSING_RADIUS * np.cbrt(3 * volume_mm3 / (4 * np.pi))
    steps = [max(1, int(radius_mm / 4 / size)) for size in spacing]
    thinned = mask[tuple(slice(step // 2, None, step) for step in steps)]
    closed = _closed_by_ball(thinned, [s * n for s, n in zip(spacing, steps, strict=True)], radius_mm)
    back = [
        np.minimum(np.arange(size) // step, coarse - 1)
        for size, step, coarse in zip(mask.shape, steps, closed.shape, strict=True)
    ]
    return mask | closed[np.ix_(*back)]


def _closed_by_ball(mask: NDArray[np.bool_], spacing: list[float], radius_mm: float) -> NDArray[np.bool_]:
    """Dilate, then erode by a ball, by means of distances."""
    room = [(int(radius_mm / size) + 2,) * 2 for size in spacing]
    padded = np.pad(mask, room)  # so that what touches the image's edge is not grown into a bump there
    dilated = _distance_mm(~padded, spacing) <= radius_mm
    closed = _distance_mm(dilated, spacing) > radius_mm
    i, j, k = (slice(before, -after) for before, after in room)
    return np.asarray(closed[i, j, k])


def _distance_mm(inside: NDArray[np.bool_], spacing: list[float]) -> NDArray[np.float64]:
    """Distance of each inside voxel to the nearest outside one."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(inside, sampling=spacing)
    return distance


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill everything the outside cannot reach through faces.

    One labelling of the padded complement; ``scipy.ndimage.binary_fill_holes`` gives the same by
    repeated dilation and takes minutes on a head.
    """
    outside, _ = _pieces(np.pad(~mask, 1, constant_values=True))
    reached = outside == outside[0, 0, 0]
    return np.asarray(~reached[1:-1, 1:-1, 1:-1])


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    labelled: Any = ndimage.label(mask)
    return labelled[0], int(labelled[1])
