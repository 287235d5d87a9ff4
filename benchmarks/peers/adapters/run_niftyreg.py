"""NiftyReg ``reg_f3d -vel``; ``NIFTYREG_DIR`` holds the built programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
from exchange import Task, run_adapter, save_ras_field


def register(task: Task) -> None:
    """No options: NMI, 20 iterations a level (its 150 take minutes and gain little)."""
    programs, scratch = Path(os.environ["NIFTYREG_DIR"]), task.scratch
    call(
        programs / "reg_f3d", "-ref", task.fixed, "-flo", task.moving, "-vel", "--nmi", "-maxit", 20,
        "-cpp", scratch / "cpp.nii", "-res", scratch / "result.nii", "-omp", task.threads,
    )  # fmt: skip
    for control, path in (("cpp", task.out), ("cpp_backward", task.inverse_out)):
        field = scratch / f"{control}_displacement.nii"
        call(programs / "reg_transform", "-ref", task.fixed, "-disp", scratch / f"{control}.nii", field)
        save_ras_field(np.asarray(nib.load(field).dataobj)[:, :, :, 0, :], path, task.fixed)


def call(*command: object) -> None:
    """Run a program of the package; its output is shown when it fails."""
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE)


run_adapter(register)
