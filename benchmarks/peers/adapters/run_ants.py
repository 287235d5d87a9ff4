"""ANTs SyN through antspyx, deformation only."""

from __future__ import annotations

from pathlib import Path

import ants
import numpy as np
from exchange import Task, copy_itk_field, run_adapter


def register(task: Task) -> None:
    """Options: `metric` (mattes or CC), `sampling` (bins or radius), `iterations`."""
    found = ants.registration(
        ants.image_read(str(task.fixed)),
        ants.image_read(str(task.moving)),
        "SyNOnly",
        outprefix=f"{task.scratch}/",
        initial_transform="Identity",
        syn_metric=task.options["metric"],
        syn_sampling=task.options["sampling"],
        reg_iterations=tuple(task.options["iterations"]),
        random_seed=1,
    )
    for name in found["fwdtransforms"]:
        if name.endswith(".mat"):
            _check_identity(name)
    copy_itk_field(Path(_warp(found["fwdtransforms"])), task.out, task.fixed)
    copy_itk_field(Path(_warp(found["invtransforms"])), task.inverse_out, task.fixed)


def _warp(names: list[str]) -> str:
    """Take the displacement field out of a list of transforms."""
    (name,) = (name for name in names if name.endswith(".nii.gz"))
    return name


def _check_identity(name: str) -> None:
    """Refuse a result whose linear part moved: the field alone would not be the whole map."""
    parameters = np.asarray(ants.read_transform(name).parameters)
    if not np.allclose(parameters[:9].reshape(3, 3), np.eye(3)) or np.abs(parameters[9:]).max() > 1e-6:
        msg = f"{name}: expected the identity, got {parameters.tolist()}"
        raise ValueError(msg)


run_adapter(register, "antspyx")
