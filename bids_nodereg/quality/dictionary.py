"""What every measure is called, means, and is measured in."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Better = Literal["higher", "lower", "near 1", "neither"]


@dataclass(frozen=True)
class Description:
    """One entry of the data dictionary.

    Attributes
    ----------
    name
        Long name for tables.
    units
        ``mm``, ``1/mm^2``, ``nat``, ``fraction``, ``voxels``, ``s``, ``MiB`` or ``1`` for a pure number.
    text
        What it is, in one or two sentences.
    better
        Which direction is better; ``neither`` for a description that is not a score.
    group
        Heading under which tables show it.
    """

    name: str
    units: str
    text: str
    better: Better
    group: str


_SIMILARITY = "Similarity"
_FOLDING = "Regularity of the map"
_DISPLACEMENT = "Displacement"
_INVERSE = "Inverse consistency"
_OVERLAP = "Overlap"
_TRUTH = "Known truth"
_COST = "Cost"


def _before_after(key: str, description: Description) -> dict[str, Description]:
    """Give a measure its two entries: with the affine alone, and with the whole map."""
    stem, _, unit = key.partition("*")
    words = {"before": "affine only", "after": "registered"}
    return {
        f"{stem}{when}{unit}": Description(
            f"{description.name}, {meaning}",
            description.units,
            description.text,
            description.better,
            description.group,
        )
        for when, meaning in words.items()
    }


def _error(key: str, name: str, text: str, group: str) -> dict[str, Description]:
    """Give a distance its three entries: mean, 95th percentile, maximum."""
    kinds = {"mean": "mean", "p95": "95th percentile", "max": "maximum"}
    return {
        f"{key}_{short}_mm": Description(f"{name}, {long}", "mm", text, "lower", group)
        for short, long in kinds.items()
    }


def _jacobian(key: str, name: str) -> dict[str, Description]:
    text = (
        "Determinant of the Jacobian of the deformable map by central differences in world space, in the "
        "mask. 1 keeps volume; above 1 the matching moving tissue is larger than the fixed."
    )
    return {f"jacobian_{key}": Description(f"Jacobian determinant, {name}", "1", text, "near 1", _FOLDING)}


_INVERSE_TEXT = "Distance between a point and where it comes back to after {}, in the mask."

DICTIONARY: Mapping[str, Description] = MappingProxyType(
    {
        **_before_after(
            "nmi_*",
            Description(
                "Normalised mutual information",
                "1",
                "(H(F) + H(M)) / H(F, M) of fixed and moving image in the mask, 64 bins over the 0.5-99.5 "
                "percentile range, same windows before and after (Studholme 1999). 1 means independent.",
                "higher",
                _SIMILARITY,
            ),
        ),
        **_before_after(
            "mi_*_nat",
            Description(
                "Mutual information",
                "nat",
                "H(F) + H(M) - H(F, M), same mask, bins and windows as the normalised one.",
                "higher",
                _SIMILARITY,
            ),
        ),
        **_before_after(
            "ncc_*",
            Description(
                "Correlation",
                "1",
                "Pearson correlation of the intensities in the mask. A score only for images of the same "
                "contrast; across contrasts its sign and size say little.",
                "neither",
                _SIMILARITY,
            ),
        ),
        **_before_after(
            "mind_distance_*",
            Description(
                "Descriptor distance",
                "1",
                "Mean squared difference of the structural descriptors in the fixed mask, at half the "
                "working resolution; none where intensities were compared. It is part of what was "
                "optimised, so it is not independent evidence.",
                "lower",
                _SIMILARITY,
            ),
        ),
        "folded_voxels": Description(
            "Folded voxels",
            "voxels",
            "Voxels of the mask at which any of ten finite-difference determinants is not positive: there "
            "the map is not a digital diffeomorphism (Liu 2024).",
            "lower",
            _FOLDING,
        ),
        "folded_fraction": Description(
            "Folded voxels, part of the mask",
            "fraction",
            "Folded voxels divided by the voxels of the mask.",
            "lower",
            _FOLDING,
        ),
        "non_diffeomorphic_volume_fraction": Description(
            "Non-diffeomorphic volume",
            "fraction",
            "Volume turned inside out, from the negative tetrahedra of the lattice, divided by the volume of "
            "the mask (Liu 2024; times 100 it is the NDV in per cent of the LUMIR challenge).",
            "lower",
            _FOLDING,
        ),
        "central_folded_fraction": Description(
            "Folded voxels by central differences",
            "fraction",
            "Part of the mask with a central-difference determinant of 0 or less: the older measure, which "
            "misses folds; for comparison with the literature.",
            "lower",
            _FOLDING,
        ),
        "jacobian_smallest_of_ten": Description(
            "Smallest of the ten determinants",
            "1",
            "Smallest finite-difference determinant anywhere in the mask; positive means no fold.",
            "higher",
            _FOLDING,
        ),
        **_jacobian("min", "minimum"),
        **_jacobian("p01", "1st percentile"),
        **_jacobian("p05", "5th percentile"),
        **_jacobian("median", "median"),
        **_jacobian("p95", "95th percentile"),
        **_jacobian("p99", "99th percentile"),
        **_jacobian("max", "maximum"),
        "sd_log_jacobian": Description(
            "Spread of the log-Jacobian",
            "1",
            "Standard deviation of ln J in the mask, J raised to at least 0.001.",
            "lower",
            _FOLDING,
        ),
        "sd_log_jacobian_learn2reg": Description(
            "Spread of the log-Jacobian, Learn2Reg form",
            "1",
            "Standard deviation of ln(J + 3), two border voxels left out: the score of the Learn2Reg "
            "challenge, smaller than the plain one.",
            "lower",
            _FOLDING,
        ),
        "bending_energy_per_mm2": Description(
            "Bending energy",
            "1/mm^2",
            "Mean sum of squared second derivatives of the displacement in the mask; 0 for an affine map.",
            "lower",
            _FOLDING,
        ),
        **{
            key: Description(
                f"Displacement, {name}",
                "mm",
                "Length of the deformable displacement in the mask, the affine not counted.",
                "neither",
                _DISPLACEMENT,
            )
            for key, name in {
                "displacement_mean_mm": "mean",
                "displacement_p95_mm": "95th percentile",
                "displacement_max_mm": "maximum",
            }.items()
        },
        **_error(
            "inverse_consistency_forward",
            "Forward then inverse",
            _INVERSE_TEXT.format("the forward and then the inverse map"),
            _INVERSE,
        ),
        **_error(
            "inverse_consistency_backward",
            "Inverse then forward",
            _INVERSE_TEXT.format("the inverse and then the forward map"),
            _INVERSE,
        ),
        **_before_after(
            "foreground_dice_*",
            Description(
                "Foreground Dice",
                "1",
                "Dice coefficient of the masks of the fixed and of the moving image: catches gross failures.",
                "higher",
                _OVERLAP,
            ),
        ),
        "moving_coverage_fraction": Description(
            "Fixed mask inside the moving field of view",
            "fraction",
            "Part of the fixed mask that the map sends into the field of view of the moving image.",
            "higher",
            _OVERLAP,
        ),
        **_before_after(
            "dice_mean_*",
            Description(
                "Dice, mean of the labels",
                "1",
                "Mean over labels of the Dice coefficient; a label missing on one side counts 0.",
                "higher",
                _OVERLAP,
            ),
        ),
        **_before_after(
            "hd95_mean_*_mm",
            Description(
                "Surface distance (HD95), mean of the labels",
                "mm",
                "Mean over labels of the larger directed 95th percentile surface distance.",
                "lower",
                _OVERLAP,
            ),
        ),
        **_error(
            "endpoint_error",
            "Endpoint error",
            "Distance between where this map and the known true map send a voxel, in the mask.",
            _TRUTH,
        ),
        "time_total_s": Description(
            "Time of the pair", "s", "Wall time from reading to writing.", "lower", _COST
        ),
        "time_registration_s": Description(
            "Time of the registration",
            "s",
            "Wall time of the affine start, the deformable registration and the final maps; reading, "
            "preparing, measuring and writing are not in it.",
            "lower",
            _COST,
        ),
        "memory_peak_mib": Description(
            "Peak memory of the process",
            "MiB",
            "Largest resident memory of the process.",
            "lower",
            _COST,
        ),
        "memory_peak_device_mib": Description(
            "Peak memory of the device", "MiB", "Largest memory allocated on the GPU.", "lower", _COST
        ),
    }
)
"""Every measure by its key. The key ends in the unit where there is one."""
