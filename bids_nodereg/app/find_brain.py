"""Where the brain is in an image that comes without a mask: which way is taken, and what if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.app.head_template import fit_brain
from bids_nodereg.app.inputs import NOT_FOUND
from bids_nodereg.app.mask_programs import PROGRAMS, program_brain
from bids_nodereg.app.network_mask import is_installed, network_brain
from bids_nodereg.errors import DataError
from bids_nodereg.imaging.brain import BRAIN_MM3, why_no_brain

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bids_nodereg.config import BrainMaskMethod
    from bids_nodereg.imaging.volume import Volume

FOUND = "brain found by"
"""How the origin of a mask begins that was found here."""

LEAST_AGREEMENT = 0.5
"""Least correlation of an image with the fitted template that counts as found."""

LEAST_HEAD_MM3 = BRAIN_MM3[0]
"""A foreground smaller than a brain is no adult's head; nothing is searched in it."""


@dataclass(frozen=True, eq=False)
class FoundBrain:
    """What came of the search.

    Attributes
    ----------
    mask
        ``(i, j, k)`` on the image's grid; None where no brain was found.
    origin
        How it was found, or why not, in words.
    """

    mask: NDArray[np.bool_] | None
    origin: str


def method_taken(method: BrainMaskMethod) -> BrainMaskMethod:
    """What ``auto`` tries first on this machine; other ways are what they are."""
    if method != "auto":
        return method
    return "deepbet" if is_installed() else "template"


def find_brain(
    volume: Volume, head: NDArray[np.bool_], method: BrainMaskMethod, device: torch.device
) -> FoundBrain:
    """Find the brain in an image that shows more than the brain.

    ``auto`` takes the network where deepbet is installed, and the head template where it is not or
    where the network's mask cannot be a brain. A program that the user has named is taken at its word.

    Parameters
    ----------
    volume
        The image.
    head
        ``(i, j, k)`` on its grid: its foreground.
    method
        What was chosen; ``none`` finds nothing.
    device
        Where to compute.

    Raises
    ------
    UsageError, MissingInputError
        If the way that the user named is not installed.
    DataError
        If a program that the user named fails.
    """
    if method == "none":
        return FoundBrain(None, "no brain mask wanted")
    if method in PROGRAMS:
        return FoundBrain(program_brain(volume, method, device.type), f"{FOUND} {PROGRAMS[method][0]}")
    litres = float(np.count_nonzero(head)) * volume.grid.voxel_volume / 1e6
    if litres * 1e6 < LEAST_HEAD_MM3:
        return FoundBrain(None, f"{NOT_FOUND}: a foreground of {litres:.2f} l is no adult's head")
    reasons = []
    if method_taken(method) == "deepbet":
        found = _by_network(volume, device)
        if found.mask is not None or method == "deepbet":
            return found
        reasons.append(found.origin.removeprefix(f"{NOT_FOUND}: "))
    found = _by_template(volume, head, device)
    if found.mask is not None or not reasons:
        return found
    return FoundBrain(None, f"{found.origin}; {'; '.join(reasons)}")


def _by_network(volume: Volume, device: torch.device) -> FoundBrain:
    mask = network_brain(volume, device)
    why = why_no_brain(mask, volume.grid)
    if why:
        return FoundBrain(None, f"{NOT_FOUND}: deepbet gave {why}")
    return FoundBrain(mask, f"{FOUND} deepbet")


def _by_template(volume: Volume, head: NDArray[np.bool_], device: torch.device) -> FoundBrain:
    try:
        fitted = fit_brain(volume, head, device)
    except (DataError, FloatingPointError) as error:
        return FoundBrain(None, f"{NOT_FOUND}: the head template could not be fitted ({error})")
    why = why_no_brain(fitted.mask, volume.grid)
    if fitted.agreement < LEAST_AGREEMENT:
        why = f"a fit that explains too little (correlation {fitted.agreement:.2f})"
    if why:
        return FoundBrain(None, f"{NOT_FOUND}: the head template gave {why}")
    return FoundBrain(fitted.mask, f"{FOUND} our head template, fitted (correlation {fitted.agreement:.2f})")
