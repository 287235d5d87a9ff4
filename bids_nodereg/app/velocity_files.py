"""The velocity field of a pair as files, for statistics in the log domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.bids.sidecars import velocity_sidecar
from bids_nodereg.files import remove, write_json
from bids_nodereg.imaging.transforms import write_displacement_nifti

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.bids.derivatives import Outputs
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.imaging.maps import DisplacementField


def write_velocity(pair: Pair, out: Outputs, velocity: Sequence[DisplacementField]) -> None:
    """Write one file for each part of the time, and remove those of an earlier run.

    Parameters
    ----------
    pair, out
        What the files are of, and where they go.
    velocity
        In mm per unit time on the working grid (RAS+ axes), in the order of time; empty for none.
    """
    any_part = out.velocity_nii().name.replace("-velocity_xfm.nii.gz", "-velocity*_xfm.*")
    for path in out.folder.glob(any_part):
        remove(path)
    for part, field in enumerate(velocity, start=1):
        write_displacement_nifti(out.velocity_nii(part, len(velocity)), field)
        sidecar = velocity_sidecar(pair, out, part=part, parts=len(velocity))
        write_json(out.velocity_json(part, len(velocity)), sidecar)
