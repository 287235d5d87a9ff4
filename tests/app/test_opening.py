"""An image that memory has no room for is refused by its header, and no voxel of it is read."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app import opening
from bids_nodereg.app.available import Room
from bids_nodereg.app.images import PreparedImages
from bids_nodereg.app.opening import refuse_what_has_no_room
from bids_nodereg.app.retry import trouble_of
from bids_nodereg.config import Settings
from bids_nodereg.errors import DataError, ShortOfMemoryError

SHAPE = (20, 30, 40)
NEEDED = 24_000 * (2 + 8)


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch):
    monkeypatch.setattr(opening, "SMALL_BYTES", 0)


@pytest.fixture
def path(tmp_path):
    values = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "T1w.nii.gz")
    return tmp_path / "T1w.nii.gz"


def test_what_there_is_room_for_may_be_read(path):
    refuse_what_has_no_room(path, Room(NEEDED, "--mem-mb"))
    refuse_what_has_no_room(path, None)


def test_what_is_small_is_left_to_the_plan(path, monkeypatch):
    monkeypatch.setattr(opening, "SMALL_BYTES", NEEDED)
    refuse_what_has_no_room(path, Room(-1, "--mem-mb"))


def test_what_there_is_no_room_for_is_one_message(path):
    told = r"T1w\.nii\.gz: Not enough memory: reading 20 x 30 x 40 voxels of int16 .* \(--mem-mb\)"
    with pytest.raises(ShortOfMemoryError, match=told) as caught:
        refuse_what_has_no_room(path, Room(NEEDED - 1, "--mem-mb"))
    assert trouble_of(caught.value) == "memory"


def test_a_header_that_cannot_be_true_is_told_as_such(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((1000, 1000, 1000))
    (tmp_path / "T1w.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises(DataError, match=r"T1w\.nii: "):
        refuse_what_has_no_room(tmp_path / "T1w.nii", Room(10**6, "--mem-mb"))


def test_images_of_a_pair_are_asked_for_before_they_are_read(path, monkeypatch):
    monkeypatch.setattr("bids_nodereg.app.images.read_image", lambda _: pytest.fail("it was read"))
    image = SimpleNamespace(path=path)
    pair = SimpleNamespace(
        fixed=image, moving=image, fixed_mask=None, moving_mask=None, template=None, stiffness=None,
        fixed_lesion=None, moving_lesion=None,
    )  # fmt: skip
    images = PreparedImages(Settings(), room=lambda: Room(NEEDED - 1, "--mem-mb"))
    with pytest.raises(ShortOfMemoryError, match="T1w"):
        images.of(pair)
