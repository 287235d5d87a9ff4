"""The kernels in plain torch: what the others are tested against, and what any device can run."""

from bids_nodereg.registration.kernels.reference.comparison import descriptor_distance, stored
from bids_nodereg.registration.kernels.reference.filters import downsample, resize, separable
from bids_nodereg.registration.kernels.reference.flows import carry, carry_lattice
from bids_nodereg.registration.kernels.reference.folding import folded_cells, folding_barrier
from bids_nodereg.registration.kernels.reference.histograms import warped_histograms
from bids_nodereg.registration.kernels.reference.interpolation import compose, fixed_point_inverse, sample
from bids_nodereg.registration.kernels.reference.perceptron import perceptron
from bids_nodereg.registration.kernels.reference.roughness import squared_gradient
from bids_nodereg.registration.kernels.reference.self_similarity import mind, mind_ssc
from bids_nodereg.registration.kernels.reference.warped import warp

__all__ = [
    "carry",
    "carry_lattice",
    "compose",
    "descriptor_distance",
    "downsample",
    "fixed_point_inverse",
    "folded_cells",
    "folding_barrier",
    "mind",
    "mind_ssc",
    "perceptron",
    "resize",
    "sample",
    "separable",
    "squared_gradient",
    "stored",
    "warp",
    "warped_histograms",
]
