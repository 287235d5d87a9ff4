"""Which way to a brain mask is taken, how good it is, and what happens when it fails."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_nodereg.app import find_brain as module
from bids_nodereg.app import head_template
from bids_nodereg.app.find_brain import find_brain
from bids_nodereg.app.head_template import FittedBrain, shipped_head
from bids_nodereg.app.network_mask import is_installed
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.imaging.maps import forward_map
from bids_nodereg.imaging.mask import find_mask, one_piece
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.volume import Volume, read_image, read_labels
from bids_nodereg.registration.settings import AffineSettings, Level
from tests.shared_data import shared_data

CPU = torch.device("cpu")
QUICK = replace(
    head_template.FITTING,
    affine=AffineSettings(spacings_mm=(8.0, 4.0), iterations=(30, 15), angles_deg=(0.0,), keep=1),
    registration=replace(head_template.FITTING.registration, levels=(Level(2, 20),)),
)


@pytest.fixture(scope="module")
def head() -> Volume:
    return shipped_head().head


@pytest.fixture(scope="module")
def foreground(head) -> np.ndarray:
    return find_mask(head.data, head.grid.spacing)[0]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def hull(labels: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Union of tissue labels, closed by 5 mm, without holes."""
    room = [(int(5 / size) + 2,) * 2 for size in spacing]
    tissue = np.pad(labels > 0, room)
    grown = ndimage.distance_transform_edt(~tissue, sampling=spacing) <= 5
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > 5
    return one_piece((closed | tissue)[tuple(slice(before, -after) for before, after in room)])


@pytest.mark.real
def test_the_template_finds_the_brain_in_a_flair_of_thick_slices_without_a_face(monkeypatch):
    """With a third of the iterations that it has else, as tests have to be quick."""
    monkeypatch.setattr(head_template, "FITTING", QUICK)
    folder, stem = shared_data("ds-openms"), "sub-04_ses-1"
    volume = read_image(folder / "sub-04" / "ses-1" / "anat" / f"{stem}_FLAIR.nii.gz")
    labels = folder / "derivatives" / "seg-auto" / "sub-04" / "ses-1" / "anat"
    dseg = read_labels(labels / f"{stem}_space-FLAIR_desc-sae18fromT1w_dseg.nii.gz")
    truth = hull(dseg.data[::2, ::2], np.multiply(dseg.grid.spacing, (2, 2, 1)))  # every other one will do
    found = find_brain(volume, find_mask(volume.data, volume.grid.spacing)[0], "template", CPU)
    assert found.mask is not None, found.origin
    assert found.origin.startswith("brain found by our head template")
    assert dice(found.mask[::2, ::2], truth) >= 0.93


@pytest.mark.real
def test_the_network_finds_the_brain_of_the_mni_t1w():
    if not is_installed():
        pytest.skip("deepbet is not installed: pip install 'bids-nodereg[brain]'")
    stem = shared_data("templates", "tpl-MNI152NLin6Asym") / "tpl-MNI152NLin6Asym"
    volume = read_image(stem.with_name(f"{stem.name}_res-02_T1w.nii.gz"))
    mask = read_labels(stem.with_name(f"{stem.name}_res-01_desc-brain_mask.nii.gz"))
    share = Volume(mask.data.astype(np.float32), mask.grid, mask.path, mask.dtype)
    truth = warp_image(share, volume.grid, forward_map(np.eye(4))) >= 0.5
    foreground = find_mask(volume.data, volume.grid.spacing)[0]
    found = find_brain(volume, foreground, "deepbet", CPU)
    assert dice(found.mask, truth) >= 0.94


def test_the_template_that_is_shipped_is_a_head_with_a_brain_in_it(head, foreground):
    brain = shipped_head().brain
    assert brain.shape == head.grid.shape
    assert 1.7e6 < brain.sum() * head.grid.voxel_volume < 2.1e6
    assert np.count_nonzero(brain & ~foreground) < 0.001 * brain.sum()
    centre = head.grid.to_world(np.argwhere(brain)).mean(0)
    np.testing.assert_allclose(centre, [0, -20, 5], atol=8)  # in MNI space


@pytest.fixture
def without_network(monkeypatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda: False)


def test_a_fit_that_explains_nothing_is_not_believed(head, foreground, without_network, monkeypatch):
    brain = shipped_head().brain
    monkeypatch.setattr(module, "fit_brain", lambda *rest: FittedBrain(brain, 0.3))
    found = find_brain(head, foreground, "auto", CPU)
    assert found.mask is None
    assert found.origin.startswith("no brain found")
    assert "correlation 0.30" in found.origin


def test_a_mask_of_the_whole_head_is_not_believed(head, foreground, without_network, monkeypatch):
    monkeypatch.setattr(module, "fit_brain", lambda *rest: FittedBrain(foreground, 0.9))
    found = find_brain(head, foreground, "auto", CPU)
    assert found.mask is None
    assert "expected 0.15 to 2.2 l" in found.origin


def test_where_nothing_can_be_fitted_there_is_a_reason_and_no_crash(
    head, foreground, without_network, monkeypatch
):
    def fail(*_rest):
        msg = "not finite"
        raise FloatingPointError(msg)

    monkeypatch.setattr(module, "fit_brain", fail)
    found = find_brain(head, foreground, "auto", CPU)
    assert found.mask is None
    assert "not finite" in found.origin


def test_the_template_takes_over_from_a_network_that_fails(head, foreground, monkeypatch):
    brain = shipped_head().brain
    monkeypatch.setattr(module, "is_installed", lambda: True)
    monkeypatch.setattr(module, "network_brain", lambda *rest: foreground)
    monkeypatch.setattr(module, "fit_brain", lambda *rest: FittedBrain(brain, 0.9))
    assert "our head template" in find_brain(head, foreground, "auto", CPU).origin
    assert find_brain(head, foreground, "deepbet", CPU).mask is None
    monkeypatch.setattr(module, "network_brain", lambda *rest: brain)
    assert find_brain(head, foreground, "auto", CPU).origin == "brain found by deepbet"


def test_a_small_object_is_not_searched_for_a_brain(head):
    speck = np.zeros(head.grid.shape, bool)
    speck[30:50, 30:50, 30:50] = True
    found = find_brain(head, speck, "auto", CPU)
    assert found.mask is None
    assert "0.06 l is no adult's head" in found.origin


PROGRAM = """\
#!{python}
import sys
import nibabel as nib
import numpy as np
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
image = nib.load(words["-i"])
mask = (np.asarray(image.dataobj) > 100).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, image.affine), words["-m"])
"""


def install(folder, text: str, monkeypatch) -> None:
    program = folder / "mri_synthstrip"
    program.write_text(text.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_program_of_the_user_is_called_and_its_mask_read(head, foreground, tmp_path, monkeypatch):
    install(tmp_path, PROGRAM, monkeypatch)
    found = find_brain(head, foreground, "synthstrip", CPU)
    assert found.origin == "brain found by mri_synthstrip"
    assert np.array_equal(found.mask, head.data > 100)


def test_a_program_that_fails_or_is_missing_is_an_error(head, foreground, tmp_path, monkeypatch):
    with pytest.raises(MissingInputError, match="hd-bet is not on the PATH"):
        find_brain(head, foreground, "hd-bet", CPU)
    install(tmp_path, "#!{python}\nraise SystemExit('no weights')\n", monkeypatch)
    with pytest.raises(DataError, match="no weights"):
        find_brain(head, foreground, "synthstrip", CPU)


def test_no_brain_wanted_is_no_brain_sought(head, foreground):
    assert find_brain(head, foreground, "none", CPU).mask is None
