"""The two registrations of a pair, between the world of `imaging` and the voxels of `registration`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bids_nodereg.imaging.maps import DisplacementField, forward_map, inverse_map
from bids_nodereg.imaging.prepare import onto_grid, working_grid
from bids_nodereg.imaging.weights import cost_onto_grid, stiffness_onto_grid
from bids_nodereg.registration.affine import Freedom, align
from bids_nodereg.registration.descriptors import DESCRIPTORS
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.register import register
from bids_nodereg.registration.velocity import RIM_VOXELS
from bids_nodereg.registration.warp import resize_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.config import Settings
    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.maps import SpatialMap
    from bids_nodereg.imaging.prepare import Prepared
    from bids_nodereg.registration.diffeomorphism import Repair
    from bids_nodereg.registration.guard import Rescue
    from bids_nodereg.registration.optimise import Step

    OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Solution:
    """What was found for a pair, in world coordinates.

    Attributes
    ----------
    grid
        The working grid.
    affine
        4 x 4, fixed world to moving world (RAS+ mm).
    forward, inverse
        Total maps: fixed points to moving points, and back.
    repair
        What was done against folds; None where nothing was deformed.
    rescues
        What was done where a loss of the optimisation was not finite, in order.
    distances
        Descriptor distance by the affine alone and by the whole map; None where nothing was deformed.
    velocity
        In mm per unit time on the working grid, a field for each part of the time; empty unless it is
        to be written.
    remarks
        What is to be said of the way it was computed; empty where nothing is.
    """

    grid: Grid
    affine: NDArray[np.float64]
    forward: SpatialMap
    inverse: SpatialMap
    repair: Repair | None = None
    rescues: tuple[Rescue, ...] = ()
    distances: tuple[float, float] | None = None
    velocity: tuple[DisplacementField, ...] = ()
    remarks: tuple[str, ...] = ()


def solve(
    inputs: Inputs,
    settings: Settings,
    device: torch.device,
    on_step: OnStep,
    affine: NDArray[np.float64] | None = None,
) -> Solution:
    """Align a pair unless its affine is known, and deform it where the settings go that far."""
    if affine is None:
        affine = find_affine(inputs, settings, device, on_step)
    grid = common_grid(inputs.fixed, settings)
    if settings.transform != "deformable":
        return Solution(grid, affine, forward_map(affine), inverse_map(affine))
    return deform(inputs, affine, grid, settings, device, on_step)


def common_grid(fixed: Prepared, settings: Settings) -> Grid:
    """Working grid of a pair: no finer than the fixed image's finest edge, with room for the rim."""
    spacing_mm = max(settings.working_resolution_mm, min(fixed.volume.grid.spacing))
    # The velocity falls to zero over the rim, which must not reach into the mask.
    return working_grid(fixed, spacing_mm, max(settings.margin_mm, RIM_VOXELS * spacing_mm))


def deform(
    inputs: Inputs,
    affine: NDArray[np.float64],
    grid: Grid,
    settings: Settings,
    device: torch.device,
    on_step: OnStep,
) -> Solution:
    """Deformable registration on the working grid, of the moving image as the affine has aligned it."""
    fixed = _on(inputs.fixed, grid)
    pair = _image_pair(fixed, _on(inputs.moving, grid, affine), device)
    if inputs.stiffness is not None:
        stiffness = stiffness_onto_grid(inputs.stiffness, grid, fixed.mask)
        pair = replace(pair, stiffness=_tensor(stiffness, device))
    found = register(pair, settings.registration, on_step)
    forward = DisplacementField(grid, to_world(found.forward, grid))
    inverse = DisplacementField(grid, to_world(found.inverse, grid))
    return Solution(
        grid=grid,
        affine=affine,
        forward=forward_map(affine, forward),
        inverse=inverse_map(affine, inverse),
        repair=found.repair,
        rescues=found.rescues,
        distances=(found.distance_before, found.distance_after)
        if settings.registration.descriptor.name in DESCRIPTORS
        else None,
        velocity=velocity_fields(found.velocity, grid) if settings.write_velocity else (),
        remarks=found.remarks,
    )


def find_affine(
    inputs: Inputs, settings: Settings, device: torch.device, on_step: OnStep
) -> NDArray[np.float64]:
    """Rigid or affine start, each image on an isotropic grid of its own; returns world to world."""
    spacing_mm = settings.affine.spacings_mm[-1]
    fixed_grid, moving_grid = (
        working_grid(prepared, spacing_mm, settings.margin_mm) for prepared in (inputs.fixed, inputs.moving)
    )
    pair = _image_pair(_on(inputs.fixed, fixed_grid), _on(inputs.moving, moving_grid), device)
    freedom: Freedom = "rigid" if settings.transform == "rigid" else "affine"
    told = torch.from_numpy(np.linalg.inv(moving_grid.affine) @ fixed_grid.affine)
    found = align(pair, spacing_mm, settings.affine, freedom, on_step, told)
    matrix: NDArray[np.float64] = found.matrix.double().cpu().numpy()
    return moving_grid.affine @ matrix @ np.linalg.inv(fixed_grid.affine)


@dataclass(frozen=True, eq=False)
class _Sampled:
    """An image on a grid, with its mask and where it counts."""

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    cost: NDArray[np.float32] | None


def _on(prepared: Prepared, grid: Grid, affine: NDArray[np.float64] | None = None) -> _Sampled:
    return _Sampled(*onto_grid(prepared, grid, affine), cost_onto_grid(prepared, grid, affine))


def _image_pair(fixed: _Sampled, moving: _Sampled, device: torch.device) -> ImagePair:
    """Images and masks as ``1 1 i j k`` float32 tensors on the device."""
    return ImagePair(
        _tensor(fixed.image, device),
        _tensor(moving.image, device),
        _tensor(fixed.mask, device),
        _tensor(moving.mask, device),
        None if fixed.cost is None else _tensor(fixed.cost, device),
        None if moving.cost is None else _tensor(moving.cost, device),
    )


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))[None, None].to(device)


def velocity_fields(velocity: torch.Tensor, grid: Grid) -> tuple[DisplacementField, ...]:
    """Velocity ``n 3 i j k`` in voxels of its own lattice as fields on a grid of the same extent, in mm."""
    fine = resize_vectors(velocity, grid.shape)
    return tuple(DisplacementField(grid, to_world(part[None], grid)) for part in fine)


def to_world(displacement: torch.Tensor, grid: Grid) -> NDArray[np.float32]:
    """Displacement ``1 3 i j k`` in voxels as ``(i, j, k, 3)`` in RAS+ mm."""
    voxels = displacement[0].movedim(0, -1).cpu().numpy()
    return np.asarray(voxels @ grid.affine[:3, :3].T.astype(np.float32), dtype=np.float32)
