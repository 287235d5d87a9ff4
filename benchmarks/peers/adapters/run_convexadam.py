"""ConvexAdam with MIND-SSC and the package's own defaults."""

from __future__ import annotations

import torch
from convexAdam.convex_adam_MIND import convex_adam_pt
from exchange import Task, load, run_adapter, save_voxel_field


def register(task: Task) -> None:
    """No options."""
    torch.set_num_threads(task.threads)
    fixed, moving = (torch.from_numpy(load(path)[0]) for path in (task.fixed, task.moving))
    voxels = convex_adam_pt(fixed, moving, dtype=torch.float32, device=torch.device("cpu"))
    save_voxel_field(voxels, task.out, task.fixed)


run_adapter(register, "convexadam")
