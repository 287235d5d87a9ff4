"""Name and sidecar of the brain mask of one image, as ``--derivatives`` reads it.

fMRIPrep would take a ``desc-brain_mask`` without ``space-`` for its own skull strip of the T1w, from
whatever derivative data set it is given. Ours always has a ``space-``, so that whoever gives fMRIPrep our
transforms does not give it our masks unasked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bids_nodereg.bids.image import RAW
from bids_nodereg.bids.inside import checked_folder, checked_name, refuse_links_out
from bids_nodereg.bids.names import build_name

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.bids.image import Image


def brain_mask_path(image: Image, out_dir: Path) -> Path | None:
    """Where the brain mask of an image goes; None for an image that is itself a derivative.

    ``sub-01_space-T1w_desc-brain_mask.nii.gz`` is that of the T1w; the entities of the acquisition stay.

    Raises
    ------
    OutputError
        If it would lie outside of the output folder.
    """
    if image.dataset != RAW:
        return None
    session = () if image.session is None else (f"ses-{image.session}",)
    entities = (*image.short_entities, ("space", image.suffix), ("desc", "brain"))
    name = checked_name(build_name(entities, "mask", ".nii.gz"))
    folder = checked_folder(out_dir.joinpath(f"sub-{image.subject}", *session, "anat"), out_dir)
    refuse_links_out(out_dir, [folder])
    return folder / name


def brain_mask_sidecar(image: Image, origin: str) -> dict[str, Any]:
    """Describe a brain mask; ``origin`` says in words how it was found."""
    return {
        "Description": f"Brain of the {image.suffix} image, fluid within the skull included: {origin}",
        "Type": "Brain",
        "Sources": [image.uri],
        "SpatialReference": image.uri,
        "Manual": False,
    }
