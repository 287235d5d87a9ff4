"""The inner loops that cost the time, behind one interface with three implementations.

`reference` is plain torch and runs everywhere; `cpu` is numba; `cuda` is Triton. Each exports the same
names. The choice is by device and dtype alone, so that the same call gives the same numbers on the same
machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.kernels import cpu, reference

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings
    from bids_nodereg.registration.tableaus import Tableau


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Trilinear interpolation with edge values outside; see :func:`.reference.interpolation.sample`."""
    result: Tensor = _for(image).sample(image, at)
    return result


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; see :func:`.reference.interpolation.compose`."""
    result: Tensor = _for(outer).compose(outer, inner)
    return result


def carry(velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau) -> Tensor:
    """Runge-Kutta steps of points through a stationary field; see :func:`.reference.flows.carry`."""
    result: Tensor = _for(velocity).carry(velocity, position, h, steps, tableau)
    return result


def descriptor_distance(fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean squared descriptor difference; see :func:`.reference.comparison.descriptor_distance`."""
    result: Tensor = _for(displacement).descriptor_distance(fixed, moving, displacement, weight)
    return result


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2``; see :func:`.reference.folding.folding_barrier`."""
    result: Tensor = _for(displacement).folding_barrier(displacement, epsilon)
    return result


def folded_cells(displacement: Tensor) -> Tensor:
    """Where a map is not a digital diffeomorphism; see :func:`.reference.folding.folded_cells`."""
    result: Tensor = _for(displacement).folded_cells(displacement)
    return result


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND (2012); see :func:`.reference.self_similarity.mind`."""
    result: Tensor = _for(image).mind(image, mask, settings)
    return result


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND-SSC (2013); see :func:`.reference.self_similarity.mind_ssc`."""
    result: Tensor = _for(image).mind_ssc(image, mask, settings)
    return result


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each axis with the same taps; see :func:`.reference.filters.separable`."""
    result: Tensor = _for(image).separable(image, kernel)
    return result


def resize(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Interpolate onto another lattice over the same extent; see :func:`.reference.filters.resize`."""
    result: Tensor = _for(image).resize(image, shape)
    return result


def _for(tensor: Tensor) -> ModuleType:
    """The implementation for a tensor: numba takes float32 on the CPU, one image at a time."""
    is_simple = tensor.dtype == torch.float32 and tensor.shape[0] == 1
    return cpu if tensor.device.type == "cpu" and is_simple else reference
