"""Which files are carried along with an image, and what they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.extras import ALWAYS, Extra, Wanted, find_extras, read_wanted
from bids_nodereg.bids.image import RAW, LabelMap
from bids_nodereg.bids.names import parse_name
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.sidecars import extra_sidecar
from bids_nodereg.errors import UsageError
from tests.bids.make import make_dataset, make_images

DERIVED = (
    "sub-01_space-T2w_desc-brain_mask.nii.gz",
    "sub-01_desc-brain_mask.nii.gz",
    "sub-01_space-T2w_label-GM_probseg.nii.gz",
    "sub-01_space-T2w_label-WM_desc-smooth_probseg.nii.gz",
    "sub-01_label-GM_probseg.nii.gz",
    "sub-01_space-MNI152NLin6Asym_label-GM_probseg.nii.gz",
    "sub-01_desc-preproc_T2w.nii.gz",
    "sub-01_desc-preproc_T1w.nii.gz",
    "sub-01_space-T1w_desc-preproc_T2w.nii.gz",
    "sub-01_space-T2w_desc-brain_mask.json",
)


def found(tmp_path, suffix, *wanted, derived=DERIVED, raw=()):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", *raw)
    folder = make_dataset(tmp_path / "prep", *derived)
    (image,) = (each for each in open_dataset(root).images("01") if each.suffix == suffix)
    places = [(("prep", folder), wanted), ((RAW, root), [each for each in wanted if not each.alone])]
    return [extra.path.name for extra in find_extras(places, image)]


def test_what_is_carried_without_being_asked_for(tmp_path):
    assert found(tmp_path, "T2w", *ALWAYS) == [DERIVED[0], DERIVED[2]]
    assert found(tmp_path, "T1w", *ALWAYS) == [DERIVED[1], DERIVED[4]]


@pytest.mark.parametrize(
    ("text", "suffix", "expected"),
    [
        ("desc-preproc_T2w", "T2w", [DERIVED[6]]),
        ("desc-preproc_T2w", "T1w", [DERIVED[8]]),
        ("desc-preproc_T1w", "T2w", []),
        ("label-*_probseg", "T2w", [DERIVED[2], DERIVED[3]]),
        ("label-G*_probseg", "T2w", [DERIVED[2]]),
        ("desc-smooth_label-WM_probseg", "T2w", [DERIVED[3]]),
        ("desc-smooth_label-GM_probseg", "T2w", []),
        ("mask", "T2w", [DERIVED[0]]),
        ("T2w", "T2w", [DERIVED[6]]),  # not the image itself
    ],
)
def test_what_is_asked_for(tmp_path, text, suffix, expected):
    assert found(tmp_path, suffix, read_wanted(text)) == expected


def test_the_raw_data_are_looked_at_last_and_one_name_is_taken_once(tmp_path):
    raw = ["sub-01_space-T2w_label-lesion_mask.nii.gz", "sub-01_space-T2w_label-edema_mask.nii.gz"]
    derived = ["sub-01_space-T2w_label-lesion_mask.nii"]
    names = found(tmp_path, "T2w", read_wanted("label-*_mask"), derived=derived, raw=raw)
    assert names == [derived[0], raw[1]]


def test_of_several_resolutions_one_is_carried_and_the_others_are_told(tmp_path, caplog):
    derived = [f"sub-01_space-T2w_res-{res}_desc-preproc_T2w.nii.gz" for res in (1, 2)]
    assert found(tmp_path, "T2w", read_wanted("desc-preproc_T2w"), derived=derived) == derived[:1]
    (record,) = caplog.records
    assert derived[1] in record.getMessage()


def test_the_sidecar_says_whose_it_is(tmp_path):
    folder = tmp_path / "prep" / "sub-01" / "anat"
    make_dataset(tmp_path / "prep", "sub-01_desc-x_mask.nii.gz")
    reference = {"SpatialReference": "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"}
    (folder / "sub-01_desc-x_mask.json").write_text(json.dumps(reference))
    wanted = read_wanted("desc-x_mask")
    assert found(tmp_path, "T2w", wanted, derived=["sub-01_desc-x_mask.nii.gz"]) == [
        "sub-01_desc-x_mask.nii.gz"
    ]
    assert found(tmp_path, "T1w", wanted, derived=[]) == []


@pytest.mark.parametrize(
    "text", ["", "desc-x", "desc_T2w", "sub-01_T2w", "desc-_T2w", "T2w.nii.gz", "a/b_T2w"]
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UsageError, match="--apply-to"):
        read_wanted(text)


def test_it_is_told_as_it_was_asked():
    assert str(read_wanted("label-GM_desc-x_probseg")) == "label-GM_desc-x_probseg"
    assert str(Wanted((), "T2w")) == "T2w"


def extra(text: str, folder=Path("/prep")) -> Extra:
    name = parse_name(text)
    assert name is not None
    return Extra(folder / text, f"bids:prep:{text}", name)


def pair_with(*extras, moving="sub-01_run-1_T2w.nii.gz"):
    images = make_images(Path("/raw"), "sub-01_T1w.nii.gz", moving)
    return Pair("test", *images, moving_extras=tuple(extras))


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("sub-01_desc-brain_mask.nii.gz", "sub-01_run-1_space-T1w_desc-brainfromT2w_mask"),
        ("sub-01_label-GM_probseg.nii", "sub-01_run-1_space-T1w_label-GM_desc-fromT2w_probseg"),
        ("sub-01_run-1_desc-preproc_T2w.nii.gz", "sub-01_run-1_space-T1w_desc-preproc_T2w"),
        ("sub-01_desc-nodereg_T2w.nii.gz", "sub-01_run-1_space-T1w_desc-noderegfromT2w_T2w"),
        ("sub-01_seg-a_desc-b_T1map.nii.gz", "sub-01_run-1_space-T1w_desc-abfromT2w_T1map"),
        ("sub-01_label-lesion_roi.nii.gz", "sub-01_run-1_space-T1w_label-lesion_desc-fromT2w_mask"),
        ("sub-01_label-x_T2w.nii.gz", "sub-01_run-1_space-T1w_desc-x_T2w"),
    ],
)
def test_names_say_where_a_file_comes_from(name, carried):
    one = extra(name)
    (out,) = all_outputs([pair_with(one)], Path("/out"))
    assert out.extra_nii(one).name == f"{carried}.nii.gz"
    assert out.extra_json(one).name == f"{carried}.json"
    assert {out.extra_nii(one), out.extra_json(one)} < set(out.paths(extras=[one]))


def test_a_label_map_of_the_same_name_makes_no_name_longer():
    """A longer label of the transforms would not tell the two apart."""
    raw = extra("sub-01_space-T2w_desc-aseg_dseg.nii.gz")
    labels = LabelMap(Path("/prep/a.nii.gz"), "aseg", "bids:prep:a")
    (out,) = all_outputs([replace(pair_with(raw), moving_dseg=(labels,))], Path("/out"))
    assert out.name == "sub-01_run-1_from-T2w_to-T1w"


def test_images_of_one_lead_do_not_share_names():
    masks = [extra(f"sub-01_space-{contrast}_desc-brain_mask.nii.gz") for contrast in ("T2w", "FLAIR")]
    pairs = [
        pair_with(mask, moving=f"sub-01_{contrast}.nii.gz")
        for mask, contrast in zip(masks, ("T2w", "FLAIR"), strict=True)
    ]
    first, second = all_outputs(pairs, Path("/out"))
    assert first.extra_nii(masks[0]) != second.extra_nii(masks[1])


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("sub-01_desc-brain_mask.nii.gz", {}, {"Type": "Brain"}),
        ("sub-01_desc-brain_mask.nii.gz", {"Type": "ROI"}, {"Type": "ROI"}),
        ("sub-01_label-lesion_roi.nii.gz", {}, {"Type": "Lesion"}),
        ("sub-01_label-GM_probseg.nii.gz", {"Manual": False, "Sources": ["x"]}, {"Manual": False}),
        ("sub-01_desc-a_T2w.nii.gz", {"SkullStripped": False}, {"SkullStripped": False}),
        ("sub-01_desc-a_T2w.nii.gz", {}, {"SkullStripped": True}),
        ("sub-01_desc-a_T2w.nii.gz", ["no object"], {"SkullStripped": True}),
    ],
)
def test_sidecars(tmp_path, name, told, expected):
    one = extra(name, tmp_path)
    (tmp_path / name.replace(".nii.gz", ".json")).write_text(json.dumps(told))
    pair = pair_with(one)
    (out,) = all_outputs([pair], Path("/out"))
    sidecar = extra_sidecar(pair, out, one, skull_stripped=True, interpolation="linear")
    assert sidecar["Sources"] == [one.uri, out.uri(out.forward_h5)]
    assert sidecar["SpatialReference"] == pair.fixed.uri
    kept = {"Type", "Manual", "SkullStripped"} & sidecar.keys()
    assert {key: sidecar[key] for key in kept} == expected
