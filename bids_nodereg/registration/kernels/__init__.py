"""The inner loops that cost the time, behind one interface with three implementations.

`reference` is plain torch and runs everywhere; `cpu` is numba; `cuda` is Triton. Each exports the same
names. The choice is by device, dtype and batch size alone (:mod:`.choice`), so that the same call gives
the same numbers on the same machine.

What shapes must agree is asked here, once for all three (:mod:`.checks`): a ValueError says which do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels import checks
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
    checks.vectors("sample", at=at)
    checks.same("sample", image=image.shape[:1], at=at.shape[:1])
    checks.cells("sample", image=image.shape[2:])
    result: Tensor = _for(image).sample(image, at)
    return result


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; see :func:`.reference.interpolation.compose`."""
    checks.vectors("compose", outer=outer, inner=inner)
    checks.one_lattice("compose", outer=outer, inner=inner)
    checks.cells("compose", outer=outer.shape[2:])
    result: Tensor = _for(outer).compose(outer, inner)
    return result


def carry(velocity: Tensor, position: Tensor, h: float, steps: int, tableau: Tableau) -> Tensor:
    """Runge-Kutta steps of points through a stationary field; see :func:`.reference.flows.carry`."""
    checks.vectors("carry", velocity=velocity, position=position)
    checks.same("carry", velocity=velocity.shape[:1], position=position.shape[:1])
    checks.cells("carry", velocity=velocity.shape[2:])
    result: Tensor = _for(velocity).carry(velocity, position, h, steps, tableau)
    return result


def carry_lattice(
    velocity: Tensor, shape: tuple[int, int, int], legs: Sequence[Leg], tableau: Tableau
) -> Tensor:
    """Displacement of a lattice by a flow; see :func:`.reference.flows.carry_lattice`."""
    checks.vectors("carry_lattice", velocity=velocity)
    checks.cells("carry_lattice", velocity=velocity.shape[2:], shape=shape)
    most = max((leg.part for leg in legs), default=0)
    checks.at_least("carry_lattice", "the number of fields", velocity.shape[0], most + 1)
    result: Tensor = _for(velocity[:1]).carry_lattice(velocity, shape, legs, tableau)
    return result


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Improve an inverse displacement; see :func:`.reference.interpolation.fixed_point_inverse`."""
    checks.vectors("fixed_point_inverse", forward=forward, start=start)
    checks.one_lattice("fixed_point_inverse", forward=forward, start=start)
    checks.cells("fixed_point_inverse", forward=forward.shape[2:])
    result: Tensor = _for(forward).fixed_point_inverse(forward, start, iterations)
    return result


def stored(descriptor: Tensor, bounds: tuple[float, float]) -> Stored:
    """Arrange a descriptor for the comparison; see :func:`.reference.comparison.stored`."""
    result: Stored = _for(descriptor).stored(descriptor, bounds)
    return result


def descriptor_distance(fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean squared descriptor difference; see :func:`.reference.comparison.descriptor_distance`."""
    checks.same("descriptor_distance", fixed=fixed.values.shape, moving=moving.values.shape)
    checks.same("descriptor_distance", fixed=fixed.shape, weight=weight.shape[2:])
    checks.vectors("descriptor_distance", displacement=displacement)
    checks.cells("descriptor_distance", fixed=fixed.shape, displacement=displacement.shape[2:])
    result: Tensor = _for(displacement).descriptor_distance(fixed, moving, displacement, weight)
    return result


def perceptron(
    latent: Tensor, mix_weight: Tensor, mix_bias: Tensor, head_weight: Tensor, head_bias: Tensor
) -> Tensor:
    """Latent channels to vectors at every point; see :func:`.reference.perceptron.perceptron`."""
    weights = (mix_weight, mix_bias, head_weight, head_bias)
    channels = latent.shape[-1]
    checks.same("perceptron", mix_weight=mix_weight.shape, channels_by_channels=(channels, channels))
    checks.same("perceptron", mix_bias=mix_bias.shape, channels=(channels,))
    checks.same("perceptron", head_weight=head_weight.shape, three_by_channels=(3, channels))
    checks.same("perceptron", head_bias=head_bias.shape, three=(3,))
    result: Tensor = _for(latent[None]).perceptron(latent, *weights)
    return result


def folding_barrier(displacement: Tensor, epsilon: float) -> Tensor:
    """Mean of ``relu(epsilon - det J)^2``; see :func:`.reference.folding.folding_barrier`."""
    checks.vectors("folding_barrier", displacement=displacement)
    checks.cells("folding_barrier", displacement=displacement.shape[2:])
    result: Tensor = _for(displacement).folding_barrier(displacement, epsilon)
    return result


def squared_gradient(field: Tensor, stiffness: Tensor | None) -> Tensor:
    """Mean squared gradient of one field; see :func:`.reference.roughness.squared_gradient`."""
    checks.vectors("squared_gradient", field=field)
    checks.cells("squared_gradient", field=field.shape[2:])
    checks.one_lattice("squared_gradient", field=field, stiffness=stiffness)
    result: Tensor = _for(field).squared_gradient(field, stiffness)
    return result


def folded_cells(displacement: Tensor) -> Tensor:
    """Where a map is not a digital diffeomorphism; see :func:`.reference.folding.folded_cells`."""
    checks.vectors("folded_cells", displacement=displacement)
    checks.cells("folded_cells", displacement=displacement.shape[2:])
    result: Tensor = _for(displacement).folded_cells(displacement)
    return result


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Read an image at ``x + u(x)``; see :func:`.reference.warped.warp`."""
    checks.vectors("warp", displacement=displacement)
    checks.same("warp", image=image.shape[:1], displacement=displacement.shape[:1])
    checks.cells("warp", image=image.shape[2:], displacement=displacement.shape[2:])
    result: Tensor = _for(displacement).warp(image, displacement)
    return result


def warped_histograms(
    fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor, bins: int, tiles: Tiling
) -> Tensor:
    """Joint histograms of patches, one image warped; see :func:`.reference.histograms.warped_histograms`."""
    checks.one_lattice("warped_histograms", fixed=fixed, moving=moving, weight=weight)
    checks.same("warped_histograms", fixed=fixed.shape[2:], tiles=tiles.shape)
    checks.vectors("warped_histograms", displacement=displacement)
    checks.cells("warped_histograms", fixed=fixed.shape[2:], displacement=displacement.shape[2:])
    checks.at_least("warped_histograms", "the number of bins", bins, 4)
    result: Tensor = _for(displacement).warped_histograms(fixed, moving, displacement, weight, bins, tiles)
    return result


def mind(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND (2012); see :func:`.reference.self_similarity.mind`."""
    checks.one_lattice("mind", image=image, mask=mask)
    result: Tensor = _for(image).mind(image, mask, settings)
    return result


def mind_ssc(image: Tensor, mask: Tensor | None, settings: DescriptorSettings) -> Tensor:
    """MIND-SSC (2013); see :func:`.reference.self_similarity.mind_ssc`."""
    checks.one_lattice("mind_ssc", image=image, mask=mask)
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
