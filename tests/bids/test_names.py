"""Reading and building BIDS file names."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_nodereg.bids.names import ENTITIES, build_name, natural_key, parse_name, strip_prefix

LABELS = st.text("abcXYZ019+", min_size=1, max_size=4)
ENTITY_SETS = st.dictionaries(st.sampled_from(sorted(ENTITIES)), LABELS, min_size=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(ENTITY_SETS, st.sampled_from(["T1w", "dseg", "xfm"]), st.sampled_from([".nii", ".nii.gz", ".json"]))
def test_a_built_name_is_read_back_whole_and_in_order(entities, suffix, extension):
    name = parse_name(build_name(reversed(entities.items()), suffix, extension))
    assert name is not None
    assert (dict(name.entities), name.suffix, name.extension) == (entities, suffix, extension)
    keys = [key for key, _ in name.entities]
    assert keys == [key for key in ENTITIES if key in entities]


def test_the_order_is_that_of_the_bids_schema():
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    theirs = [schema.objects.entities[name].name for name in schema.rules.entities]
    assert [key for key in theirs if key in ENTITIES] == [key for key in ENTITIES if key in theirs]


def test_filter_names_are_those_of_pybids():
    bids = pytest.importorskip("bids.layout.models")
    known = set(bids.Config.load("bids").entities) | set(bids.Config.load("derivatives").entities)
    assert set(ENTITIES.values()) - known <= {
        "hemi",
        "split",
        "scale",
    }  # the pybids configs lack (some of) these


@pytest.mark.parametrize(
    "name",
    ["README.md", "T1w.json", "sub-01.html", "sub-01_T1w", "sub-01_x_T1w.nii", "a-1_a-2_T1w.nii", "_T1w.nii"],
)
def test_what_is_no_bids_name_is_told(name):
    assert parse_name(name) is None


def test_leading_zeros_stay_and_unknown_entities_are_kept():
    name = parse_name("sub-001_foo-x_run-01_T1w.nii.gz")
    assert name is not None
    assert name.entities == (("sub", "001"), ("run", "01"), ("foo", "x"))


@given(st.lists(LABELS, unique=True))
def test_the_natural_order_is_total(labels):
    assert len({natural_key(label) for label in labels}) == len(labels)
    backwards = labels[::-1]
    assert sorted(labels, key=natural_key) == sorted(backwards, key=natural_key)


def test_prefix_is_stripped_once():
    assert [strip_prefix(text, "sub") for text in ("sub-01", "01", "sub-sub", " 01 ")] == [
        "01",
        "01",
        "sub",
        "01",
    ]
