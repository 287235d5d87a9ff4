"""The perceptron that turns latent channels into vectors, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def perceptron(
    latent: Tensor, mix_weight: Tensor, mix_bias: Tensor, head_weight: Tensor, head_bias: Tensor
) -> Tensor:
    """``H (z + silu(W z + b)) + c`` at every point of a lattice, differentiable in all arguments.

    Parameters
    ----------
    latent
        The channels ``z`` of each point, last: ``i j k c``.
    mix_weight, mix_bias
        ``W``, ``c c``, and ``b``, ``c``.
    head_weight, head_bias
        ``H``, ``3 c``, and ``c``, ``3``.

    Returns
    -------
    Tensor
        Vectors ``1 3 i j k``, contiguous.
    """
    hidden = latent + functional.silu(functional.linear(latent, mix_weight, mix_bias))
    return functional.linear(hidden, head_weight, head_bias).movedim(-1, 0)[None].contiguous()
