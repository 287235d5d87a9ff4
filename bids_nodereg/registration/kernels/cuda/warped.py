"""An image seen through a displacement; positions are made where they are used and never stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bids_nodereg.registration.kernels.cuda.cells import DISPLACED
from bids_nodereg.registration.kernels.cuda.filters import resize_transposed
from bids_nodereg.registration.kernels.cuda.interpolation import read, shape_of, slopes
from bids_nodereg.registration.kernels.cuda.places import moved

if TYPE_CHECKING:
    from torch import Tensor

    from bids_nodereg.registration.kernels.cuda.places import Places


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """As :func:`reference.warp`."""
    result: Tensor = _Warp.apply(image, displacement)
    return result


def to_own_lattice(places: Places, gradient: Tensor) -> Tensor:
    """Gradient ``1 3 x y z`` on the displacement's lattice, from that at every voxel, ``3 n``."""
    dense = gradient.view(1, 3, *places.lattice)
    if places.mode == DISPLACED.value:
        return dense
    i, j, k = places.ratios
    return resize_transposed(dense, places.displacement_lattice, (1 / i, 1 / j, 1 / k))


class _Warp(torch.autograd.Function):
    """The image at ``x + u(x)`` and the gradient with respect to ``u`` on its own lattice."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, displacement: Tensor) -> Tensor:
        values, u = image.detach().contiguous(), displacement.detach().contiguous()
        ctx.save_for_backward(values, u)
        return read(values, moved(shape_of(values), u), torch.empty_like(values))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor]:
        values, u = ctx.saved_tensors
        places = moved(shape_of(values), u)
        return None, to_own_lattice(places, slopes(values, places, grad_outputs[0].contiguous()))
