"""deedsBCV with its defaults; ``DEEDS_DIR`` holds the built programs.

Its file of displacements has an order and a step of its own. So its own resampler is asked instead:
applied to images that hold the voxel index, it says where each voxel is sampled.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from exchange import Task, load, run_adapter, save_like, save_voxel_field

SCALE = 1000  # it was made for Hounsfield numbers; our images are in [0, 1]


def register(task: Task) -> None:
    """No options."""
    programs = Path(os.environ["DEEDS_DIR"])
    stem = task.scratch / "deeds"
    images = {}
    for name, path in (("-F", task.fixed), ("-M", task.moving)):
        images[name] = task.scratch / f"image{name}.nii.gz"
        save_like(load(path)[0] * SCALE, images[name], path)
    call(programs / "deedsBCV", "-F", images["-F"], "-M", images["-M"], "-O", stem)
    shape = load(task.fixed)[0].shape
    index = np.indices(shape, np.float32)
    sampled = np.empty((*shape, 3), np.float32)
    for axis in range(3):
        plain, moved = (task.scratch / f"{name}{axis}.nii.gz" for name in ("index", "sampled"))
        save_like(index[axis], plain, task.fixed)
        call(programs / "applyBCVfloat", "-M", plain, "-O", stem, "-D", moved)
        sampled[..., axis] = load(moved)[0]
    save_voxel_field(sampled - np.moveaxis(index, 0, -1), task.out, task.fixed)


def call(*command: object) -> None:
    """Run a program of the package; its output is shown when it fails."""
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE)


run_adapter(register)
