"""The kernels in Triton, for CUDA devices."""

from bids_nodereg.registration.kernels.reference.comparison import descriptor_distance
from bids_nodereg.registration.kernels.reference.filters import resize, separable
from bids_nodereg.registration.kernels.reference.flows import carry
from bids_nodereg.registration.kernels.reference.folding import folded_cells, folding_barrier
from bids_nodereg.registration.kernels.reference.interpolation import compose, sample
from bids_nodereg.registration.kernels.reference.self_similarity import mind, mind_ssc

__all__ = [
    "carry",
    "compose",
    "descriptor_distance",
    "folded_cells",
    "folding_barrier",
    "mind",
    "mind_ssc",
    "resize",
    "sample",
    "separable",
]
