"""Name and sidecar of the brain mask of one image, as ``--derivatives`` reads it.

fMRIPrep would take a ``desc-brain_mask`` without ``space-`` for its own skull strip of the T1w, from
whatever derivative data set it is given. Ours always has a ``space-``, so that whoever gives fMRIPrep our
transforms does not give it our masks unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_nodereg.bids.image import RAW
from bids_nodereg.bids.names import build_name

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.bids.image import Image


def brain_mask_path(image: Image, out_dir: Path) -> Path | None:
    """Where the brain mask of an image goes; None for an image that is itself a derivative.

    ``sub-01_space-T1w_desc-brain_mask.nii.gz`` is that of the T1w; the entities of the acquisition stay.
    """
    if image.dataset != RAW:
        return None
    session = () if image.session is None else (f"ses-{image.session}",)
    entities = (*image.short_entities, ("space", image.suffix), ("desc", "brain"))
    name = build_name(entities, "mask", ".nii.gz")
    return out_dir.joinpath(f"sub-{image.subject}", *session, "anat", name)


def brain_mask_sidecar(image: Image, origin: str) -> dict[str, Any]:
    """Describe a brain mask; ``origin`` says in words how it was found."""
    return {
        "Description": f"Brain of the {image.suffix} image, fluid within the skull included: {origin}",
        "Type": "Brain",
        "Sources": [image.uri],
        "SpatialReference": image.uri,
        "Manual": False,
    }
