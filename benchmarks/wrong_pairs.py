"""What do the measures and verdicts say of good pairs, and of pairs made wrong on purpose? Real images.

Coarse on purpose (3 mm, affine at 4 mm, preset fast): it is about an order of magnitude, and must not take a
day. Masks are the foreground, so of whole heads they are masks of the head.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import torch
from common import ROOT, shared_data, write_results

from bids_nodereg.app.doubts import doubt_measures
from bids_nodereg.app.inputs import Inputs
from bids_nodereg.app.judge import _on_working_grid
from bids_nodereg.app.stages import solve
from bids_nodereg.config import PRESETS
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.volume import read_image
from bids_nodereg.quality.measures import measure_pair
from bids_nodereg.quality.plausible import PairKind, Relation, limits_for
from bids_nodereg.quality.verdict import verdict

if TYPE_CHECKING:
    from bids_nodereg.imaging.volume import Volume

CPU = torch.device("cpu")
FAST = PRESETS["fast"]
COARSE = replace(
    FAST,
    working_resolution_mm=3.0,
    affine=replace(FAST.affine, spacings_mm=(8.0, 4.0), iterations=(40, 40), keep=2),
)
SESSION: Relation = "one session"
PERSON: Relation = "one person"
PEOPLE: Relation = "two people"
AXES = {"R": 0, "A": 1, "S": 2}


@dataclass(frozen=True)
class Solve:
    """Two images, as ``kirby113 T1w`` and so on, and what is made wrong in the moving one."""

    fixed: str
    moving: str
    wrong: str = ""


@dataclass(frozen=True)
class Case:
    """A solved pair under the names it is said to have."""

    group: str
    solve: Solve
    relation: Relation
    contrasts: tuple[str, str] | None = None
    """Fixed and moving, where they are named other than they are."""


def main() -> None:
    """Solve each pair once, judge it under each name, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose words hold this")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "wrong-pairs")
    options = parser.parse_args()
    solved: dict[Solve, dict[str, float | None]] = {}
    rows = []
    for case in cases():
        if options.only in words(case):
            if case.solve not in solved:
                solved[case.solve] = measured(case.solve)
            rows.append(row(case, solved[case.solve]))
            print(rows[-1], flush=True)
    write_results(
        options.out,
        "Good pairs, and pairs made wrong on purpose",
        rows,
        [
            "3 mm, affine at 4 mm, preset fast; masks are the foreground (of whole heads: the head).",
            "A name in brackets is what the moving image was said to be.",
        ],
    )


def cases() -> list[Case]:
    """Everything that is judged."""
    kirby, brain = "kirby113", "openms07"
    first, second, other = "01 ses-1", "01 ses-2", "04 ses-1"
    inside = [
        Solve(f"{who} T1w", f"{who} {c}") for who in (kirby, brain, first, other) for c in ("T2w", "FLAIR")
    ]
    inside += [Solve(f"{who} T1w", f"{who} T2w") for who in (second, "synth01", "synth02")]
    agent = Solve(f"{brain} T1w", f"{brain} ce-gad_T1w")
    later = Solve(f"{first} T1w", f"{second} T1w")
    crossed = [
        Solve(f"{kirby} T1w", f"{brain} T2w"),
        Solve(f"{brain} T1w", f"{kirby} FLAIR"),
        Solve(f"{first} T1w", f"{other} T2w"),
        Solve(f"{first} T1w", f"{other} FLAIR"),
        Solve("synth01 T1w", "synth02 T2w"),
    ]
    alike = [
        Solve(f"{brain} T1w", f"{kirby} T1w"),
        Solve(f"{kirby} T1w", "vxm01 T1w"),
        Solve(f"{first} T1w", f"{other} T1w"),
    ]
    good = [Case("good", each, SESSION) for each in (*inside, agent)] + [Case("good", later, PERSON)]
    good += [Case("good", each, PEOPLE) for each in (*crossed, *alike, Solve("MNI T1w", f"{kirby} T1w"))]
    flipped = [
        Solve(p.fixed, p.moving, "mirrored") for p in (inside[0], inside[3], inside[4], inside[7], inside[9])
    ]
    bad = [Case("mirrored", each, SESSION) for each in flipped]
    bad.append(Case("mirrored", Solve(later.fixed, later.moving, "mirrored"), PERSON))
    bad.append(Case("mirrored", Solve(alike[0].fixed, alike[0].moving, "mirrored"), PEOPLE))
    turned = ((inside[0], "S"), (inside[4], "R"), (inside[3], "A"))
    bad += [Case("turned header", Solve(p.fixed, p.moving, f"turned {axis}"), SESSION) for p, axis in turned]
    bad += [Case("another person", each, SESSION) for each in crossed]
    bad += [Case("another person", each, PERSON) for each in alike]
    bad += [Case(how, replace(inside[0], wrong=how), SESSION) for how in ("noise", "lower half")]
    return good + bad + _misnamed(inside, agent, later)


def _misnamed(inside: list[Solve], agent: Solve, later: Solve) -> list[Case]:
    """Right images under wrong names of contrasts."""
    t2w, flair = inside[0:8:2], inside[1:8:2]
    beside = [Solve("kirby113 FLAIR", "kirby113 T2w"), Solve("04 ses-1 FLAIR", "04 ses-1 T2w")]
    wrong = [(agent, "T1w", "T2w"), (later, "T1w", "T2w"), (later, "T1w", "FLAIR")]
    wrong += [(each, "T1w", "T1w") for each in (*t2w, *flair)]
    wrong += [(each, "T1w", "T2w") for each in beside]
    wrong += [(each, "T1w", "FLAIR") for each in t2w] + [(each, "T1w", "T2w") for each in flair]
    return [
        Case("another contrast", pair, PERSON if fixed == moving else SESSION, (fixed, moving))
        for pair, fixed, moving in wrong
    ]


def words(case: Case) -> str:
    """A case in one line."""
    said = f" ({case.contrasts[1]} onto {case.contrasts[0]})" if case.contrasts else ""
    return f"{case.group}: {case.solve.moving} onto {case.solve.fixed}{said}"


def row(case: Case, values: dict[str, float | None]) -> dict[str, Any]:
    """One line of the table."""
    real = tuple(name.split()[-1].split("_")[-1] for name in (case.solve.fixed, case.solve.moving))
    fixed, moving = case.contrasts or real
    outcome = verdict(values, limits_for(PairKind(case.relation, fixed, moving)))
    shown = {
        "mirrored": "mirrored_distance_ratio",
        "turned": "turned_distance_ratio",
        "inner rank": "inner_rank_correlation",
        "rotation": "affine_rotation_deg",
        "scale min": "affine_scale_min",
        "scale max": "affine_scale_max",
        "displ. p95": "displacement_p95_mm",
        "SD log J": "sd_log_jacobian",
        "NMI gain": "nmi_gain",
        "mask Dice": "foreground_dice_after",
        "coverage": "moving_coverage_fraction",
    }
    numbers = {name: rounded(values.get(key)) for name, key in shown.items()}
    return {"pair": words(case), "said to be of": case.relation, **numbers, "verdict": outcome.status}


def rounded(value: float | None) -> float | str:
    """Three significant digits, or n/a."""
    return "n/a" if value is None else float(f"{value:.3g}")


def measured(pair: Solve) -> dict[str, float | None]:
    """Register, and measure as the program does."""
    inputs = Inputs(
        prepare(read_image(path_of(pair.fixed))),
        prepare(made_wrong(read_image(path_of(pair.moving)), pair.wrong)),
    )
    solution = solve(inputs, COARSE, CPU, lambda _step: None)
    arrays = _on_working_grid(inputs, solution, 1)
    return measure_pair(arrays) | doubt_measures(inputs, solution, "affine", CPU)


def path_of(name: str) -> Path:
    """File of an image by its words, such as ``01 ses-2 T1w``."""
    subject, *session, image = name.split()
    if subject == "MNI":
        return shared_data(
            "templates", "tpl-MNI152NLin6Asym", "tpl-MNI152NLin6Asym_res-01_desc-brain_T1w.nii.gz"
        )
    synthetic = "ds-synthetic" if subject.startswith("synth") else "ds-brain"
    data_set = "ds-openms" if session else synthetic
    stem = "_".join((f"sub-{subject}", *session, image))
    return shared_data(data_set, f"sub-{subject}", *session, "anat", f"{stem}.nii.gz")


def made_wrong(volume: Volume, how: str) -> Volume:
    """The image as it is, or with one thing wrong."""
    if how.startswith("turned"):
        return replace(volume, grid=turned_by_90_degrees(volume, AXES[how.split()[1]]))
    axes = nib.io_orientation(volume.grid.affine)[:, 0].astype(int).tolist()
    if how == "mirrored":
        return replace(volume, data=np.ascontiguousarray(np.flip(volume.data, axes.index(0))))
    if how == "noise":
        values = np.random.default_rng(0).normal(500, 100, volume.data.shape)
        return replace(volume, data=np.where(volume.data != 0, values, 0).astype(np.float32))
    if how == "lower half":
        part = [slice(None)] * 3
        part[axes.index(2)] = slice(0, volume.data.shape[axes.index(2)] // 2)
        data = np.ascontiguousarray(volume.data[tuple(part)])
        return replace(volume, data=data, grid=replace(volume.grid, shape=data.shape))
    return volume


def turned_by_90_degrees(volume: Volume, axis: int) -> Any:
    """The grid with a header that is turned about the image's centre."""
    grid = volume.grid
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    turn, shift = np.eye(4), np.eye(4)
    i, j = (other for other in range(3) if other != axis)
    turn[i, i] = turn[j, j] = 0
    turn[i, j], turn[j, i] = -1, 1
    shift[:3, 3] = centre
    return replace(grid, affine=shift @ turn @ np.linalg.inv(shift) @ grid.affine)


if __name__ == "__main__":
    main()
