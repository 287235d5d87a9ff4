"""Output paths: the names of design, and that no two pairs ever share one."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.image import Image, LabelMap
from bids_nodereg.bids.names import parse_name
from bids_nodereg.bids.pairs import Pair
from tests.bids.make import make_images

OUT = Path("/out")
RAW = Path("/raw")


def pair_of(fixed, moving, descs=()):
    maps = tuple(LabelMap(RAW / desc, desc, f"bids:x:{desc}") for desc in descs)
    return Pair("test", fixed, moving, moving_dseg=maps)


def pairs_named(*names):
    """Pairs from ``(fixed, moving)`` file names without extension."""
    return [
        pair_of(*make_images(RAW, *(f"{name}.nii.gz" for name in names_of_pair))) for names_of_pair in names
    ]


def test_all_names_of_a_simple_pair():
    (pair,) = pairs_named(("sub-01_ses-A_T1w", "sub-01_ses-A_acq-tse_run-02_T2w"))
    (out,) = all_outputs([pair], OUT)
    anat = "/out/sub-01/ses-A/anat/sub-01_ses-A_acq-tse_run-02"
    assert {str(path) for path in out.paths(["aseg"])} == {
        f"{anat}_from-T2w_to-T1w_mode-image_xfm.h5",
        f"{anat}_from-T2w_to-T1w_mode-image_xfm.json",
        f"{anat}_from-T1w_to-T2w_mode-image_xfm.h5",
        f"{anat}_from-T1w_to-T2w_mode-image_xfm.json",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-affine_xfm.txt",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-warp_xfm.nii.gz",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-inversewarp_xfm.nii.gz",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-jacobian_xfm.nii.gz",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-jacobian_xfm.json",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-logjacobian_xfm.nii.gz",
        f"{anat}_from-T2w_to-T1w_mode-image_desc-logjacobian_xfm.json",
        f"{anat}_from-T2w_to-T1w_mode-image_qc.json",
        f"{anat}_space-T1w_desc-nodereg_T2w.nii.gz",
        f"{anat}_space-T1w_desc-nodereg_T2w.json",
        f"{anat}_space-T1w_desc-asegfromT2w_dseg.nii.gz",
        f"{anat}_space-T1w_desc-asegfromT2w_dseg.json",
        f"{anat}_space-T1w_desc-asegfromT2w_dseg.tsv",
    }
    assert out.report_html == OUT / "sub-01.html"
    assert out.figures_dir == OUT / "sub-01" / "figures"
    assert out.name == "sub-01_ses-A_acq-tse_run-02_from-T2w_to-T1w"
    assert out.uri(out.forward_h5) == f"bids::{anat.removeprefix('/out/')}_from-T2w_to-T1w_mode-image_xfm.h5"


def test_the_chunk_comes_after_the_space():
    (pair,) = pairs_named(("sub-01_T1w", "sub-01_run-1_chunk-2_T2w"))
    (out,) = all_outputs([pair], OUT)
    assert out.warped_nii.name == "sub-01_run-1_space-T1w_chunk-2_desc-nodereg_T2w.nii.gz"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # one fixed image, whatever its entities: the short label
        ([("sub-01_acq-x_run-2_T1w", "sub-01_T2w")], ["from-T2w_to-T1w"]),
        # two fixed images for the same moving one
        (
            [
                ("sub-01_run-01_T1w", "sub-01_T2w"),
                ("sub-01_run-2_T1w", "sub-01_T2w"),
                ("sub-01_run-2_T1w", "sub-01_PDw"),
            ],
            ["from-T2w_to-T1wrun01", "from-T2w_to-T1wrun2", "from-PDw_to-T1w"],
        ),
        # another session, another participant
        ([("sub-01_ses-1_T1w", "sub-01_ses-2_T1w")], ["from-T1w_to-ses1T1w"]),
        ([("sub-02_T1w", "sub-01_T1w")], ["from-T1w_to-sub02T1w"]),
        ([("sub-02_ses-1_T1w", "sub-01_T2w")], ["from-T2w_to-sub02ses1T1w"]),
        ([("sub-01_T1w", "sub-01_ses-2_T2w")], ["from-T2w_to-sesT1w"]),
        # the same contrast in one session
        ([("sub-01_T1w", "sub-01_ce-gad_T1w")], ["from-T1wcegad_to-T1w"]),
        ([("sub-01_run-1_T1w", "sub-01_run-2_T1w")], ["from-T1wrun2_to-T1wrun1"]),
    ],
)
def test_labels_say_as_much_as_they_must(names, expected):
    pairs = pairs_named(*names)
    labels = [out.name.partition("_from-")[2] for out in all_outputs(pairs, OUT)]
    assert [f"from-{label}" for label in labels] == expected


LABEL = st.sampled_from(["1", "01", "a", "A", "arun1", "fromT2w", "a+b", "+"])
OPTIONAL_LABEL = st.none() | LABEL
ENTITIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("acquisition", "ceagent", "reconstruction", "run", "space", "desc"), LABEL)
)


@st.composite
def images(draw):
    subject, session = draw(st.sampled_from(["1", "01", "1ses1"])), draw(OPTIONAL_LABEL)
    entities = tuple(draw(ENTITIES).items())
    suffix = draw(st.sampled_from(["T1w", "T2w"]))
    dataset = draw(st.sampled_from(["raw", "raw", "prep"]))
    identity = f"{dataset}/{subject}/{session}/{entities}/{suffix}"
    return Image(RAW / identity, identity, subject, session, suffix, entities, dataset)


DESCS = st.lists(st.sampled_from(["a", "afromT2wacq", "aseg", "nodereg"]), unique=True, max_size=2)
PAIRS = st.lists(
    st.builds(pair_of, images(), images(), DESCS).filter(lambda pair: pair.fixed.path != pair.moving.path),
    min_size=2,
    max_size=8,
    unique_by=lambda pair: (pair.fixed.path, pair.moving.path),
)
T1W, T2W, RUN1, RUN2 = make_images(
    RAW, *(f"sub-01_{stem}.nii" for stem in ("T1w", "T2w", "run-1_T1w", "run-2_T1w"))
)


@given(PAIRS)
@example([pair_of(T1W, T2W), pair_of(T2W, T1W)])
@example([pair_of(fixed, moving, ["a"]) for fixed, moving in permutations([T1W, T2W, RUN1, RUN2], 2)])
def test_different_pairs_have_disjoint_names_below_the_output(pairs):
    seen = set()
    for pair, out in zip(pairs, all_outputs(pairs, OUT), strict=True):
        paths = out.paths([each.desc for each in pair.moving_dseg])
        assert len({str(path).lower() for path in paths}) == len(paths)
        for path in paths:
            assert path.is_relative_to(OUT)
            assert ".." not in path.parts
            assert f"/sub-{pair.moving.subject}/" in str(path)
        own = {str(path) for path in paths}
        assert not own & seen
        seen |= own
        for label in (
            out.from_label,
            out.to_label,
            *(out.carried_desc(each.desc) for each in pair.moving_dseg),
        ):
            assert re.fullmatch(r"[A-Za-z0-9+]+", label)


@given(PAIRS, st.randoms())
def test_names_depend_neither_on_the_order_nor_on_other_participants(pairs, random):
    names = {id(pair): out for pair, out in zip(pairs, all_outputs(pairs, OUT), strict=True)}
    shuffled = random.sample(pairs, len(pairs))
    for pair in shuffled:
        own = [each for each in shuffled if each.moving.subject == pair.moving.subject]
        assert all_outputs(own, OUT)[own.index(pair)] == names[id(pair)]


def test_every_name_is_a_bids_name():
    (pair,) = pairs_named(("sub-01_T1w", "sub-01_T2w"))
    (out,) = all_outputs([pair], OUT)
    assert all(parse_name(path.name) for path in out.paths(["a"]))
