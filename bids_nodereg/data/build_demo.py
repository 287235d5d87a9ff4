"""Make the demo data set: ``python -m bids_nodereg.data.build_demo FOLDER``.

Two subjects with a T1w, a T2w and a FLAIR image each, simulated on the anatomy of the MNI152
average brain. T2w and FLAIR are moved against the T1w by a smooth map that is known and stored, so
that a registration can be scored. The same seed and library versions give the same bytes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.data.demo_anatomy import load_mni152
from bids_nodereg.data.demo_files import (
    ImageName,
    write_dataset,
    write_image,
    write_labels,
    write_truth_field,
)
from bids_nodereg.data.demo_motion import (
    Motion,
    SplineField,
    box_grid,
    lattice,
    random_velocity,
    rigid_about,
    scale_to_reach,
    tabulate,
)
from bids_nodereg.data.demo_scanner import Contrast, Placement, Protocol, acquire, label, voxel_averages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.data.demo_anatomy import Anatomy
    from bids_nodereg.data.demo_motion import Points
    from bids_nodereg.geometry import Grid

SEED = 20261122
BOX_MARGIN_MM = 40.0
TRUTH_SPACING_MM = 5.0
TRUTH_MARGIN_MM = 8.0
CENTRE_MM = np.array([0.0, -18.0, 8.0])
"""About the middle of the brain in MNI space: rotations turn around it."""

CONTRASTS = {
    "T1w": Contrast(tissue=(0.22, 0.68, 1.0), texture=1.0, own_texture=0.012, noise=0.022),
    "T2w": Contrast(tissue=(1.25, 0.62, 0.42), texture=-1.1, own_texture=0.02, noise=0.022),
    "FLAIR": Contrast(tissue=(0.16, 0.78, 0.56), texture=-0.5, own_texture=0.02, noise=0.025),
}


@dataclass(frozen=True)
class Misplacement:
    """How one moving image lies against the T1w image of its subject."""

    reach_mm: float
    scales: tuple[tuple[float, float], ...]
    axis: tuple[float, float, float]
    angle_deg: float
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """One simulated participant.

    Attributes
    ----------
    name
        Label without ``sub-``.
    reach_mm
        How far its anatomy departs from the template's; 0 for the template's own.
    protocols
        Suffix -> where the voxels are.
    misplacements
        Suffix of each moving image -> how it lies.
    """

    name: str
    reach_mm: float
    protocols: dict[str, Protocol]
    misplacements: dict[str, Misplacement]


SUBJECTS = (
    Subject(
        "01",
        0.0,
        {
            "T1w": Protocol((1.8, 1.8, 1.8), "PSR", (2.0, -3.0, 1.5)),
            "T2w": Protocol((1.4, 1.4, 3.0), "LAS", (-9.0, 4.0, 6.0)),
            "FLAIR": Protocol((1.6, 1.6, 3.2), "RSA", (7.0, -5.0, 3.0)),
        },
        {
            "T2w": Misplacement(8.0, ((16.0, 1.0),), (0.3, -0.4, 1.0), 8.0, (4.0, -4.0, 2.0)),
            "FLAIR": Misplacement(6.0, ((13.0, 1.0),), (1.0, 0.5, -0.6), 6.0, (-3.0, 2.0, 4.0)),
        },
    ),
    Subject(
        "02",
        9.0,
        {
            "T1w": Protocol((2.0, 1.7, 1.7), "LPI", (-4.0, 2.0, -5.0)),
            "T2w": Protocol((1.5, 1.5, 2.8), "RAS", (11.0, -3.0, -4.0)),
            "FLAIR": Protocol((2.0, 1.8, 1.8), "RPS", (3.0, 8.0, -2.0)),
        },
        {
            "T2w": Misplacement(8.0, ((15.0, 1.0),), (-1.0, 0.2, 0.5), 7.0, (-4.0, 3.0, -3.0)),
            "FLAIR": Misplacement(6.0, ((14.0, 1.0),), (0.2, 1.0, 0.4), 8.0, (2.0, 5.0, -2.0)),
        },
    ),
)


def build(
    folder: Path, *, anatomy: Anatomy, subjects: Sequence[Subject] = SUBJECTS, seed: int = SEED
) -> None:
    """Write the whole data set with its truth derivative.

    Parameters
    ----------
    folder
        Root of the new data set; files of the same names are replaced.
    anatomy
        The brain all subjects derive from, in MNI space.
    subjects
        Who is scanned, and how.
    seed
        Each subject has its own random numbers, whatever the other subjects are.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    write_dataset(folder, [subject.name for subject in subjects], seed=seed)
    for subject in subjects:
        _build_subject(folder, anatomy, subject, np.random.default_rng([seed, int(subject.name)]))


def _build_subject(folder: Path, anatomy: Anatomy, subject: Subject, rng: np.random.Generator) -> None:
    """Write the images, the labels and the true maps of one subject."""
    template_brain = anatomy.brain_points(every=3)
    low, high = template_brain.min(axis=0) - BOX_MARGIN_MM, template_brain.max(axis=0) + BOX_MARGIN_MM
    still = Motion(None, np.eye(4))
    shape, shape_table, brain = still, None, template_brain
    if subject.reach_mm > 0:
        velocity = random_velocity(rng, low, high, {18.0: 1.0, 9.0: 0.35})
        shape = Motion(scale_to_reach(velocity, template_brain, subject.reach_mm), np.eye(4))
        shape_table, brain = tabulate(shape, low, high), shape.forward(template_brain)
    for suffix, protocol in subject.protocols.items():
        name, move, table = ImageName(subject.name, suffix), still, None
        if suffix in subject.misplacements:
            move = _draw_motion(rng, subject.misplacements[suffix], brain, low, high)
            table = tabulate(move, low, high)
            truth_grid = _truth_grid(brain)
            displacement = move.forward(lattice(truth_grid)) - lattice(truth_grid)
            write_truth_field(folder, name, displacement, truth_grid)
        grid = protocol.grid(move.forward(brain))
        unmove = np.asarray(np.linalg.inv(move.rigid), dtype=np.float64)
        placement = Placement(((unmove, table), (np.eye(4), shape_table)))
        averages = voxel_averages(anatomy, placement, grid)
        write_image(folder, name, acquire(averages, grid, CONTRASTS[suffix], rng), grid)
        write_labels(folder, name, label(averages), grid)


def _draw_motion(
    rng: np.random.Generator, how: Misplacement, brain: Points, low: Points, high: Points
) -> Motion:
    """Draw the random diffeomorphism of one moving image and add its rigid part."""
    velocity: SplineField = random_velocity(rng, low, high, dict(how.scales))
    rigid = rigid_about(CENTRE_MM, how.axis, how.angle_deg, how.shift_mm)
    return Motion(scale_to_reach(velocity, brain, how.reach_mm), rigid)


def _truth_grid(brain: Points) -> Grid:
    """Lattice along the world axes that holds the brain with a margin; round numbers as origin."""
    low = np.floor(brain.min(axis=0) - TRUTH_MARGIN_MM)
    return box_grid(low, brain.max(axis=0) + TRUTH_MARGIN_MM, TRUTH_SPACING_MM)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and build; silent when all went well."""
    parser = argparse.ArgumentParser(prog="python -m bids_nodereg.data.build_demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the data set is written")
    parser.add_argument("--seed", type=int, default=SEED, help="start of all random numbers (%(default)s)")
    arguments = parser.parse_args(argv)
    build(arguments.folder, anatomy=load_mni152(), seed=arguments.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
