"""Real label maps as anatomies, with the texture of the real image where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.imaging.volume import read_image, read_labels
from training.anatomy import Anatomy, from_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CLOSING_MM = 4
"""Gaps between labelled structures up to twice this wide are fluid."""


def read_anatomies(specifications: Sequence[str], device: torch.device | str = "cpu") -> tuple[Anatomy, ...]:
    """Read ``LABELS[,IMAGE]`` for each anatomy.

    Parameters
    ----------
    specifications
        Paths of a label map (1 mm voxels, 0 background) and of an image on the same grid.
    device
        Where the anatomies are kept.

    Raises
    ------
    ValueError
        If the image has another shape than the labels.
    """
    return tuple(_read(specification, device) for specification in specifications)


def _read(specification: str, device: torch.device | str) -> Anatomy:
    labels_path, _, image_path = specification.partition(",")
    labels = torch.from_numpy(read_labels(Path(labels_path)).data.astype("int64")).to(device)
    image = None
    if image_path:
        image = torch.from_numpy(read_image(Path(image_path)).data.astype("float32")).to(device)
        if image.shape != labels.shape:
            msg = (
                f"{image_path}: shape {tuple(image.shape)}, expected that of the labels {tuple(labels.shape)}"
            )
            raise ValueError(msg)
    return from_labels(with_fluid(labels), image)


def with_fluid(labels: Tensor) -> Tensor:
    """The labels, with one more where sulci and cisterns are unlabelled (morphological closing)."""
    width = 2 * CLOSING_MM + 1
    inside = (labels > 0)[None, None].float()
    dilated = functional.max_pool3d(inside, width, stride=1, padding=CLOSING_MM)
    closed = 1 - functional.max_pool3d(1 - dilated, width, stride=1, padding=CLOSING_MM)
    fluid = (closed[0, 0] > 0) & (labels == 0)
    return torch.where(fluid, labels.max() + 1, labels)
