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
        ``mm``, ``1/mm^2``, ``degree``, ``nat``, ``fraction``, ``voxels``, ``s``, ``MiB`` or ``1`` for a
        pure number.
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
_AFFINE = "Affine, seen from the headers"
_PLAUSIBILITY = "Do the images belong together"
_OPTIMISATION = "Optimisation"
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


def _whole_jacobian(which: str, name: str) -> dict[str, Description]:
    text = (
        "Determinant of the Jacobian of the whole map, affine and deformation, in the mask: above 1 the "
        "matching moving tissue is larger than the fixed."
    )
    key = f"whole_jacobian_{which}"
    return {
        key: Description(f"Jacobian determinant of the whole map, {name}", "1", text, "neither", _FOLDING)
    }


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
        "nmi_gain": Description(
            "Normalised mutual information, gain",
            "1",
            "What the deformation has added to the normalised mutual information of the affine alone.",
            "higher",
            _SIMILARITY,
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
            "lncc_*",
            Description(
                "Local correlation",
                "1",
                "Mean over the mask of the Pearson correlation in windows of 9 voxels (Avants 2008, signed). "
                "Only for two images of one contrast.",
                "higher",
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
        "affine_rotation_deg": Description(
            "Rotation",
            "degree",
            "Angle of the rotation in the affine from fixed to moving world; 0 where the headers are right "
            "and the head was held alike.",
            "neither",
            _AFFINE,
        ),
        "affine_translation_mm": Description(
            "Translation",
            "mm",
            "How far the affine moves the centre of the fixed mask.",
            "neither",
            _AFFINE,
        ),
        "affine_scale_min": Description(
            "Smallest scale",
            "1",
            "Smallest principal stretch of the affine (a shear shows here too); 1 keeps lengths.",
            "near 1",
            _AFFINE,
        ),
        "affine_scale_max": Description(
            "Largest scale",
            "1",
            "Largest principal stretch of the affine (a shear shows here too); 1 keeps lengths.",
            "near 1",
            _AFFINE,
        ),
        "affine_determinant": Description(
            "Determinant",
            "1",
            "Volume in the moving image for each unit of volume in the fixed one, by the affine alone.",
            "near 1",
            _AFFINE,
        ),
        "inner_rank_correlation": Description(
            "Rank correlation deep inside",
            "1",
            "Spearman's correlation of the intensities of the fixed and the registered image, more "
            "than 20 mm "
            "inside the fixed mask. Two images of one contrast have it well above 0, T1w and T2w well below.",
            "neither",
            _PLAUSIBILITY,
        ),
        "mirrored_distance_ratio": Description(
            "Mirrored image, distance ratio",
            "1",
            "Descriptor distance of the moving image turned into its mirror image (left for right, "
            "then aligned "
            "anew), divided by that of the image as it is; at 4 mm, affine only. Clearly above 1 for "
            "one person, "
            "about 1 for two people, below 1 for a mirrored image of one person.",
            "neither",
            _PLAUSIBILITY,
        ),
        "turned_distance_ratio": Description(
            "Overturned image, distance ratio",
            "1",
            "Descriptor distance of the moving image turned over by half a turn (the best of three axes), "
            "divided by that of the image as it is; at 4 mm, affine only. About 1 where there is "
            "nothing to match.",
            "higher",
            _PLAUSIBILITY,
        ),
        "nonfinite_attempts": Description(
            "Attempts that met a number that is none",
            "1",
            "How often a level of the optimisation ended because its loss was not a finite number; it then "
            "went on from the last good state.",
            "lower",
            _OPTIMISATION,
        ),
        "affine_alone": Description(
            "Affine alone",
            "1",
            "1 where no deformation could be optimised, because the loss was never finite on the first "
            "level: the map is the affine alone. 0 otherwise.",
            "lower",
            _OPTIMISATION,
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
        **_whole_jacobian("min", "minimum"),
        **_whole_jacobian("p01", "1st percentile"),
        **_whole_jacobian("p05", "5th percentile"),
        **_whole_jacobian("median", "median"),
        **_whole_jacobian("p95", "95th percentile"),
        **_whole_jacobian("p99", "99th percentile"),
        **_whole_jacobian("max", "maximum"),
        "sd_log_jacobian": Description(
            "Spread of the log-Jacobian",
            "1",
            "Standard deviation of ln J in the mask, J raised to at least 0.001. The affine does not "
            "change it.",
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
        **_before_after(
            "foreground_jaccard_*",
            Description(
                "Foreground Jaccard",
                "1",
                "Intersection over union of the masks of the fixed and of the moving image.",
                "higher",
                _OVERLAP,
            ),
        ),
        **_before_after(
            "foreground_coverage_*_fraction",
            Description(
                "Fixed mask covered by the moving mask",
                "fraction",
                "Part of the fixed image's mask that the moving image's mask covers.",
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
        "fixed_view_covered_fraction": Description(
            "Fixed field of view inside the moving one",
            "fraction",
            "Part of the whole fixed image, background and all, that the map sends into the field of view "
            "of the moving image.",
            "neither",
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
