"""What can be chosen about a registration. Plain records; a default stands here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

SimilarityName = Literal["mind", "mind-ssc", "contrastive", "contrastive+mind-ssc", "mse", "lmi", "lncc"]
VelocityName = Literal["decoder", "nodeo", "grid"]
Scheme = Literal["euler", "heun", "rk4", "squaring"]
GradientRoute = Literal["backprop", "checkpoint", "adjoint"]


LEARNED_REACH = 25
"""How far the learned descriptor sees, in voxels, whatever the settings of MIND-SSC."""


@dataclass(frozen=True)
class DescriptorSettings:
    """What is compared, and its parameters (in voxels of each level)."""

    name: SimilarityName = "mind-ssc"
    """Structural descriptors: `mind` (Heinrich 2012), `mind-ssc` (Heinrich 2013), `contrastive`
    (learned), `contrastive+mind-ssc`. On intensities: `lmi`, local mutual information; and for images
    of the same contrast `lncc`, local correlation, and `mse`."""
    offset: int = 1
    """Distance from the voxel to the neighbours that are compared."""
    patch_radius: int = 1
    """MIND-SSC: half-width of the box over which squared differences are averaged."""
    patch_sigma: float = 0.5
    """MIND: standard deviation of the Gaussian over which squared differences are averaged."""
    search_radius: int = 0
    """MIND: 0 compares with the six face neighbours, 1 with all 26 neighbours."""
    window_radius: int = 5
    """LMI: half-width of a patch that has a histogram of its own. LNCC: of the window."""
    bins: int = 16
    """LMI: bins of each image's intensities."""
    lmi_weight: float = 0.1
    """Weight of local mutual information beside a structural descriptor, whose own weight is 1."""
    learned_weight: float = 0.5
    """`contrastive+mind-ssc`: share of the learned part in the squared difference."""
    fill_outside: bool = False
    """Continue each image beyond its mask from the inside, so that a descriptor at the mask's edge
    sees nothing of the background."""
    recompute: bool = False
    """Compute the descriptors anew on the warped images at every iteration (the paper's way)
    instead of warping descriptors that were computed once."""

    @property
    def measures_information(self) -> bool:
        """Whether local mutual information is measured, alone or beside a descriptor."""
        return self.name == "lmi" or self.added_information > 0

    @property
    def added_information(self) -> float:
        """Weight of the local mutual information that joins; 0 where nothing structural is compared."""
        return 0.0 if self.name in ("lmi", "lncc", "mse") else self.lmi_weight

    @property
    def reach(self) -> int:
        """How many voxels away a descriptor still sees; 0 for measures that see the voxel alone."""
        around = {
            "mind": self.offset * max(1, self.search_radius) + max(1, math.ceil(3 * self.patch_sigma)),
            "mse": 0,
            "lmi": 0,
            "lncc": 0,
            "contrastive": LEARNED_REACH,
            "contrastive+mind-ssc": LEARNED_REACH,
        }
        return around.get(self.name, self.offset + self.patch_radius)


USUAL_RATES: Mapping[VelocityName, float] = {"decoder": 2e-2, "nodeo": 5e-3, "grid": 1e-1}
"""Adam's step for each kind of velocity field, as docs/results/choices.md found it; that of NODEO's network
is the paper's, and at four times of it the network runs away."""


@dataclass(frozen=True)
class VelocitySettings:
    """How the velocity field is made from the weights that are optimised."""

    name: VelocityName = "decoder"
    """`decoder`: latent grid and a perceptron that decodes it; `nodeo`: coordinate network of the paper's
    lineage; `grid`: the vectors themselves."""
    lattice: int = 2
    """Voxels of the level's image per voxel of the velocity lattice."""
    smoothing_sigma: float = 1.0
    """Gaussian smoothing of the velocity, in voxels of its lattice."""
    channels: int = 16
    """Decoder: latent channels."""
    latent_shrink: int = 1
    """Decoder: voxels of the velocity lattice per voxel of the latent grid."""
    bottleneck: int = 16
    """NODEO: width of the bottleneck."""
    time_parts: int = 1
    """Equal parts of [0, 1] with a field each; 1 is a stationary field."""


@dataclass(frozen=True)
class SolverSettings:
    """How the flow of the velocity field is integrated over t in [0, 1], and differentiated."""

    scheme: Scheme = "rk4"
    steps: int = 1
    """Number of steps; the step size is h = 1 / steps. For `squaring` the number of squarings."""
    gradient: GradientRoute = "backprop"


@dataclass(frozen=True)
class LossWeights:
    """Weights of the regularising terms beside the similarity, whose weight is 1."""

    folding: float = 1.0
    folding_epsilon: float = 0.1
    """The barrier acts where a Jacobian determinant is below this value."""
    gradient: float = 0.2
    gradient_of: Literal["velocity", "displacement"] = "velocity"
    magnitude: float = 0.0
    spatial: Literal["uniform", "confidence"] = "uniform"
    """How the gradient penalty varies in space: `confidence` makes it weak where both images have
    structure and strong where they have none. A map given with the pair counts in either case."""


@dataclass(frozen=True)
class CaptureSettings:
    """The search over whole displacements before the first level; see :mod:`.capture`."""

    reach: int = 0
    """Largest displacement along each axis, in voxels of the search lattice; 0 searches nothing."""
    shrink: int = 4
    """Voxels of the working grid per voxel of the search lattice."""
    smoothing_sigma: float = 1.0
    """Smoothing of the chosen displacements, in voxels of the search lattice."""


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

    levels: tuple[Level, ...] = (Level(4, 60), Level(2, 60), Level(1, 40))
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    symmetric: bool = True
    """Also compare the fixed image, carried by the inverse flow, with the moving one, with equal weight:
    on one lattice, swapping the images then negates the velocity."""
    descriptor: DescriptorSettings = field(default_factory=DescriptorSettings)
    velocity: VelocitySettings = field(default_factory=VelocitySettings)
    solver: SolverSettings = field(default_factory=SolverSettings)
    weights: LossWeights = field(default_factory=LossWeights)
    learning_rate: float = 0.0
    """Adam's step; 0 for the usual one of the velocity field, see :data:`USUAL_RATES`."""
    convergence_tolerance: float = 1e-3
    """A level ends early, after a whole number of windows of `convergence_window` iterations, when the mean
    loss of the last one fell, from that of the window before, by less than this fraction of all it has
    fallen since the first; 0 does all iterations."""
    convergence_window: int = 8
    final_steps: int = 4
    """RK4 steps of the final maps, forward and inverse, at full resolution."""
    seed: int = 0

    @property
    def rate(self) -> float:
        """Adam's step that is taken."""
        return self.learning_rate or USUAL_RATES[self.velocity.name]


@dataclass(frozen=True)
class Execution:
    """How a GPU is used; a CPU has one way. It decides no more of the numbers than their rounding."""

    graphs: bool = True
    """Record the iterations as CUDA graphs and replay them."""
    mixed: bool = True
    """Compute the network of the velocity in bfloat16 where the card has it."""
