"""The rule to-template: references go by themselves, everything else through them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_nodereg.bids.candidates import candidate_table
from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.image import Image
from bids_nodereg.bids.pairs import RuleOptions, pairs_of, within_session
from bids_nodereg.bids.templates import Template, TemplateGrid
from bids_nodereg.bids.to_template import to_template, without_repeats
from tests.bids.make import make_images

HOME = Path("/templates")
OUT = Path("/out")


def template(space="MNI", *contrasts, res=("",)):
    images = tuple(
        Image(
            HOME / f"tpl-{space}" / f"tpl-{space}_{suffix}.nii.gz",
            f"tpl-{space}/tpl-{space}_{suffix}.nii.gz",
            *("", None, suffix),
            dataset="templateflow",
        )
        for suffix in contrasts or ("T1w",)
    )
    grids = tuple(TemplateGrid(each) for each in res)
    return Template(space, images, HOME / "mask.nii.gz", grids, f"bids:templateflow:tpl-{space}/")


def rows(tmp_path, stems, *templates, **options):
    images = make_images(tmp_path, *(f"sub-01_{stem}.nii.gz" for stem in stems))
    return to_template(images, RuleOptions(templates=templates or (template(),), **options))


def taken(candidates):
    """Lines such as ``T2w > T1w > MNI``."""
    return [
        " > ".join(stem(image) for image in (pair.moving, pair.via, pair.fixed) if image is not None)
        for pair in pairs_of(candidates)
    ]


def stem(image):
    return image.path.name.removeprefix("sub-01_").partition(".")[0].removeprefix("tpl-")


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["T1w"], ["T1w > MNI_T1w"]),
        (
            ["T1w", "T2w", "FLAIR"],
            [
                "FLAIR > T1w",
                "T2w > T1w",
                "T1w > MNI_T1w",
                "FLAIR > T1w > MNI_T1w",
                "T2w > T1w > MNI_T1w",
            ],
        ),
        (["T2w", "FLAIR"], ["FLAIR > T2w", "T2w > MNI_T1w", "FLAIR > T2w > MNI_T1w"]),
        # each session's reference by itself
        (
            ["ses-1_T1w", "ses-1_T2w", "ses-2_T1w"],
            [
                "ses-1_T2w > ses-1_T1w",
                "ses-1_T1w > MNI_T1w",
                "ses-2_T1w > MNI_T1w",
                "ses-1_T2w > ses-1_T1w > MNI_T1w",
            ],
        ),
        # each image through the reference that it is registered onto
        (
            ["acq-a_T1w", "acq-b_T1w", "acq-b_T2w", "acq-a_FLAIR"],
            [
                "acq-a_FLAIR > acq-a_T1w",
                "acq-b_T2w > acq-b_T1w",
                "acq-a_T1w > MNI_T1w",
                "acq-b_T1w > MNI_T1w",
                "acq-a_FLAIR > acq-a_T1w > MNI_T1w",
                "acq-b_T2w > acq-b_T1w > MNI_T1w",
            ],
        ),
        ([], []),
    ],
)
def test_references_go_by_themselves_and_others_through_them(tmp_path, stems, expected):
    assert taken(rows(tmp_path, stems)) == expected


def test_a_t2w_reference_takes_the_t2w_of_the_template(tmp_path):
    both = template("MNI", "T1w", "T2w")
    assert taken(rows(tmp_path, ["T2w", "FLAIR"], both)) == [
        "FLAIR > T2w",
        "T2w > MNI_T2w",
        "FLAIR > T2w > MNI_T2w",
    ]
    assert taken(rows(tmp_path, ["T1w"], both)) == ["T1w > MNI_T1w"]


def test_every_space_and_one_registration_for_all_its_resolutions(tmp_path):
    spaces = template("MNI", res=("1", "2")), template("Kid+2")
    assert taken(rows(tmp_path, ["T1w", "T2w"], *spaces)) == [
        "T2w > T1w",
        "T1w > MNI_T1w",
        "T2w > T1w > MNI_T1w",
        "T1w > Kid+2_T1w",
        "T2w > T1w > Kid+2_T1w",
    ]


def test_restrictions_hold_for_what_moves_and_the_reference_goes_anyway(tmp_path):
    found = rows(tmp_path, ["T1w", "T2w", "FLAIR"], moving_suffixes=("T2w",))
    assert taken(found) == ["T2w > T1w", "T1w > MNI_T1w", "T2w > T1w > MNI_T1w"]


def test_a_session_without_the_wanted_reference_says_so(tmp_path):
    found = rows(tmp_path, ["ses-1_T1w", "ses-2_T2w"], fixed_suffix="T1w", within="session")
    assert taken(found) == ["ses-1_T1w > MNI_T1w"]
    assert [row.reason for row in found if not row.taken] == [
        "the session has no T1w to bring to the template"
    ]


def test_what_was_not_fetched_changes_no_way_to_the_template(tmp_path):
    images = make_images(tmp_path, *(f"sub-01_{name}.nii.gz" for name in ("T1w", "T2w", "FLAIR")))
    flair, t1w, t2w = images[2], images[0], images[1]
    options = RuleOptions(templates=(template(),))
    without_t1w = to_template([replace(t1w, problem="broken link"), t2w, flair], options)
    assert taken(without_t1w) == []
    assert {row.moving.suffix for row in without_t1w if row.unusable} == {"T1w", "T2w", "FLAIR"}
    without_t2w = to_template([t1w, replace(t2w, problem="broken link"), flair], options)
    assert taken(without_t2w) == ["FLAIR > T1w", "T1w > MNI_T1w", "FLAIR > T1w > MNI_T1w"]
    assert [image.suffix for row in without_t2w for image in row.unusable] == ["T2w"]
    both = without_repeats([*within_session([t1w, flair], options), *without_t2w])
    assert sum(row.moving.suffix == "T2w" for row in both) == 1


def test_links_count_for_the_rule_that_asks_for_them(tmp_path):
    images = make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    options = RuleOptions(templates=(template(),))
    alone = to_template(images, options)
    assert "needed to bring it to the template" in candidate_table(alone)
    both = without_repeats([*within_session(images, options), *alone])
    assert "needed" not in candidate_table(both)
    assert [pair.rule for pair in pairs_of(both)] == ["within-session", "to-template", "to-template"]
    assert without_repeats(alone) == alone


def test_the_table_says_where_the_template_is(tmp_path):
    table = candidate_table(rows(tmp_path, ["T1w", "T2w"], template("MNI", res=("1", "2"))))
    assert "/templates/tpl-MNI/tpl-MNI_T1w.nii.gz, written at res-1, res-2" in table
    assert "onto MNI through sub-01_T1w.nii.gz" in table


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["T1w"], ["sub-01_from-T1w_to-MNI152NLin2009cAsym"]),
        (["ses-A_T1w"], ["sub-01_ses-A_from-T1w_to-MNI152NLin2009cAsym"]),
        (["acq-x_run-1_T1w"], ["sub-01_acq-x_run-1_from-T1w_to-MNI152NLin2009cAsym"]),
        (
            ["T1w", "ce-gad_T1w"],
            [
                "sub-01_ce-gad_from-T1wcegad_to-T1w",
                "sub-01_from-T1w_to-MNI152NLin2009cAsym",
                "sub-01_ce-gad_from-T1wcegad_to-MNI152NLin2009cAsym",
            ],
        ),
        (
            ["T1w", "T2w"],
            [
                "sub-01_from-T2w_to-T1w",
                "sub-01_from-T1w_to-MNI152NLin2009cAsym",
                "sub-01_from-T2w_to-MNI152NLin2009cAsym",
            ],
        ),
    ],
)
def test_names_are_those_that_fmriprep_looks_for(tmp_path, stems, names):
    space = template("MNI152NLin2009cAsym", res=("1", "2"))
    outputs = all_outputs(pairs_of(rows(tmp_path, stems, space)), OUT)
    assert [out.name for out in outputs] == names
    reference = outputs[-1] if len(outputs) == 1 else outputs[1]
    lead = reference.name.partition("_from-")[0]
    assert reference.forward_h5.name == f"{lead}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5"
    assert reference.inverse_h5.name == f"{lead}_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5"
    assert reference.warped_nii.name == f"{lead}_space-MNI152NLin2009cAsym_res-1_desc-nodereg_T1w.nii.gz"
    images = {path.name for path in reference.paths(["aseg"]) if "_space-" in path.name}
    assert f"{lead}_space-MNI152NLin2009cAsym_res-2_desc-nodereg_T1w.nii.gz" in images
    assert f"{lead}_space-MNI152NLin2009cAsym_res-2_desc-asegfromT1w_dseg.tsv" in images
    every = [path for out in outputs for path in out.paths(["aseg"])]
    assert len(set(every)) == len(every)


def test_a_cohort_is_told_as_fmriprep_tells_it(tmp_path):
    [out] = all_outputs(pairs_of(rows(tmp_path, ["T1w"], template("UNCInfant+1"))), OUT)
    assert out.forward_h5.name == "sub-01_from-T1w_to-UNCInfant+1_mode-image_xfm.h5"
    assert out.warped_nii.name == "sub-01_space-UNCInfant+1_desc-nodereg_T1w.nii.gz"
