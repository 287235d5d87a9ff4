"""The kernels in Triton, for float32 and float16 on CUDA devices, one image at a time.

Descriptors are stored in float16, all arithmetic is in float32. Nothing waits for the device and no shape
depends on data, so that a CUDA graph can hold every operation. Sums are taken in a fixed order, or are
sums of integers: two calls give the same bits.
"""

from bids_nodereg.registration.kernels.cuda.comparison import descriptor_distance, stored
from bids_nodereg.registration.kernels.cuda.filters import downsample, resize, separable
from bids_nodereg.registration.kernels.cuda.flows import carry, carry_lattice
from bids_nodereg.registration.kernels.cuda.folding import folded_cells, folding_barrier
from bids_nodereg.registration.kernels.cuda.histograms import warped_histograms
from bids_nodereg.registration.kernels.cuda.interpolation import compose, fixed_point_inverse, sample
from bids_nodereg.registration.kernels.cuda.perceptron import perceptron
from bids_nodereg.registration.kernels.cuda.roughness import squared_gradient
from bids_nodereg.registration.kernels.cuda.self_similarity import mind, mind_ssc
from bids_nodereg.registration.kernels.cuda.warped import warp

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
