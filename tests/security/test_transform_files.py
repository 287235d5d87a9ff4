"""A transform in HDF5 that reaches for other files is refused, and nothing of them is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from bids_nodereg.errors import DataError
from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.transforms import read_composite_h5, write_composite_h5

GROUP = "TransformGroup/1"  # 0 is the composite's own
NUMBERS = f"{GROUP}/TransformParameters"


def external_link(file, secret):
    del file[NUMBERS]
    file[NUMBERS] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "numbers")


def soft_link(file, _secret):
    file["elsewhere"] = np.zeros(12)
    del file[NUMBERS]
    file[NUMBERS] = h5py.SoftLink("/elsewhere")


def external_bytes(file, secret):
    del file[NUMBERS]
    file.create_dataset(NUMBERS, shape=(12,), dtype="f8", external=[(str(secret), 0, 96)])


def virtual(file, secret):
    del file[NUMBERS]
    layout = h5py.VirtualLayout(shape=(12,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "numbers", shape=(12,))
    file.create_virtual_dataset(NUMBERS, layout)


def linked_group(file, secret):
    del file["TransformGroup"]
    file["TransformGroup"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "group")


TRICKS = {
    "a link to another file": external_link,
    "a soft link": soft_link,
    "numbers kept in another file": external_bytes,
    "a virtual data set": virtual,
    "its group in another file": linked_group,
}


@pytest.mark.parametrize("case", TRICKS)
def test_a_transform_that_reaches_elsewhere_is_refused(tmp_path, case, outcome):
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(12.0).tobytes())
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["numbers"] = np.arange(12.0)
        other.create_group("group")
    path = tmp_path / "x.h5"
    write_composite_h5(path, SpatialMap(np.eye(4)))
    with h5py.File(path, "r+") as file:
        TRICKS[case](file, secret)
    with pytest.raises(DataError):
        read_composite_h5(path)
    outcome("hostile", f"HDF5 transform with {case}", "refused", 65)
