"""PICSL greedy, deformation only."""

from __future__ import annotations

import numpy as np
from exchange import Task, copy_itk_field, load, run_adapter, save_like
from picsl_greedy import Greedy3D


def register(task: Task) -> None:
    """Options: `metric` as greedy writes it, `stationary` (-sv), `invert` (moving intensities)."""
    moving = task.moving
    if task.options.get("invert"):
        moving = task.scratch / "inverted.nii"
        values, inside = load(task.moving)[0], load(task.moving_mask)[0] > 0
        save_like(np.where(inside, 1 - values, 0), moving, task.moving)
    warp, inverse = task.scratch / "warp.nii.gz", task.scratch / "inverse.nii.gz"
    stationary = "-sv" if task.options.get("stationary") else ""
    Greedy3D().execute(
        f"-i {task.fixed} {moving} -o {warp} -oinv {inverse} -m {task.options['metric']} {stationary} "
        f"-n 100x100x50 -s 1.732vox 0.7071vox -e 1 -wp 0 -threads {task.threads}"
    )
    copy_itk_field(warp, task.out, task.fixed)
    copy_itk_field(inverse, task.inverse_out, task.fixed)


run_adapter(register, "picsl-greedy")
