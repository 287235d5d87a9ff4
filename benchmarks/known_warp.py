"""Put a known smooth warp on a real T2w image and see how exactly the program finds it again.

The T2w of one subject, which lies on its T1w, is warped once by the flow of a random smooth
velocity; the program gets both as a BIDS data set and the true map as a derivative, so that its own
QC file tells the endpoint error.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, random_motion, shared_data, write_results

from bids_nodereg.data.demo_motion import Motion, box_grid, lattice, tabulate
from bids_nodereg.files import write_json
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.transforms import write_displacement_nifti
from bids_nodereg.imaging.volume import Volume, read_image, write_image

TRUTH_SPACING_MM = 2.5
COLUMNS = {
    "endpoint error mean mm": "endpoint_error_mean_mm",
    "p95 mm": "endpoint_error_p95_mm",
    "folded voxels": "folded_voxels",
    "smallest determinant": "jacobian_smallest_of_ten",
    "inverse error mean mm": "inverse_consistency_forward_mean_mm",
    "inverse error max mm": "inverse_consistency_forward_max_mm",
    "SD log J": "sd_log_jacobian",
    "NMI before": "nmi_before",
    "NMI after": "nmi_after",
    "registration s": "time_registration_s",
    "total s": "time_total_s",
    "peak MiB": "memory_peak_mib",
}


def main() -> None:
    """Make the data, run every preset in a process of its own, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["default"])
    parser.add_argument("--subject", default="kirby113", help="of ds-brain; T1w and T2w on one grid")
    parser.add_argument("--reach-mm", type=float, default=8.0, help="largest displacement in the brain")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--options", default="", help="further options of the program, in one string")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "known-warp")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            data = Path(scratch) / f"bids{seed}"
            before = make_data(data, arguments.subject, arguments.reach_mm, seed)
            for preset in arguments.presets:
                measures = run(data, Path(scratch) / f"out{seed}{preset}", preset, arguments.options.split())
                row: dict[str, Any] = {"preset": preset, "seed": seed, "true displacement mean mm": before}
                rows.append(row | {name: measures[key] for name, key in COLUMNS.items()})
    notes = [
        f"Real T1w and T2w of sub-{arguments.subject}; the T2w warped by a random diffeomorphism of at most "
        f"{arguments.reach_mm:g} mm in the brain. Errors are in the brain mask; the inverse error is that of "
        "both stored fields composed. Times on a shared machine: read them as orders of magnitude.",
    ]
    write_results(arguments.out, "A known warp on a real T2w", rows, notes)


def make_data(folder: Path, subject: str, reach_mm: float, seed: int) -> float:
    """Write the data set with its truth; returns the mean true displacement in the brain (mm)."""
    source = shared_data("ds-brain", f"sub-{subject}", "anat")
    anat = folder / f"sub-{subject}" / "anat"
    anat.mkdir(parents=True)
    write_json(folder / "dataset_description.json", {"Name": "known warp", "BIDSVersion": "1.10.0"})
    shutil.copy(source / f"sub-{subject}_T1w.nii.gz", anat)
    moving = read_image(source / f"sub-{subject}_T2w.nii.gz")
    prepared = prepare(moving)
    brain = moving.grid.to_world(np.argwhere(prepared.mask)[::200])
    low, high = moving.grid.corners().min(0), moving.grid.corners().max(0)
    motion = random_motion(moving.grid, brain, reach_mm, seed)
    # T2w_new(y) = T2w(phi^-1(y)), so the true map takes a T1w point x to y = phi(x).
    inverse = tabulate(motion, low, high)
    back = np.stack([slab_displacement(inverse, moving, i) for i in range(moving.grid.shape[0])])
    pull = SpatialMap(np.eye(4), DisplacementField(moving.grid, back.astype(np.float32)))
    warped = warp_image(moving, moving.grid, pull, interpolation="cubic")
    write_image(np.maximum(warped, 0), moving.grid, anat / f"sub-{subject}_T2w.nii.gz")
    write_truth(folder, subject, motion, low, high)
    return float(np.linalg.norm(motion.forward(brain) - brain, axis=-1).mean())


def slab_displacement(field: Any, volume: Volume, i: int) -> np.ndarray:
    """Displacement of the voxels of one slab, ``(j, k, 3)`` in mm."""
    _, nj, nk = volume.grid.shape
    index = np.moveaxis(np.indices((1, nj, nk)), 0, -1)[0] + np.array([i, 0, 0])
    values: np.ndarray = field.at(volume.grid.to_world(index))
    return values


def write_truth(folder: Path, subject: str, motion: Motion, low: np.ndarray, high: np.ndarray) -> None:
    """Write the true map as a derivative data set the program looks into."""
    truth = folder / "derivatives" / "truth"
    description = {
        "Name": "truth",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "truth"}],
    }
    grid = box_grid(low, high, TRUTH_SPACING_MM)
    points = lattice(grid)
    moved = np.stack([motion.forward(slab) for slab in points]) - points
    anat = truth / f"sub-{subject}" / "anat"
    name = f"sub-{subject}_from-T2w_to-T1w_mode-image_desc-truth_xfm.nii.gz"
    write_json(truth / "dataset_description.json", description)
    write_displacement_nifti(anat / name, DisplacementField(grid, moved.astype(np.float32)))


def run(data: Path, out: Path, preset: str, options: list[str]) -> dict[str, float]:
    """Run the program as a user does and read its QC file."""
    command = [
        sys.executable, str(ROOT / "run.py"), str(data), str(out), "participant", "--skip-bids-validation",
        "--preset", preset, "-d", f"truth={data / 'derivatives' / 'truth'}", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    (quality,) = out.glob("sub-*/anat/*_qc.json")
    measures: dict[str, float] = json.loads(quality.read_text())["Measures"]
    return measures


if __name__ == "__main__":
    main()
