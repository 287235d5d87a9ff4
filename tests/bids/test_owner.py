"""Runs that share an output folder: every pair finds its own files, none takes another's."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import pytest

from bids_nodereg.bids.derivatives import all_outputs
from bids_nodereg.bids.owner import owner_on_disk
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.sidecars import transform_sidecar, warped_sidecar
from bids_nodereg.files import write_json
from tests.bids.make import make_images

RUN1, RUN2, T2W, GAD = make_images(
    Path("/raw"), *(f"sub-01_{stem}.nii.gz" for stem in ("run-1_T1w", "run-2_T1w", "T2w", "ce-gad_T1w"))
)
FIRST, SECOND = Pair("x", RUN1, T2W), Pair("x", RUN2, T2W)


def run(out_dir, *pairs):
    """Name the pairs and leave what a run leaves; the names."""
    outputs = all_outputs(pairs, out_dir, owner_on_disk)
    for pair, out in zip(pairs, outputs, strict=True):
        write_json(out.inverse_json, transform_sidecar(pair, out, inverse=True))
        write_json(out.warped_json, warped_sidecar(pair, out, skull_stripped=True, interpolation="linear"))
        write_json(out.forward_json, transform_sidecar(pair, out))
    return [out.name.removeprefix("sub-01_") for out in outputs]


def test_a_second_run_does_not_take_the_name_of_the_first(tmp_path):
    assert run(tmp_path, FIRST) == ["from-T2w_to-T1w"]
    assert run(tmp_path, SECOND) == ["from-T2w_to-T1wrun2"]
    assert run(tmp_path, FIRST) == ["from-T2w_to-T1w"]
    assert run(tmp_path, SECOND) == ["from-T2w_to-T1wrun2"]
    assert run(tmp_path, SECOND, FIRST) == ["from-T2w_to-T1wrun2", "from-T2w_to-T1w"]


def test_a_pair_keeps_its_name_when_another_joins_it_or_leaves(tmp_path):
    assert run(tmp_path / "a", FIRST) == ["from-T2w_to-T1w"]
    assert run(tmp_path / "a", FIRST, SECOND) == ["from-T2w_to-T1w", "from-T2w_to-T1wrun2"]
    assert run(tmp_path / "b", FIRST, SECOND) == ["from-T2w_to-T1wrun1", "from-T2w_to-T1wrun2"]
    assert run(tmp_path / "b", FIRST) == ["from-T2w_to-T1wrun1"]


def test_the_other_way_round_is_another_pair(tmp_path):
    """Its forward transform would have the name, and the two images, of the first one's inverse."""
    (t1w,) = make_images(Path("/raw"), "sub-01_T1w.nii.gz")
    there, back = Pair("x", t1w, T2W), Pair("x", T2W, t1w)
    assert run(tmp_path, there) == ["from-T2w_to-T1w"]
    (name,) = run(tmp_path, back)
    assert name.startswith("from-T1w_to-T2w")
    assert name != "from-T1w_to-T2w"
    assert run(tmp_path, there) + run(tmp_path, back) == ["from-T2w_to-T1w", name]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Sources": []}', '{"Sources": 3}', '"x"'])
def test_what_cannot_be_read_is_nobodys(tmp_path, text):
    run(tmp_path, FIRST)
    for path in tmp_path.rglob("*.json"):
        path.write_text(text)
    assert run(tmp_path, SECOND) == ["from-T2w_to-T1w"]


def test_a_pair_that_lost_its_mark_has_its_name_still(tmp_path):
    (out,) = all_outputs([FIRST], tmp_path)
    run(tmp_path, FIRST)
    out.forward_json.unlink()
    assert run(tmp_path, SECOND) == ["from-T2w_to-T1wrun2"]
    assert run(tmp_path, FIRST) == ["from-T2w_to-T1w"]


@pytest.mark.parametrize("together", [1, 2, 3])
def test_whatever_the_runs_no_file_is_shared_and_no_name_changes(tmp_path, together):
    """All ordered pairs of four images in runs of one, two and three, over and over."""
    pairs = [Pair("x", *images) for images in permutations([RUN1, RUN2, T2W, GAD], 2)]
    runs = [pairs[start : start + together] for start in range(0, len(pairs), together)]
    names: dict[int, str] = {}
    for own in [*runs, *runs[::-1], pairs, pairs[::-1]]:
        for pair, name in zip(own, run(tmp_path, *own), strict=True):
            assert names.setdefault(pairs.index(pair), name) == name
    files = [set(out.paths()) for out in all_outputs(pairs, tmp_path, owner_on_disk)]
    assert all(not a & b for (i, a), (j, b) in product(enumerate(files), repeat=2) if i != j)
