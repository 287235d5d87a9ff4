"""The brain by the network of the package deepbet, where that is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import torch
from torch.nn import functional

from bids_nodereg.errors import UsageError
from bids_nodereg.imaging.mask import one_piece

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from bids_nodereg.imaging.volume import Volume

PACKAGE = "deepbet"
MODELS = ("bbox_model.pt", "model.pt")
COARSE = (128, 128, 128)
FINE = (256, 256, 256)
"""Sizes that both networks were made for; images are stretched to them."""

PERCENTILES = (0.005, 0.995)
BOX_PROFILE = 0.02
"""Mean over a plane of the coarse mask from which the plane belongs to the brain's box."""
BOX_ROOM = 0.1
"""Room on each side of the box, of its size."""

INPUT_SCALE, INPUT_SHIFT = 0.226, 0.449
"""Standard deviation and mean of what the networks were trained to see."""

RAS = np.array([[0, 1], [1, 1], [2, 1]])


def is_installed() -> bool:
    """Whether the package with the networks is there."""
    return bool(_files())


def network_brain(volume: Volume, device: torch.device) -> NDArray[np.bool_]:
    """Find the brain: a coarse network finds its box, a fine one the mask in the box.

    The networks, their input sizes and their scaling of intensities are those of deepbet (Fisch et al.,
    Computers in Biology and Medicine 2024); what is around them is our own. They are TorchScript archives.

    Returns
    -------
    ndarray
        ``(i, j, k)`` on the image's grid; empty where no brain is found.

    Raises
    ------
    UsageError
        If the package is not installed.
    """
    files = _files()
    if not files:
        msg = (
            "--brain-mask-method deepbet: the package is not installed. "
            "pip install 'bids-nodereg[brain]', in a clone '.[brain]'."
        )
        raise UsageError(msg)
    box_network, network = (torch.jit.load(str(files[name]), map_location=device).eval() for name in MODELS)
    turned = nib.orientations.io_orientation(volume.grid.affine)
    image = torch.from_numpy(np.array(nib.orientations.apply_orientation(volume.data, turned))).to(device)
    small = _resized(image, COARSE)
    low, high = (small.quantile(share) for share in PERCENTILES)
    with torch.no_grad():
        box = _box(one_piece(_brain(box_network, small, low, high).cpu().numpy() > 0.5), image.shape)
        if box is None:
            return np.zeros(volume.grid.shape, np.bool_)
        share = _resized(_brain(network, _resized(image[box], FINE), low, high), image[box].shape)
    mask = np.zeros(image.shape, np.bool_)
    mask[box] = share.cpu().numpy() > 0.5
    back = nib.orientations.ornt_transform(RAS, turned)
    return one_piece(np.asarray(nib.orientations.apply_orientation(mask, back)))


def _files() -> dict[str, Path]:
    """Paths of both networks; empty where the package or one of them is missing."""
    try:
        listed = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return {}
    found = {path.name: Path(str(path.locate())) for path in listed if path.name in MODELS}
    return found if len(found) == len(MODELS) and all(path.is_file() for path in found.values()) else {}


def _brain(network: torch.jit.ScriptModule, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Share of brain ``i j k``, as a network sees it."""
    scaled = ((image - low) / (high - low)).clamp(0, 1)
    scaled = INPUT_SCALE * (scaled - scaled.mean()) / scaled.std() + INPUT_SHIFT
    share: Tensor = network(scaled[None, None])[0, 1]
    return share


def _resized(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    return functional.interpolate(image[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _box(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Box around a coarse mask, with room, in voxels of an image of this shape; None where it is empty."""
    slices = []
    for axis, (coarse, size) in enumerate(zip(mask.shape, shape, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(mask.mean(axis=others) > BOX_PROFILE)
        if planes.size == 0:
            return None
        room = BOX_ROOM * (planes[-1] + 1 - planes[0])
        first, last = ((edge * size / coarse) for edge in (planes[0] - room, planes[-1] + 1 + room))
        slices.append(slice(max(0, int(first)), min(size, int(np.ceil(last)))))
    return tuple(slices)
