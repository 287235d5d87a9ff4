"""The pair rules on layouts made for them, and on the shared ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_nodereg.bids.candidates import (
    candidate_table,
    candidates_as_json,
    no_pair_message,
    unusable_message,
)
from bids_nodereg.bids.dataset import LeftOut, open_dataset
from bids_nodereg.bids.image import SideFile
from bids_nodereg.bids.longitudinal import longitudinal
from bids_nodereg.bids.pairs import (
    RuleOptions,
    pairs_of,
    with_derivatives,
    within_session,
    without_lesion_masks,
)
from bids_nodereg.bids.sessions import Timeline
from bids_nodereg.bids.to_template import ALL_RULES
from tests.bids.make import make_dataset, make_images
from tests.shared_data import shared_data

DEFAULT = RuleOptions()


def images_of(tmp_path, *stems):
    return make_images(tmp_path, *(f"sub-01_{stem}.nii.gz" for stem in stems))


def stem(image):
    return image.path.name.removeprefix("sub-01_").partition(".")[0]


def taken(candidates):
    """Moving to fixed, by the stems of the names."""
    return {stem(pair.moving): stem(pair.fixed) for pair in pairs_of(candidates)}


def reasons(candidates):
    return {stem(each.moving): each.reason for each in candidates if not each.taken}


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["T1w", "T2w", "FLAIR", "PDw"], {"T2w": "T1w", "FLAIR": "T1w", "PDw": "T1w"}),
        (["T2w", "PDw", "FLAIR", "T2starw"], {"PDw": "T2w", "FLAIR": "T2w", "T2starw": "T2w"}),
        (["FLAIR", "T2starw"], {"T2starw": "FLAIR"}),
        (["UNIT1", "T2w"], {"T2w": "UNIT1"}),
        (["T1w"], {}),
        ([], {}),
        # each session has its own reference, or borrows one of the same kind
        (
            ["ses-1_T1w", "ses-1_T2w", "ses-2_T1w", "ses-2_T2w", "ses-2_FLAIR"],
            {"ses-1_T2w": "ses-1_T1w", "ses-2_T2w": "ses-2_T1w", "ses-2_FLAIR": "ses-2_T1w"},
        ),
        (
            ["ses-1_T1w", "ses-1_T2w", "ses-2_T2w", "ses-2_FLAIR"],
            {"ses-1_T2w": "ses-1_T1w", "ses-2_T2w": "ses-1_T1w", "ses-2_FLAIR": "ses-1_T1w"},
        ),
        (["ses-1_T1w", "ses-2_UNIT1", "ses-2_T2w"], {"ses-2_T2w": "ses-2_UNIT1"}),
        (
            ["ses-1_T2w", "ses-1_FLAIR", "ses-2_FLAIR"],
            {"ses-1_FLAIR": "ses-1_T2w", "ses-2_FLAIR": "ses-1_T2w"},
        ),
        (
            ["ses-1_acq-a_T1w", "ses-1_acq-b_T1w", "ses-2_acq-b_T2w", "ses-2_acq-b_run-2_T2w"],
            {"ses-2_acq-b_T2w": "ses-1_acq-b_T1w"},
        ),
        (["T1w", "ses-1_T2w"], {"ses-1_T2w": "T1w"}),
        # repetitions: the first of each, in natural order
        (["run-10_T1w", "run-2_T1w", "run-10_T2w", "run-2_T2w"], {"run-2_T2w": "run-2_T1w"}),
        (["run-02_T1w", "run-10_T1w", "T2w"], {"T2w": "run-02_T1w"}),
        (["T1w", "echo-1_T2starw", "echo-2_T2starw"], {"echo-1_T2starw": "T1w"}),
        # different acquisitions are different images, the same acquisition is preferred
        (
            ["acq-a_T1w", "acq-b_T1w", "acq-a_T2w", "acq-b_T2w"],
            {"acq-a_T2w": "acq-a_T1w", "acq-b_T2w": "acq-b_T1w"},
        ),
        (["acq-a_T1w", "T1w", "T2w"], {"T2w": "T1w"}),
        (["T1w", "rec-norm_T1w", "rec-norm_T2w", "T2w"], {"rec-norm_T2w": "rec-norm_T1w", "T2w": "T1w"}),
        (
            ["acq-b_run-2_T1w", "acq-b_run-1_T1w", "acq-a_T1w", "acq-b_run-2_T2w"],
            {"acq-b_run-2_T2w": "acq-b_run-1_T1w"},
        ),
        # contrast agent: never the reference when avoidable, and a contrast of its own
        (["ce-gad_T1w", "T1w", "ce-gad_T2w"], {"ce-gad_T1w": "T1w", "ce-gad_T2w": "T1w"}),
        (["ce-gad_T1w", "T2w"], {"T2w": "ce-gad_T1w"}),
        (["ce-gad_run-1_T1w", "ce-gad_run-2_T1w", "T1w"], {"ce-gad_run-1_T1w": "T1w"}),
    ],
)
def test_within_session(tmp_path, stems, expected):
    images = images_of(tmp_path, *stems)
    candidates = within_session(images, DEFAULT)
    assert taken(candidates) == expected
    assert len(candidates) == len(images)  # each image is accounted for
    assert all(each.reason for each in candidates)


def test_reasons_say_why_an_image_stays(tmp_path):
    images = images_of(tmp_path, "T1w", "acq-x_T1w", "run-1_T2w", "run-2_T2w")
    said = reasons(within_session(images, DEFAULT))
    assert said["T1w"] == "the session's reference"
    assert "own contrast T1w" in said["acq-x_T1w"]
    assert said["run-2_T2w"] == "another run or echo of sub-01_run-1_T2w.nii.gz, which comes first"


def test_all_pairs_moves_everything_onto_one_reference(tmp_path):
    images = images_of(tmp_path, "run-1_T1w", "run-2_T1w", "acq-x_T1w", "run-1_T2w", "run-2_T2w")
    found = taken(within_session(images, RuleOptions(all_pairs=True)))
    moved = {"run-1_T1w", "run-2_T1w", "acq-x_T1w", "run-1_T2w", "run-2_T2w"} - {"acq-x_T1w"}
    assert found.keys() == moved
    assert found["run-1_T1w"] == found["run-2_T1w"] == "acq-x_T1w"  # first in natural order


def test_restrictions(tmp_path):
    images = images_of(tmp_path, "T1w", "T2w", "FLAIR", "PDw")
    assert taken(
        within_session(images, RuleOptions(fixed_suffix="T2w", moving_suffixes=("FLAIR", "T1w")))
    ) == {
        "FLAIR": "T2w",
        "T1w": "T2w",
    }
    none = within_session(images, RuleOptions(fixed_suffix="UNIT1"))
    assert taken(none) == {}
    assert "no UNIT1" in none[0].reason
    assert "FLAIR, PDw, T1w, T2w" in none[0].reason


def test_what_was_not_fetched_does_not_change_what_is_chosen(tmp_path):
    images = images_of(tmp_path, "run-1_T1w", "run-2_T1w", "run-1_T2w", "run-2_T2w", "FLAIR")
    bad = {"run-1_T1w", "run-1_T2w", "FLAIR"}
    images = [replace(each, problem="broken link") if stem(each) in bad else each for each in images]
    candidates = within_session(images, DEFAULT)
    assert taken(candidates) == {}
    assert reasons(candidates)["run-1_T2w"].endswith(
        "but sub-01_run-1_T1w.nii.gz cannot be used (broken link)"
        " and sub-01_run-1_T2w.nii.gz cannot be used (broken link)"
    )
    assert reasons(candidates)["run-2_T2w"].startswith("another run")
    assert {stem(each.moving) for each in candidates if each.unusable} == {"run-1_T2w", "FLAIR"}
    message = unusable_message("01", candidates)
    assert message.count("broken link") == 3  # each image once, and run-1_T1w for two pairs
    assert "sub-01/anat/sub-01_FLAIR.nii.gz: broken link" in message
    assert unusable_message("01", within_session(images[1:2], DEFAULT)) == ""


@pytest.mark.parametrize("stems", [["T1w", "T2w", "FLAIR"], ["ses-1_T1w", "ses-2_T1w", "ses-2_T2w"]])
@pytest.mark.parametrize("rule", ["longitudinal", "within-session"])
def test_pairs_of_a_part_of_the_files_are_a_part_of_the_pairs(tmp_path, stems, rule):
    images = images_of(tmp_path, *stems)
    whole = taken(ALL_RULES[rule](images, DEFAULT))
    for missing in images:
        part = [replace(each, problem="broken link") if each == missing else each for each in images]
        expected = {moving: fixed for moving, fixed in whole.items() if stem(missing) not in {moving, fixed}}
        assert taken(ALL_RULES[rule](part, DEFAULT)) == expected


def test_without_a_file_of_the_reference_no_other_contrast_steps_in(tmp_path):
    t1w, t2w, flair = images_of(tmp_path, "T1w", "T2w", "FLAIR")
    images = [replace(t1w, problem="broken link"), t2w, flair]
    for options in (DEFAULT, RuleOptions(fixed_suffix="T1w")):
        candidates = within_session(images, options)
        assert taken(candidates) == {}
        assert reasons(candidates)["FLAIR"] == (
            "FLAIR onto the session's T1w, but sub-01_T1w.nii.gz cannot be used (broken link)"
        )


def days(**sessions):
    return Timeline(tuple((label.removeprefix("s"), float(day)) for label, day in sessions.items()), "a test")


def test_a_borrowed_reference_is_of_the_nearest_session_in_time(tmp_path):
    images = images_of(tmp_path, "ses-1_T1w", "ses-2_T2w", "ses-3_T1w", "ses-4_T1w")
    for timeline, nearest in (
        (days(s1=0, s2=203, s3=300, s4=1), "3"),
        (days(s1=0, s2=100, s3=300, s4=600), "1"),
        (days(s1=0, s2=10, s3=300, s4=11), "4"),
        (days(s1=0, s2=10, s3=20, s4=30), "1"),  # of two as near the earlier
        (days(s1=20, s2=10, s3=0, s4=30), "3"),
        (Timeline(), "1"),
    ):
        (pair,) = pairs_of(within_session(images, RuleOptions(timeline=timeline)))
        assert (pair.fixed.session, pair.rule) == (nearest, "across-sessions")


def test_the_reason_tells_the_session_and_the_days(tmp_path):
    images = images_of(tmp_path, "ses-1_T1w", "ses-2_T2w", "ses-3_T1w")
    options = RuleOptions(timeline=days(s1=0, s2=203, s3=410.25))
    said = {stem(row.moving): row.reason for row in within_session(images, options)}
    assert said["ses-2_T2w"] == (
        "T2w onto the T1w of ses-1, the nearest session that has one (203 days earlier, by a test); "
        "ses-2 has no T1w"
    )
    without = images[1:]
    (row,) = (row for row in within_session(without, options) if row.taken)
    assert row.reason.startswith(
        "T2w onto the T1w of ses-3, the only session that has one (207.2 days later, by a test)"
    )
    (row,) = (row for row in within_session(without, DEFAULT) if row.taken)
    assert "(by the order of the labels; no times are known of all sessions)" in row.reason


def test_crossing_a_session_can_be_switched_off(tmp_path):
    images = images_of(tmp_path, "ses-1_T1w", "ses-2_T2w", "ses-2_FLAIR", "ses-3_PDw")
    alone = RuleOptions(within="session")
    assert taken(within_session(images, alone)) == {"ses-2_FLAIR": "ses-2_T2w"}
    assert {row.rule for row in within_session(images, alone)} == {"within-session"}
    asked = RuleOptions(within="session", fixed_suffix="T1w")
    assert taken(within_session(images, asked)) == {}
    crossed = taken(within_session(images, RuleOptions(fixed_suffix="PDw", moving_suffixes=("FLAIR",))))
    assert crossed == {"ses-2_FLAIR": "ses-3_PDw"}


def test_longitudinal_goes_back_to_the_first_session(tmp_path):
    images = images_of(
        tmp_path,
        "ses-10_T1w",
        "ses-2_T1w",
        "ses-1_acq-b_T1w",
        "ses-1_acq-b_T2w",
        "ses-2_acq-b_T1w",
        "ses-3_T2w",
        "T1w",
    )
    candidates = longitudinal(images, DEFAULT)
    assert taken(candidates) == {"ses-2_acq-b_T1w": "ses-1_acq-b_T1w", "ses-10_T1w": "ses-1_acq-b_T1w"}
    assert reasons(candidates) == {"ses-3_T2w": "ses-3 has no T1w to go onto that of ses-1"}


def test_longitudinal_begins_with_the_first_in_time(tmp_path):
    images = images_of(tmp_path, "ses-a_T1w", "ses-b_T1w", "ses-c_T1w")
    candidates = longitudinal(images, RuleOptions(timeline=days(a=30, b=0, c=10)))
    assert taken(candidates) == {"ses-a_T1w": "ses-b_T1w", "ses-c_T1w": "ses-b_T1w"}
    assert [row.reason for row in candidates] == [
        "T1w of ses-c (10 days later, by a test) onto that of the first session, ses-b",
        "T1w of ses-a (30 days later, by a test) onto that of the first session, ses-b",
    ]


def test_longitudinal_onto_a_named_base(tmp_path):
    images = images_of(tmp_path, "ses-1_T1w", "ses-2_T2w", "ses-2_T1w", "ses-3_T1w", "ses-3_T2w")
    named = RuleOptions(longitudinal_base="3", timeline=days(s1=0, s2=5, s3=9))
    candidates = longitudinal(images, named)
    assert taken(candidates) == {"ses-1_T1w": "ses-3_T1w", "ses-2_T1w": "ses-3_T1w"}
    assert candidates[0].reason == "T1w of ses-1 (9 days earlier, by a test) onto that of the base, ses-3"
    (absent,) = longitudinal(images, RuleOptions(longitudinal_base="9"))
    assert absent.reason == ("ses-9, the base asked for, is not there; the sessions are ses-1, ses-2, ses-3")


def test_longitudinal_takes_a_contrast_that_two_sessions_share(tmp_path):
    images = images_of(tmp_path, "ses-1_FLAIR", "ses-2_T1w", "ses-2_T2w", "ses-3_T1w", "ses-4_FLAIR")
    candidates = longitudinal(images, DEFAULT)
    assert taken(candidates) == {"ses-3_T1w": "ses-2_T1w"}
    assert "the first session that has one, ses-2" in next(row.reason for row in candidates if row.taken)
    assert set(reasons(candidates)) == {"ses-1_FLAIR", "ses-4_FLAIR"}
    assert taken(longitudinal(images, RuleOptions(longitudinal_base="4"))) == {"ses-1_FLAIR": "ses-4_FLAIR"}
    assert taken(longitudinal(images, RuleOptions(fixed_suffix="T2w"))) == {}


def test_longitudinal_without_a_usable_reference_says_so(tmp_path):
    images = [replace(each, problem="broken link") for each in images_of(tmp_path, "ses-1_T1w", "ses-2_T1w")]
    (row,) = longitudinal(images, DEFAULT)
    assert [stem(image) for image in row.unusable] == ["ses-1_T1w", "ses-2_T1w"]
    assert "but sub-01_ses-1_T1w.nii.gz cannot be used (broken link)" in row.reason


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (
            ["ses-1_acq-highres_T1w", "ses-1_acq-mprage_T1w", "ses-2_acq-mprage_T1w"],
            {"ses-2_acq-mprage_T1w": "ses-1_acq-mprage_T1w"},
        ),
        (
            ["ses-1_ce-gad_T1w", "ses-2_T1w", "ses-2_ce-gad_T1w"],
            {"ses-2_ce-gad_T1w": "ses-1_ce-gad_T1w"},
        ),
        (["ses-1_T1w", "ses-2_ce-gad_T1w"], {}),
        # the agent counts for more than the sequence
        (
            ["ses-1_acq-a_T1w", "ses-2_acq-a_ce-gad_T1w", "ses-2_acq-b_T1w"],
            {"ses-2_acq-b_T1w": "ses-1_acq-a_T1w"},
        ),
        # of two kinds that as many sessions have the one without agent, then the first
        (
            ["ses-1_ce-gad_T1w", "ses-1_T1w", "ses-2_T1w", "ses-3_ce-gad_T1w"],
            {"ses-2_T1w": "ses-1_T1w"},
        ),
        (
            [
                *("ses-1_acq-b_T1w", "ses-1_acq-a_T1w"),
                *("ses-2_acq-a_T1w", "ses-3_acq-b_run-2_T1w", "ses-4_acq-b_T1w"),
            ],
            {
                "ses-2_acq-a_T1w": "ses-1_acq-b_T1w",
                "ses-3_acq-b_run-2_T1w": "ses-1_acq-b_T1w",
                "ses-4_acq-b_T1w": "ses-1_acq-b_T1w",
            },
        ),
    ],
)
def test_longitudinal_compares_like_with_like(tmp_path, stems, expected):
    candidates = longitudinal(images_of(tmp_path, *stems), DEFAULT)
    assert taken(candidates) == expected
    assert all("not comparable" in row.reason for row in candidates if not row.taken)


def test_longitudinal_needs_two_sessions(tmp_path):
    assert longitudinal(images_of(tmp_path, "T1w", "T2w"), DEFAULT) == []
    (only,) = longitudinal(images_of(tmp_path, "ses-1_T1w"), DEFAULT)
    assert not only.taken
    assert "only session" in only.reason


STEMS = st.lists(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "ses-1_", "ses-2_"]),
            st.sampled_from(["", "acq-a_", "acq-b_"]),
            st.sampled_from(["", "ce-gad_"]),
            st.sampled_from(["", "run-1_", "run-2_"]),
            st.sampled_from(["T1w", "T2w", "FLAIR"]),
        ),
    ),
    unique=True,
    max_size=12,
)


@pytest.mark.parametrize("rule", ["longitudinal", "within-session"])
@given(stems=STEMS, all_pairs=st.booleans(), within=st.sampled_from(["session", "subject"]))
def test_every_rule_keeps_to_the_participant_and_makes_no_cycle(
    tmp_path_factory, rule, stems, all_pairs, within
):
    root = tmp_path_factory.getbasetemp()
    images = [
        image
        for sub in ("01", "02")
        for image in make_images(root, *(f"sub-{sub}_{s}.nii.gz" for s in stems))
    ]
    options = RuleOptions(all_pairs=all_pairs, within=within)
    pairs = pairs_of(ALL_RULES[rule](images, options))
    assert pairs == pairs_of(
        ALL_RULES[rule](images[::-1], options)
    )  # the order of the images does not matter
    assert len({pair.moving for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.fixed != pair.moving
        assert pair.fixed.subject == pair.moving.subject
        if rule == "within-session":
            crosses = pair.fixed.session != pair.moving.session
            assert crosses == (pair.rule == "across-sessions")
            assert not crosses or within == "subject"
            assert pair.fixed.suffix != pair.moving.suffix or all_pairs or pair.moving.entity("ceagent")
    if not all_pairs and rule != "longitudinal":
        assert not {pair.fixed for pair in pairs} & {pair.moving for pair in pairs}


def test_a_pair_that_two_rules_take_counts_once(tmp_path):
    images = images_of(tmp_path, "T1w", "T2w")
    candidates = within_session(images, DEFAULT)
    assert len(pairs_of([*candidates, *candidates])) == 1


def test_table_and_json_show_every_candidate(tmp_path):
    images = images_of(tmp_path, "T1w", "T2w")
    candidates = within_session(images, DEFAULT)
    lines = candidate_table(candidates).splitlines()
    assert lines[0].split() == ["taken", "rule", "fixed", "moving", "reason"]
    assert lines[2].split()[:4] == ["yes", "within-session", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    assert lines[-1] == "1 of 2 candidate pairs taken"
    assert candidates_as_json(candidates)[1] == {
        "taken": True,
        "rule": "within-session",
        "fixed": "bids:raw:sub-01/anat/sub-01_T1w.nii.gz",
        "moving": "bids:raw:sub-01/anat/sub-01_T2w.nii.gz",
        "reason": "T2w onto the session's T1w",
    }
    assert candidate_table([]).endswith("0 of 0 candidate pairs taken")


def test_table_and_json_show_what_was_left_out(tmp_path):
    candidates = within_session(images_of(tmp_path, "T1w", "T2w"), DEFAULT)
    left = LeftOut("sub-01/anat/sub-01_T1 map.nii.gz", "a map")
    lines = candidate_table(candidates, [left]).splitlines()
    assert lines[3].split() == ["no", "-", "-", "sub-01_T1", "map.nii.gz", "a", "map"]
    assert lines[-1] == "1 of 2 candidate pairs taken, 1 file(s) left out"
    assert candidates_as_json(candidates, [left])[2] == {
        "taken": False,
        "rule": None,
        "fixed": None,
        "moving": "bids:raw:sub-01/anat/sub-01_T1%20map.nii.gz",
        "reason": "a map",
    }


def test_lesion_masks_fill_what_a_pair_lacks_and_can_be_left_out(tmp_path):
    names = ("sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_T2w_label-lesion_roi.nii.gz")
    root = make_dataset(tmp_path / "raw", *names)
    prep = make_dataset(tmp_path / "prep", "sub-01_label-lesion_mask.nii.gz")
    dataset = open_dataset(root, derivatives={"prep": prep})
    (pair,) = pairs_of(within_session(dataset.images("01"), DEFAULT))
    mine = SideFile(tmp_path / "mine.nii.gz", "bids:raw:mine.nii.gz")
    filled = with_derivatives(pair, dataset)
    assert filled.fixed_lesion is not None
    assert filled.moving_lesion is not None
    assert filled.fixed_lesion.uri == "bids:prep:sub-01/anat/sub-01_label-lesion_mask.nii.gz"
    assert filled.moving_lesion.uri == f"bids:raw:sub-01/anat/{names[2]}"
    assert with_derivatives(replace(pair, moving_lesion=mine), dataset).moving_lesion == mine
    assert without_lesion_masks(filled) == pair


def test_derivatives_fill_what_a_pair_lacks(tmp_path):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    names = [
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_space-T2w_desc-brain_mask.nii.gz",
        "sub-01_desc-a_dseg.nii.gz",
    ]
    dataset = open_dataset(root, derivatives={"prep": make_dataset(tmp_path / "prep", *names)})
    (pair,) = pairs_of(within_session(dataset.images("01"), DEFAULT))
    filled = with_derivatives(replace(pair, moving_mask=tmp_path / "mine.nii.gz"), dataset)
    assert filled.fixed_mask is not None
    assert filled.fixed_mask.name == names[0]
    assert filled.moving_mask == tmp_path / "mine.nii.gz"
    assert ([each.desc for each in filled.fixed_dseg], filled.moving_dseg) == (["a"], ())


@pytest.mark.parametrize(
    ("layout", "subject", "expected"),
    [
        (("layouts", "genetics_ukbb"), "01", {"FLAIR": "acq-MPRAGE_T1w"}),
        (("layouts", "qmri_mp2rage"), "1", {}),
        (("ds-brain",), "openms07", {"T2w": "T1w", "FLAIR": "T1w", "ce-gad_T1w": "T1w"}),
        (("ds-openms",), "04", {"ses-1_T2w": "ses-1_T1w", "ses-1_FLAIR": "ses-1_T1w"}),
    ],
)
def test_shared_layouts(layout, subject, expected):
    images = open_dataset(shared_data(*layout)).images(subject)
    found = {
        key.removeprefix(f"sub-{subject}_"): value.removeprefix(f"sub-{subject}_")
        for key, value in taken(within_session(images, DEFAULT)).items()
    }
    assert found == expected


def test_the_nasty_layout_matches_task_and_reconstruction():
    images = open_dataset(shared_data("layouts", "ds004332")).images("01")
    found = taken(within_session(images, DEFAULT))
    assert len(found) == 10
    for moving, fixed in found.items():
        assert moving.split("_")[3] != fixed.split("_")[3] == "T1w"  # another contrast ...
        assert moving.split("_")[0] == fixed.split("_")[0]  # ... of the same task
        assert moving.split("_")[2] == fixed.split("_")[2]  # ... and the same reconstruction
        assert fixed.split("_")[1] == "acq-mpragePMCoff"


def test_slabs_are_no_partners(tmp_path):
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", "sub-01_inplaneT2.nii.gz", "sub-02_inplaneT2.nii.gz")
    dataset = open_dataset(root)
    assert pairs_of(within_session(dataset.images("01"), DEFAULT)) == ()
    message = no_pair_message("01", dataset.select("01"))
    assert "sub-01: no pair. Contrasts found: T1w (1); 1 left out (such as sub-01/anat/" in message
    assert "): a thin slab" in message
    assert [within_session(dataset.images("02"), DEFAULT), longitudinal(dataset.images("02"), DEFAULT)] == [
        [],
        [],
    ]
