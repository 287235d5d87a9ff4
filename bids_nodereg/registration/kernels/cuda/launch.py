"""What every launch needs: the grid, the device of the tensors, and sums in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 256
"""Points that one program handles, unless its file says otherwise."""

SIZES = [
    "ai",
    "bi",
    "ci",
    "cj",
    "ck",
    "channels",
    "count",
    "lead",
    "li",
    "lj",
    "lk",
    "new",
    "nj",
    "nk",
    "ni",
    "oi",
    "oj",
    "ok",
    "old",
    "pairs",
    "patch",
    "points",
    "programs",
    "radius",
    "reach",
    "headroom",
    "iterations",
    "si",
    "sj",
    "sk",
    "size",
    "stage",
    "stages",
    "stride",
    "tj",
    "tk",
    "ui",
    "uj",
    "uk",
    "volume",
]
"""Numbers that vary with the image. Triton would compile anew for a 1 or a multiple of 16."""

kernel: Any = triton.jit(do_not_specialize=SIZES)
"""Decorator of what is launched; what it calls is compiled into it by ``triton.jit``."""


def blocks(points: int, block: int = BLOCK) -> int:
    """Programs for so many points."""
    return int(triton.cdiv(points, block))


def launch(function: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Start a kernel on the device of its first argument, which need not be the current one.

    Multiplications and additions are fused, whatever Triton's own default is: it has changed.
    """
    with torch.cuda.device_of(arguments[0]):
        function[(programs,)](*arguments, enable_fp_fusion=True, **constants)


def partials(programs: int, sums: int, like: Tensor) -> Tensor:
    """Room for what every program adds up by itself: ``sums programs``."""
    return torch.empty((sums, programs), dtype=torch.float32, device=like.device)


def total(partial: Tensor) -> Tensor:
    """Sum each row of :func:`partials`, float64: torch adds rows of one length in one order."""
    return partial.sum(1, dtype=torch.float64)
