"""The kernels in numba, for float32 on the CPU."""

from bids_nodereg.registration.kernels.cpu.comparison import descriptor_distance, stored
from bids_nodereg.registration.kernels.cpu.filters import downsample, resize, separable
from bids_nodereg.registration.kernels.cpu.flows import carry, carry_lattice
from bids_nodereg.registration.kernels.cpu.folding import folded_cells, folding_barrier
from bids_nodereg.registration.kernels.cpu.histograms import warped_histograms
from bids_nodereg.registration.kernels.cpu.interpolation import compose, fixed_point_inverse, sample
from bids_nodereg.registration.kernels.cpu.perceptron import perceptron
from bids_nodereg.registration.kernels.cpu.roughness import squared_gradient
from bids_nodereg.registration.kernels.cpu.self_similarity import mind, mind_ssc
from bids_nodereg.registration.kernels.cpu.warped import warp

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
