"""Slow changes of brightness that the coils leave in an image, estimated and divided out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.imaging.volume import Volume

SHRUNK_MM = 5.0
"""Voxel size at which the field is estimated: it is smoother than that by far."""

LEAST_SLICES = 4
"""Thinning out leaves as many along each axis: the control points of the coarsest cubic spline."""

ITERATIONS = (40, 40, 30, 20)
"""Most iterations on each level; the spline lattice is twice as fine on each next one."""

MIN_POINTS = 200
"""Fewest thinned-out voxels that a field is fitted to."""

TOLERANCE = 1e-3
"""A level ends when the field changes by less than this."""


def without_bias(volume: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Divide an image by its bias field, found by N4 (Tustison et al., IEEE Trans. Med. Imaging 2010).

    The logarithm of the field is estimated on a thinned-out image and evaluated, as the spline that it
    is, at every voxel. Beyond the mask it is held within the range that it has in the mask. The mean of
    the logarithm over the mask is taken out, so that intensities keep their level.

    Parameters
    ----------
    volume
        The image; where it is not above 0 it does not count.
    mask
        ``(i, j, k)`` on its grid: where tissue is.

    Returns
    -------
    ndarray or None
        ``(i, j, k)`` float32; None where too little of the image is above 0 in the mask to fit a field to.
    """
    import SimpleITK as sitk  # noqa: N813 - the name that its own documentation gives it

    counts = mask & (volume.data > 0)
    steps = [
        max(1, min(round(SHRUNK_MM / size), count // LEAST_SLICES))
        for size, count in zip(volume.grid.spacing, volume.grid.shape, strict=True)
    ]
    thinned = counts[tuple(slice(step // 2, None, step) for step in steps)]
    if np.count_nonzero(thinned) < MIN_POINTS:
        return None
    image, where = (
        sitk.GetImageFromArray(array.T)  # sitk's arrays are (k, j, i)
        for array in (volume.data, counts.astype(np.uint8))
    )
    for each in (image, where):
        each.SetSpacing(volume.grid.spacing)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)  # sums in one order: the same bits each time
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(TOLERANCE)
    n4.Execute(sitk.Shrink(image, steps), sitk.Shrink(where, steps))
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    known = log_field[counts]
    held = np.clip(log_field, known.min(), known.max()) - float(known.mean(dtype=np.float64))
    return np.ascontiguousarray(volume.data / np.exp(held), dtype=np.float32)
