"""Commands that apply a written transform in other programs, with the real file names."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_nodereg.quality.records import PairReport


@dataclass(frozen=True)
class Command:
    """One thing to copy and paste: the program, what it does, and the lines."""

    tool: str
    does: str
    code: str


def reuse_commands(pair: PairReport) -> tuple[Command, ...]:
    """Write commands for nodereg itself, ANTs, SimpleITK and nitransforms, forward and inverse.

    They run in the output folder; images are named as the report names them. Both directions pull: the
    forward transform makes a moving image on the fixed grid.

    Parameters
    ----------
    pair
        Its outputs and inputs; a direction without a file has no command.
    """
    fixed, moving = pair.fixed, pair.moving
    commands = list(
        _direction(moving.path, fixed.path, pair.outputs.forward, "moving image onto the fixed grid")
    )
    if pair.outputs.inverse:
        does = "fixed image onto the moving grid"
        commands += _direction(fixed.path, moving.path, pair.outputs.inverse, does)
    if pair.outputs.warp and pair.outputs.affine:
        commands.append(_parts(pair))
    return tuple(commands)


def _direction(image: str, reference: str, transform: str, does: str) -> tuple[Command, ...]:
    """Write the commands that carry one image onto the grid of another."""
    i, r, t = (shlex.quote(name) for name in (image, reference, transform))
    ants = f"antsApplyTransforms -d 3 -i {i} -r {r} \\\n  -t {t} \\\n  -n Linear -o moved.nii.gz"
    simpleitk = "\n".join(
        (
            "import SimpleITK as sitk",
            f"image = sitk.ReadImage({image!r}, sitk.sitkFloat32)",
            f"reference = sitk.ReadImage({reference!r})",
            f"transform = sitk.ReadTransform({transform!r})",
            "moved = sitk.Resample(image, reference, transform, sitk.sitkLinear)",
            'sitk.WriteImage(moved, "moved.nii.gz")',
        )
    )
    nitransforms = "\n".join(
        (
            "from nitransforms.manip import load",
            "from nitransforms.resampling import apply",
            f'transform = load({transform!r}, fmt="itk")',
            f'apply(transform, {image!r}, reference={reference!r}, order=1).to_filename("moved.nii.gz")',
        )
    )
    nodereg = f"bids-nodereg apply --image {i} --reference {r} \\\n  --transform {t} \\\n  --out moved.nii.gz"
    return (
        Command("nodereg", does, f"{nodereg}\n# label maps: --labels instead of --image"),
        Command("ANTs", does, f"{ants}\n# label maps: -n GenericLabel"),
        Command("SimpleITK", does, f"{simpleitk}\n# label maps: sitk.sitkNearestNeighbor"),
        Command("nitransforms", does, f"{nitransforms}\n# label maps: order=0"),
    )


def _parts(pair: PairReport) -> Command:
    """Write the ANTs command that uses affine and warp as separate files."""
    i, r, warp, affine = (
        shlex.quote(name)
        for name in (pair.moving.path, pair.fixed.path, pair.outputs.warp, pair.outputs.affine)
    )
    code = (
        f"antsApplyTransforms -d 3 -i {i} -r {r} \\\n  -t {warp} -t {affine} \\\n  -n Linear -o moved.nii.gz"
    )
    return Command("ANTs, separate parts", "moving image onto the fixed grid", code)
