"""The inner loops that cost the time, behind one interface with three implementations.

`reference` is plain torch and runs everywhere; `cpu` is numba; `cuda` is Triton. Each exports the same
names. The choice is by device, dtype and batch size alone (:mod:`.choice`), so that the same call gives
the same numbers on the same machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.choice import implementation_for as _for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bids_nodereg.registration.settings import DescriptorSettings
    from bids_nodereg.registration.stored import Stored
    from bids_nodereg.registration.tableaus import Leg, Tableau
    from bids_nodereg.registration.tiling import Tiling


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


def carry_lattice(
    velocity: Tensor, shape: tuple[int, int, int], legs: Sequence[Leg], tableau: Tableau
) -> Tensor:
    """Displacement of a lattice by a flow; see :func:`.reference.flows.carry_lattice`."""
    result: Tensor = _for(velocity[:1]).carry_lattice(velocity, shape, legs, tableau)
    return result


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Improve an inverse displacement; see :func:`.reference.interpolation.fixed_point_inverse`."""
    result: Tensor = _for(forward).fixed_point_inverse(forward, start, iterations)
    return result


def stored(descriptor: Tensor, bounds: tuple[float, float]) -> Stored:
    """Arrange a descriptor for the comparison; see :func:`.reference.comparison.stored`."""
    result: Stored = _for(descriptor).stored(descriptor, bounds)
    return result


def descriptor_distance(fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean squared descriptor difference; see :func:`.reference.comparison.descriptor_distance`."""
    result: Tensor = _for(displacement).descriptor_distance(fixed, moving, displacement, weight)
    return result


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2``; see :func:`.reference.folding.folding_barrier`."""
    result: Tensor = _for(displacement).folding_barrier(displacement, epsilon)
    return result


def squared_gradient(field: Tensor, stiffness: Tensor | None) -> Tensor:
    """Mean squared gradient of one field; see :func:`.reference.roughness.squared_gradient`."""
    result: Tensor = _for(field).squared_gradient(field, stiffness)
    return result


def folded_cells(displacement: Tensor) -> Tensor:
    """Where a map is not a digital diffeomorphism; see :func:`.reference.folding.folded_cells`."""
    result: Tensor = _for(displacement).folded_cells(displacement)
    return result


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Read an image at ``x + u(x)``; see :func:`.reference.warped.warp`."""
    result: Tensor = _for(displacement).warp(image, displacement)
    return result


def warped_histograms(
    fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor, bins: int, tiles: Tiling
) -> Tensor:
    """Joint histograms of patches, one image warped; see :func:`.reference.histograms.warped_histograms`."""
    result: Tensor = _for(displacement).warped_histograms(fixed, moving, displacement, weight, bins, tiles)
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


def downsample(image: Tensor, shape: tuple[int, int, int], kernel: Tensor) -> Tensor:
    """Filter and interpolate onto a coarser lattice; see :func:`.reference.filters.downsample`."""
    result: Tensor = _for(image).downsample(image, shape, kernel)
    return result
