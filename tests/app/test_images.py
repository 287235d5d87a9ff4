"""Each image is prepared once; raw heads get a brain and an even brightness, stripped ones stay."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app import images as module
from bids_nodereg.app.find_brain import FoundBrain
from bids_nodereg.app.images import PreparedImages
from bids_nodereg.app.inputs import head_note
from bids_nodereg.bids.image import Image
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.config import Settings
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.volume import read_image, read_mask

SHAPE = (30, 32, 26)
SIZE_MM = 6.0


def save(path: Path, data: np.ndarray) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([SIZE_MM] * 3 + [1.0])), path)
    suffix = path.name.removesuffix(".nii.gz").split("_")[-1]
    return Image(path, f"sub-01/anat/{path.name}", "01", None, suffix)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    index = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    return np.linalg.norm(index / (10, 12, 9), axis=-1) < 1


@pytest.fixture(scope="module")
def study(tmp_path_factory, brain) -> dict[str, Image]:
    """A head of 2.7 l with a noisy background and a brightness that changes, and its brain alone."""
    folder = tmp_path_factory.mktemp("images") / "sub-01" / "anat"
    random = np.random.default_rng(3)
    index = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    radius = np.linalg.norm(index / (14, 15.5, 13), axis=-1)
    tissue = np.where(brain, 500, np.where(radius < 1, 800, 0)) + random.normal(0, 10, SHAPE)
    field = np.exp(np.linspace(-0.4, 0.4, SHAPE[0]))[:, None, None]
    raw = np.abs(tissue * field) + 1
    return {
        "T1w": save(folder / "sub-01_T1w.nii.gz", np.where(brain, tissue, 0)),
        "T2w": save(folder / "sub-01_T2w.nii.gz", raw),
        "FLAIR": save(folder / "sub-01_FLAIR.nii.gz", raw + random.normal(0, 1, SHAPE)),
        "PDw": save(folder / "sub-01_PDw.nii.gz", raw + random.normal(0, 1, SHAPE)),
    }


@pytest.fixture
def found(brain, monkeypatch):
    """Brains are found at once; counts how often one was looked for."""
    calls = []

    def find(volume, _head, method, _device):
        calls.append((volume.path.name, method))
        return FoundBrain(None, "no brain mask wanted") if method == "none" else FoundBrain(brain, WORDS)

    monkeypatch.setattr(module, "find_brain", find)
    return calls


WORDS = "brain found by magic"


def pair_of(study, moving: str) -> Pair:
    return Pair("within-session", study["T1w"], study[moving])


def test_a_raw_head_gets_a_brain_and_an_even_brightness_and_stays_itself(study, found, brain):
    inputs = PreparedImages(Settings()).of(pair_of(study, "T2w"))
    prepared = inputs.moving
    assert np.array_equal(prepared.mask, brain)
    assert prepared.mask_origin == WORDS
    assert np.array_equal(prepared.volume.data, read_image(study["T2w"].path).data)
    before, after = (image[brain].std() for image in (prepared.volume.data, prepared.compared))
    assert after < before / 4
    assert not head_note(prepared)


def test_a_skull_stripped_image_is_prepared_as_it_always_was(study, found):
    prepared = PreparedImages(Settings()).of(pair_of(study, "T2w")).fixed
    plain = prepare(read_image(study["T1w"].path))
    assert np.array_equal(prepared.mask, plain.mask)
    assert (prepared.window, prepared.mask_origin, prepared.unbiased) == (
        plain.window,
        plain.mask_origin,
        None,
    )
    assert [name for name, _ in found] == ["sub-01_T2w.nii.gz"]


@pytest.mark.parametrize(("choice", "is_corrected"), [("none", False), ("n4", True)])
def test_the_correction_can_be_forced_and_forbidden(study, found, choice, is_corrected):
    inputs = PreparedImages(Settings(bias_correction=choice)).of(pair_of(study, "T2w"))
    for prepared in (inputs.fixed, inputs.moving):
        assert (prepared.unbiased is not None) == is_corrected


def test_an_image_that_no_field_can_be_fitted_to_is_not_said_to_be_corrected(study, found, monkeypatch):
    monkeypatch.setattr(module, "without_bias", lambda _volume, _mask: None)
    prepared = PreparedImages(Settings(bias_correction="n4")).of(pair_of(study, "T2w")).moving
    assert prepared.unbiased is None
    assert prepared.compared is prepared.volume.data


def test_without_a_brain_mask_the_head_is_registered_and_said_to_be(study, found):
    settings = Settings(brain_mask="none", bias_correction="none")
    prepared = PreparedImages(settings).of(pair_of(study, "T2w")).moving
    assert prepared.mask.sum() * SIZE_MM**3 > 2.4e6
    assert "Otsu" in prepared.mask_origin
    assert "mask is that of the head" in head_note(prepared)


def test_a_given_mask_is_respected(study, found, brain, tmp_path):
    path = tmp_path / "sub-01_space-T2w_desc-brain_mask.nii.gz"
    smaller = brain & (np.indices(SHAPE)[0] > 12)
    save(path, smaller)
    pair = replace(pair_of(study, "T2w"), moving_mask=path)
    prepared = PreparedImages(Settings(bias_correction="none")).of(pair).moving
    assert np.array_equal(prepared.mask, smaller)
    assert prepared.mask_origin == f"given: {path.name}"
    assert not found


def test_an_image_in_several_pairs_is_prepared_once_and_few_are_kept(study, found, monkeypatch):
    monkeypatch.setattr(module, "KEPT_IMAGES", 3)
    images = PreparedImages(Settings(bias_correction="none"))
    first = images.of(pair_of(study, "T2w"))
    assert images.of(pair_of(study, "T2w")).moving is first.moving
    for moving in ("FLAIR", "PDw"):
        assert images.of(pair_of(study, moving)).fixed is first.fixed
    assert len(found) == 3
    assert images.of(pair_of(study, "T2w")).moving is not first.moving  # was forgotten by now


def test_found_masks_are_written_once_with_their_story(study, found, brain, tmp_path):
    images = PreparedImages(Settings(bias_correction="none"))
    pair = pair_of(study, "T2w")
    inputs = images.of(pair)
    images.write_found_masks(pair, inputs, tmp_path)
    names = sorted(path.name for path in (tmp_path / "sub-01" / "anat").iterdir())
    stem = "sub-01_space-T2w_desc-brain_mask"
    assert names == [f"{stem}.json", f"{stem}.nii.gz"]  # the T1w shows the brain alone
    path = tmp_path / "sub-01" / "anat" / f"{stem}.nii.gz"
    assert np.array_equal(read_mask(path, inputs.moving.volume.grid), brain)
    path.unlink()
    images.write_found_masks(pair, inputs, tmp_path)
    assert not path.exists()


def write_masks(pair, out, **settings) -> None:
    images = PreparedImages(Settings(bias_correction="none", **settings))
    images.write_found_masks(pair, images.of(pair), out)


def test_a_mask_that_is_not_found_any_more_goes(study, found, tmp_path):
    pair = pair_of(study, "T2w")
    path = tmp_path / "sub-01" / "anat" / "sub-01_space-T2w_desc-brain_mask.nii.gz"
    write_masks(pair, tmp_path)
    assert path.exists()
    write_masks(replace(pair, moving_mask=path), tmp_path)  # given back as it is
    assert path.exists()
    write_masks(pair, tmp_path, brain_mask="none")
    assert not list(path.parent.iterdir())


def test_a_mask_that_was_mended_by_hand_stays(study, found, brain, tmp_path, caplog):
    pair = pair_of(study, "T2w")
    path = tmp_path / "sub-01" / "anat" / "sub-01_space-T2w_desc-brain_mask.nii.gz"
    write_masks(pair, tmp_path)
    save(path, brain & (np.indices(SHAPE)[0] > 12))
    mended = path.read_bytes()
    for how in ("auto", "none"):
        caplog.clear()
        write_masks(pair, tmp_path, brain_mask=how)
        assert path.read_bytes() == mended
        assert f"{path} was changed by hand" in caplog.text


def test_an_image_that_is_replaced_during_a_run_is_read_again(study, found, brain, tmp_path):
    """Else its new digest would stand beside the numbers of the old one."""
    moving = save(tmp_path / "sub-01_T2w.nii.gz", read_image(study["T2w"].path).data)
    mask = tmp_path / "mask.nii.gz"
    save(mask, brain)
    pair = replace(pair_of(study, "T2w"), moving=moving, moving_mask=mask)
    images = PreparedImages(Settings(bias_correction="none"))
    first = images.of(pair)
    save(moving.path, read_image(moving.path).data + 3)
    second = images.of(pair)
    np.testing.assert_allclose(second.moving.volume.data - first.moving.volume.data, 3, atol=1e-3)
    assert second.fixed is first.fixed
    save(mask, brain & (np.indices(SHAPE)[0] > 12))
    third = images.of(pair)
    assert third.moving.mask.sum() < second.moving.mask.sum()
    assert images.of(pair).moving is third.moving


class Killed(BaseException):
    """The end of a process, which nothing may catch."""


@pytest.mark.parametrize("has_old", [False, True])
@pytest.mark.parametrize(
    "moment", list(product(["write_image", "remove", "write_json", "rename"], ["before", "after"]))
)
def test_a_mask_of_a_run_that_was_killed_is_nobodys_work(
    study, found, brain, tmp_path, monkeypatch, caplog, has_old, moment
):
    """Wherever the end comes, the next run writes the mask anew and thinks of no hand."""
    pair = pair_of(study, "T2w")
    path = tmp_path / "sub-01" / "anat" / "sub-01_space-T2w_desc-brain_mask.nii.gz"
    smaller = brain & (np.indices(SHAPE)[0] > 12)
    if has_old:
        with monkeypatch.context() as earlier:
            earlier.setattr(module, "find_brain", lambda *_: FoundBrain(smaller, WORDS))
            write_masks(pair, tmp_path)
    with monkeypatch.context() as killed:
        kill(killed, *moment, path)
        with pytest.raises(Killed):
            write_masks(pair, tmp_path)
    write_masks(pair, tmp_path)
    assert "changed by hand" not in caplog.text
    assert np.array_equal(read_mask(path, read_image(study["T2w"].path).grid), brain)
    write_masks(pair, tmp_path, brain_mask="none")
    assert not path.exists()


def kill(monkeypatch, where: str, when: str, path: Path) -> None:
    """End the process before or after one step of writing the mask."""
    place, name = (Path, "replace") if where == "rename" else (module, where)
    real = getattr(place, name)

    def step(*words, **more):
        if where == "rename" and words[1] != path:
            return real(*words, **more)
        if when == "after":
            real(*words, **more)
        raise Killed

    monkeypatch.setattr(place, name, step)
