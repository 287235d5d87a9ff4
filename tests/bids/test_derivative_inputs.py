"""What belongs to an image among the derivatives of other programs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.derivative_inputs import files_of, find_label_maps
from tests.bids.make import make_dataset, relative_path
from tests.shared_data import shared_data


def opened(tmp_path, raw, **derivatives):
    root = make_dataset(tmp_path / "raw", *raw)
    folders = {name: make_dataset(tmp_path / name, *names) for name, names in derivatives.items()}
    return open_dataset(root, derivatives=folders)


def masks(dataset, subject="01"):
    found = {image.path.name: dataset.brain_mask(image) for image in dataset.images(subject)}
    return {name.partition(".")[0]: mask and mask.name for name, mask in found.items()}


def test_without_space_a_mask_is_of_the_t1w_as_in_fmriprep(tmp_path):
    raw = ["sub-01_acq-x_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    derived = [
        "sub-01_acq-x_desc-brain_mask.nii.gz",
        "sub-01_acq-x_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
        "sub-01_acq-x_label-lesion_desc-brain_mask.nii.gz",
        "sub-01_acq-x_label-GM_probseg.nii.gz",
        "sub-01_acq-x_desc-brain_mask.json",
    ]
    dataset = opened(tmp_path, raw, fmriprep=derived)
    assert masks(dataset) == {"sub-01_acq-x_T1w": "sub-01_acq-x_desc-brain_mask.nii.gz", "sub-01_T2w": None}


def test_space_names_the_contrast(tmp_path):
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_FLAIR.nii.gz"]
    derived = [f"sub-01_space-{space}_desc-brain_mask.nii.gz" for space in ("T2w", "T1w", "MNI152Lin")]
    assert masks(opened(tmp_path, raw, other=derived)) == {
        "sub-01_T1w": "sub-01_space-T1w_desc-brain_mask.nii.gz",
        "sub-01_T2w": "sub-01_space-T2w_desc-brain_mask.nii.gz",
        "sub-01_FLAIR": None,
    }


def test_entities_must_agree_where_there_are_several_images(tmp_path):
    raw = ["sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz", "sub-01_ce-gad_T1w.nii.gz"]
    derived = ["sub-01_run-2_desc-brain_mask.nii.gz", "sub-01_desc-brain_mask.nii.gz"]
    assert masks(opened(tmp_path, raw, other=derived)) == {
        "sub-01_run-1_T1w": None,
        "sub-01_run-2_T1w": "sub-01_run-2_desc-brain_mask.nii.gz",
        "sub-01_ce-gad_T1w": None,
    }


def test_an_only_image_takes_what_lacks_its_entities_but_not_what_contradicts(tmp_path):
    raw = ["sub-01_acq-a_run-1_T1w.nii.gz", "sub-02_acq-a_T1w.nii.gz"]
    derived = ["sub-01_acq-a_desc-brain_mask.nii.gz", "sub-02_acq-b_desc-brain_mask.nii.gz"]
    dataset = opened(tmp_path, raw, other=derived)
    assert masks(dataset) == {"sub-01_acq-a_run-1_T1w": derived[0]}
    assert masks(dataset, "02") == {"sub-02_acq-a_T1w": None}


def test_sessions_never_mix(tmp_path):
    raw = ["sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz"]
    derived = ["sub-01_ses-2_desc-brain_mask.nii.gz", "sub-01_desc-brain_mask.nii.gz"]
    assert masks(opened(tmp_path, raw, other=derived)) == {
        "sub-01_ses-1_T1w": None,
        "sub-01_ses-2_T1w": derived[0],
    }


def test_the_first_data_set_given_wins(tmp_path):
    mask = "sub-01_desc-brain_mask.nii.gz"
    dataset = opened(tmp_path, ["sub-01_T1w.nii.gz"], zz=[mask], aa=[mask])
    (image,) = dataset.images("01")
    assert dataset.brain_mask(image) == tmp_path / "zz" / relative_path(mask)


@pytest.mark.parametrize(
    ("reference", "suffix"),
    [
        ("bids:raw:sub-01/anat/sub-01_T2w.nii.gz", "T2w"),
        ("bids:raw:sub-01/anat/gone.nii.gz", "T1w"),
        ("bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "T1w"),
        (["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"], "T1w"),
    ],
)
def test_a_sidecar_that_names_the_reference_decides(tmp_path, reference, suffix):
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    dataset = opened(tmp_path, raw, other=["sub-01_desc-brain_mask.nii.gz"])
    sidecar = tmp_path / "other" / "sub-01/anat/sub-01_desc-brain_mask.json"
    sidecar.write_text(json.dumps({"SpatialReference": reference}))
    assert [image.suffix for image in dataset.images("01") if dataset.brain_mask(image)] == [suffix]


@pytest.mark.parametrize("maker", ["nodereg", "another"])
def test_of_our_own_output_nothing_but_brain_masks_is_taken(tmp_path, maker):
    """What was carried from the moving image must not come back as the fixed image's own."""
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    stem = "sub-01_space-T1w"
    names = [f"{stem}_{end}.nii.gz" for end in ("desc-brain_mask", "label-lesion_desc-fromT2w_mask")]
    names.append(f"{stem}_desc-asegfromT2w_dseg.nii.gz")
    folder = make_dataset(tmp_path / "ours", *names, GeneratedBy=[{"Name": "x"}, {"Name": maker}])
    dataset = open_dataset(root, derivatives={"ours": folder})
    t1w = next(image for image in dataset.images("01") if image.suffix == "T1w")
    is_other = maker == "another"
    assert masks(dataset)["sub-01_T1w"] == names[0]
    assert (dataset.lesion_mask(t1w) is not None) == is_other
    assert bool(find_label_maps([("ours", folder)], t1w)) == is_other
    assert len(list(files_of(folder, t1w))) == (3 if is_other else 1)


def lesions(dataset, subject="01"):
    found = {image.path.name: dataset.lesion_mask(image) for image in dataset.images(subject)}
    return {name.partition(".")[0]: lesion and lesion.uri for name, lesion in found.items()}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("sub-01_label-lesion_mask.nii.gz", "T1w"),
        ("sub-01_space-T2w_label-lesion_desc-rater1_mask.nii", "T2w"),
        ("sub-01_label-L_mask.nii.gz", "T1w"),
        ("sub-01_label-lesion_roi.nii.gz", "T1w"),
        ("sub-01_T1w_label-lesion_roi.nii.gz", "T1w"),
        ("sub-01_label-lesion_T2w_roi.nii.gz", "T2w"),
        ("sub-01_FLAIR_label-Lesion_roi.nii.gz", "FLAIR"),
        ("sub-01_space-MNI152NLin6Asym_label-lesion_mask.nii.gz", None),
        ("sub-01_space-T2w_T1w_label-lesion_roi.nii.gz", None),
        ("sub-01_T1w_T2w_label-lesion_roi.nii.gz", None),
        ("sub-01_ses-1_label-lesion_mask.nii.gz", None),
        ("sub-01_acq-other_label-lesion_mask.nii.gz", None),
        ("sub-01_label-GM_mask.nii.gz", None),
        ("sub-01_label-lesion_probseg.nii.gz", None),
        ("sub-01_label-lesion_mask.json", None),
        ("sub-01_desc-lesion_mask.nii.gz", None),
        ("sub-01_desc-brain_mask.nii.gz", None),
        ("sub-02_label-lesion_mask.nii.gz", None),
    ],
)
@pytest.mark.parametrize("place", ["raw", "other"])
def test_whose_a_lesion_mask_is_by_its_name(tmp_path, name, owner, place):
    """In the raw data set as well as in a derivative; and it never becomes an image or a brain mask."""
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_FLAIR.nii.gz"]
    dataset = opened(tmp_path, raw, other=[])
    path = tmp_path / place / "sub-01" / "anat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    uri = f"bids:{place}:sub-01/anat/{name}"
    expected = {f"sub-01_{suffix}": uri if suffix == owner else None for suffix in ("T1w", "T2w", "FLAIR")}
    assert lesions(dataset) == expected
    if "brain" not in name:
        assert set(masks(dataset).values()) == {None}


def test_a_derivatives_lesion_mask_goes_before_the_raw_one(tmp_path):
    name = "sub-01_label-lesion_roi.nii.gz"
    dataset = opened(tmp_path, ["sub-01_T1w.nii.gz", name], other=[name])
    assert lesions(dataset) == {"sub-01_T1w": f"bids:other:sub-01/anat/{name}"}
    assert lesions(replace(dataset, derivatives=())) == {"sub-01_T1w": f"bids:raw:sub-01/anat/{name}"}


def test_the_entities_of_a_lesion_mask_must_agree_where_there_are_several_images(tmp_path):
    raw = ["sub-01_acq-a_T1w.nii.gz", "sub-01_acq-b_T1w.nii.gz"]
    derived = ["sub-01_acq-b_T1w_label-lesion_roi.nii.gz", "sub-01_label-lesion_roi.nii.gz"]
    found = lesions(opened(tmp_path, raw, other=derived))
    assert found == {"sub-01_acq-a_T1w": None, "sub-01_acq-b_T1w": f"bids:other:sub-01/anat/{derived[0]}"}


@pytest.mark.parametrize(("place", "owner"), [("raw", "T2w"), ("other", "T1w")])
def test_a_reference_without_a_name_is_in_the_files_own_data_set(tmp_path, place, owner):
    """``bids::`` beside the raw image is that image; in a derivative it is a file of the derivative."""
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    dataset = opened(tmp_path, raw, other=["sub-01_desc-x_T1w.nii.gz"])
    path = tmp_path / place / "sub-01" / "anat" / "sub-01_label-lesion_roi"
    path.with_suffix(".nii.gz").touch()
    path.with_suffix(".json").write_text('{"SpatialReference": "bids::sub-01/anat/sub-01_T2w.nii.gz"}')
    assert [name for name, uri in lesions(dataset).items() if uri] == [f"sub-01_{owner}"]


def test_the_lesion_mask_of_the_real_data_set():
    root = shared_data("ds-brain")
    dataset = open_dataset(root, derivatives={"lesions": root / "derivatives" / "lesions-manual"})
    name = "sub-openms07_space-T1w_label-lesion_desc-consensus_mask.nii.gz"
    found = {key: uri for key, uri in lesions(dataset, "openms07").items() if uri}
    assert found == {"sub-openms07_T1w": f"bids:lesions:sub-openms07/anat/{name}"}


def test_all_label_maps_are_given_with_names_and_tables(tmp_path):
    derived = [
        "sub-01_desc-aseg_dseg.nii.gz",
        "sub-01_dseg.nii.gz",
        "sub-01_seg-DKT_desc-x_dseg.nii.gz",
        "sub-01_space-MNI_dseg.nii.gz",
        "sub-01_dseg.tsv",
    ]
    dataset = opened(tmp_path, ["sub-01_T1w.nii.gz"], prep=derived, my_own=[derived[0]])
    for table in ("desc-aseg_dseg.tsv", "dseg.tsv"):
        (tmp_path / "prep" / table).touch()
    (image,) = dataset.images("01")
    maps = dataset.label_maps(image)
    # "DKT" + "x"; the second aseg takes its data set's name
    assert [each.desc for each in maps] == ["aseg", "dseg", "DKTx", "asegmyown"]
    tables = [each.lookup and each.lookup.relative_to(tmp_path).as_posix() for each in maps]
    assert tables == ["prep/desc-aseg_dseg.tsv", "prep/sub-01/anat/sub-01_dseg.tsv", "prep/dseg.tsv", None]
    assert maps[3].uri == "bids:my_own:sub-01/anat/sub-01_desc-aseg_dseg.nii.gz"


def test_the_known_transform_of_a_simulated_pair(tmp_path):
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz"]
    truth = "sub-01_from-T2w_to-T1w_mode-image_desc-truth_xfm"
    derived = [f"{truth}.json", f"{truth}.nii.gz", "sub-01_from-T2w_to-T1w_mode-image_xfm.h5"]
    dataset = opened(tmp_path, raw, truth=derived)
    t1w, t2w = dataset.images("01")
    assert dataset.truth(t1w, t2w) == tmp_path / "truth" / relative_path(f"{truth}.nii.gz")
    assert dataset.truth(t2w, t1w) is None
    assert dataset.truth(dataset.images("02")[0], t2w) is None


@pytest.mark.parametrize("extension", [".h5", ".txt", ".tfm", ".mat"])
def test_a_known_transform_is_a_nifti_field(tmp_path, extension):
    truth = "sub-01_from-T2w_to-T1w_mode-image_desc-truth_xfm"
    raw = ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    t1w, t2w = (dataset := opened(tmp_path, raw, truth=[f"{truth}{extension}"])).images("01")
    assert dataset.truth(t1w, t2w) is None
    (tmp_path / "truth" / relative_path(f"{truth}.nii")).touch()
    assert dataset.truth(t1w, t2w) == tmp_path / "truth" / relative_path(f"{truth}.nii")


def test_a_broken_link_to_a_mask_is_given_so_that_reading_it_can_fail_aloud(tmp_path):
    dataset = opened(tmp_path, ["sub-01_T1w.nii.gz"], other=["sub-01_T2w.json"])
    (tmp_path / "other/sub-01/anat/sub-01_desc-brain_mask.nii.gz").symlink_to("nowhere")
    assert masks(dataset) == {"sub-01_T1w": "sub-01_desc-brain_mask.nii.gz"}


def test_labels_of_the_real_data_sets():
    root = shared_data("ds-openms")
    dataset = open_dataset(root, derivatives={"auto": root / "derivatives" / "seg-auto"})
    found = {
        image.suffix: [each.desc for each in dataset.label_maps(image)] for image in dataset.images("04")
    }
    assert found == {"T1w": ["sae18"], "T2w": ["sae18", "sae18fromT1w"], "FLAIR": ["sae18fromT1w"]}
