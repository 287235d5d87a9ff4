"""What every adapter script shares: its arguments, and the one form in which it hands over a field.

The form is ITK's displacement NIfTI: ``(i, j, k, 1, 3)``, float32, LPS mm, intent 1007. These scripts
run in the environments of other programs, so nothing of ours is imported.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

LPS = np.array([-1, -1, 1], np.float32)


@dataclass(frozen=True)
class Task:
    """Two aligned images with masks on one grid, and where the field goes."""

    fixed: Path
    moving: Path
    fixed_mask: Path
    moving_mask: Path
    out: Path
    scratch: Path
    threads: int
    options: dict[str, Any]

    @property
    def inverse_out(self) -> Path:
        """Where the inverse field goes, if the program has one."""
        return self.out.with_name("inverse.nii")


def run_adapter(register: Callable[[Task], None], package: str | None = None) -> None:
    """Read the arguments, register, and leave a note of version and seconds beside the field."""
    parser = argparse.ArgumentParser()
    for name in ("fixed", "moving", "fixed-mask", "moving-mask", "out", "scratch"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--options", type=json.loads, default={})
    task = Task(**vars(parser.parse_args()))
    began = time.perf_counter(), time.process_time()
    register(task)
    note = {
        "version": version(package) if package else None,
        "registration_wall_s": time.perf_counter() - began[0],
        "registration_cpu_s": time.process_time() - began[1],
    }
    task.out.with_suffix(".json").write_text(json.dumps(note))


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(i, j, k)`` float32 and the 4 x 4 affine of an image."""
    image: Any = nib.load(path)
    return np.asarray(image.dataobj, np.float32), image.affine


def save_like(values: np.ndarray, path: Path, like: Path) -> None:
    """Write an image with the header of another one."""
    image: Any = nib.load(like)
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), image.affine), path)


def save_voxel_field(voxels: np.ndarray, path: Path, like: Path) -> None:
    """Write a displacement ``(i, j, k, 3)`` in voxels of a grid."""
    affine = load(like)[1]
    save_ras_field(voxels @ affine[:3, :3].T, path, like)


def save_ras_field(ras_mm: np.ndarray, path: Path, like: Path) -> None:
    """Write a displacement ``(i, j, k, 3)`` in RAS mm."""
    affine = load(like)[1]
    lps = np.asarray(ras_mm, np.float32)[:, :, :, None, :] * LPS
    image = nib.Nifti1Image(lps, affine)
    image.header.set_intent("vector")
    nib.save(image, path)


def copy_itk_field(source: Path, path: Path, like: Path) -> None:
    """Hand over a field that an ITK program wrote: the vectors as they are, the grid of the case."""
    vectors = np.asarray(nib.load(source).dataobj, np.float32)
    shape = load(like)[0].shape
    if vectors.shape != (*shape, 1, 3):
        msg = f"{source}: got a field of shape {vectors.shape}, expected {(*shape, 1, 3)}"
        raise ValueError(msg)
    save_ras_field(vectors[:, :, :, 0, :] * LPS, path, like)
