"""FireANTs, greedy compositive registration on the CPU, with the values of its documentation."""

from __future__ import annotations

import torch
from exchange import Task, copy_itk_field, run_adapter
from fireants.io import BatchedImages, Image
from fireants.registration.greedy import GreedyRegistration


def register(task: Task) -> None:
    """Options: `loss` (cc or mi)."""
    torch.set_num_threads(task.threads)
    fixed, moving = (
        BatchedImages([Image.load_file(str(path), device="cpu")]) for path in (task.fixed, task.moving)
    )
    method = GreedyRegistration(
        scales=[4, 2, 1],
        iterations=[100, 50, 20],
        fixed_images=fixed,
        moving_images=moving,
        loss_type=task.options["loss"],
        cc_kernel_size=5,
        deformation_type="compositive",
        smooth_warp_sigma=0.5,
        smooth_grad_sigma=1.0,
        optimizer="Adam",
        optimizer_lr=0.5,
    )
    method.optimize()
    for inverse, path in ((False, task.out), (True, task.inverse_out)):
        warp = task.scratch / f"warp{int(inverse)}.nii.gz"
        method.save_as_ants_transforms(str(warp), save_inverse=inverse)
        copy_itk_field(warp, path, task.fixed)


run_adapter(register, "fireants")
