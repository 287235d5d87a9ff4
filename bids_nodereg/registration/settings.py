"""What can be chosen about a registration. Plain records; a default stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DescriptorName = Literal["mind", "mind-ssc"]
VelocityName = Literal["decoder", "nodeo", "grid"]
Scheme = Literal["euler", "heun", "rk4", "squaring"]
GradientRoute = Literal["backprop", "checkpoint", "adjoint"]


@dataclass(frozen=True)
class DescriptorSettings:
    """Which structural descriptor is compared, and its parameters (in voxels of each level)."""

    name: DescriptorName = "mind-ssc"
    """`mind` (Heinrich 2012) or `mind-ssc` (Heinrich 2013)."""
    offset: int = 1
    """Distance from the voxel to the neighbours that are compared."""
    patch_radius: int = 1
    """MIND-SSC: half-width of the box over which squared differences are averaged."""
    patch_sigma: float = 0.5
    """MIND: standard deviation of the Gaussian over which squared differences are averaged."""
    search_radius: int = 0
    """MIND: 0 compares with the six face neighbours, 1 with all 26 neighbours."""
    recompute: bool = False
    """Compute the moving descriptor anew on the warped image at every iteration (the paper's way)
    instead of warping the descriptor that was computed once."""


@dataclass(frozen=True)
class VelocitySettings:
    """How the stationary velocity field is made from the weights that are optimised."""

    name: VelocityName = "decoder"
    """`decoder`: latent grid and convolutional decoder; `nodeo`: coordinate network of the paper's
    lineage; `grid`: the vectors themselves."""
    lattice: int = 2
    """Voxels of the level's image per voxel of the velocity lattice."""
    smoothing_sigma: float = 1.0
    """Gaussian smoothing of the velocity, in voxels of its lattice."""
    channels: int = 16
    """Decoder: latent channels."""
    latent_shrink: int = 2
    """Decoder: voxels of the velocity lattice per voxel of the latent grid."""
    bottleneck: int = 16
    """NODEO: width of the bottleneck."""


@dataclass(frozen=True)
class SolverSettings:
    """How the flow of the velocity field is integrated over t in [0, 1], and differentiated."""

    scheme: Scheme = "rk4"
    steps: int = 2
    """Number of steps; the step size is h = 1 / steps. For `squaring` the number of squarings."""
    gradient: GradientRoute = "backprop"


@dataclass(frozen=True)
class LossWeights:
    """Weights of the regularising terms beside the similarity, whose weight is 1."""

    folding: float = 1.0
    folding_epsilon: float = 0.1
    """The barrier acts where a Jacobian determinant is below this value."""
    gradient: float = 0.15
    gradient_of: Literal["velocity", "displacement"] = "velocity"
    magnitude: float = 0.0


@dataclass(frozen=True)
class Level:
    """One level of the coarse-to-fine pyramid."""

    shrink: int
    """Voxels of the working grid per voxel of this level's image."""
    iterations: int
    """Most iterations done on this level."""


@dataclass(frozen=True)
class AffineSettings:
    """The rigid and affine start."""

    spacings_mm: tuple[float, ...] = (8.0, 4.0, 2.0)
    """Voxel size of the levels, coarse to fine."""
    iterations: tuple[int, ...] = (60, 60, 40)
    """Most iterations on each level."""
    angles_deg: tuple[float, ...] = (-25.0, 0.0, 25.0)
    """Angles tried about each axis, in all combinations, as starts of the coarsest level."""
    keep: int = 4
    """How many of the best starts are optimised on the coarsest level."""


@dataclass(frozen=True)
class RegistrationSettings:
    """Everything that decides the deformable registration of one pair."""

    levels: tuple[Level, ...] = (Level(4, 60), Level(2, 60), Level(1, 30))
    descriptor: DescriptorSettings = field(default_factory=DescriptorSettings)
    velocity: VelocitySettings = field(default_factory=VelocitySettings)
    solver: SolverSettings = field(default_factory=SolverSettings)
    weights: LossWeights = field(default_factory=LossWeights)
    learning_rate: float = 1e-2
    convergence_tolerance: float = 1e-3
    """A level ends early when the mean loss of the last `convergence_window` iterations is not
    smaller than that of the window before by this fraction; 0 does all iterations."""
    convergence_window: int = 8
    final_steps: int = 4
    """RK4 steps of the final maps, forward and inverse, at full resolution."""
    seed: int = 0
