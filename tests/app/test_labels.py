"""Label maps are looked at before the map is searched."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_nodereg.app import pair as module
from bids_nodereg.app.labels import label_names, refuse_damaged_labels, shared_labels
from bids_nodereg.bids.image import LabelMap
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.errors import DataError, MissingInputError
from tests.bad_input.study import make_study
from tests.bids.make import make_images


def label_map(folder, name, desc="x", content=None):
    path = folder / name
    data = np.ones((4, 4, 4), np.int16) if content is None else content
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return LabelMap(path, desc, f"bids:raw:{name}", None)


@pytest.fixture
def pair(tmp_path):
    return Pair("test", *make_images(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"))


def with_labels(pair, fixed, moving):
    return Pair(pair.rule, pair.fixed, pair.moving, fixed_dseg=tuple(fixed), moving_dseg=tuple(moving))


def no_limit():
    return None


def test_labels_of_both_images_are_those_of_one_name(tmp_path, pair):
    a, b = label_map(tmp_path, "a.nii", "one"), label_map(tmp_path, "b.nii", "two")
    c = label_map(tmp_path, "c.nii", "two")
    assert shared_labels(with_labels(pair, (a, b), (c,))) == (b, c)
    assert shared_labels(with_labels(pair, (a,), (c,))) is None


def test_what_is_carried_or_compared_is_read(tmp_path, pair):
    good = label_map(tmp_path, "good.nii")
    cut = label_map(tmp_path, "cut.nii")
    cut.path.write_bytes(cut.path.read_bytes()[:-9])
    refuse_damaged_labels(with_labels(pair, (good,), (good,)), no_limit)
    for fixed, moving in ((cut, good), (good, cut)):
        with pytest.raises(DataError, match=r"cut\.nii"):
            refuse_damaged_labels(with_labels(pair, (fixed,), (moving,)), no_limit)
    cut.path.unlink()
    with pytest.raises(MissingInputError, match=r"cut\.nii"):
        refuse_damaged_labels(with_labels(pair, (), (cut,)), no_limit)


def test_a_map_that_nobody_uses_is_not_read(tmp_path, pair):
    good, unused = label_map(tmp_path, "good.nii", "one"), label_map(tmp_path, "unused.nii", "two")
    unused.path.unlink()
    refuse_damaged_labels(with_labels(pair, (unused,), (good,)), no_limit)


def test_damaged_labels_end_a_pair_before_its_images_are_registered(tmp_path, monkeypatch, outcome):
    study = make_study(tmp_path, "01")
    damaged = study.raw / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    damaged.write_bytes(study.image("01").read_bytes()[:-500])
    table = tmp_path / "pairs.tsv"
    names = [study.image("01", suffix).relative_to(study.raw).as_posix() for suffix in ("T1w", "T2w")]
    cells = [*names, damaged.relative_to(study.raw).as_posix()]
    table.write_text("fixed\tmoving\tmoving_dseg\n" + "\t".join(cells) + "\n")
    monkeypatch.setattr(module, "solve", lambda *_: pytest.fail("the map was searched"))
    assert study.run("--pairs-file", str(table)) == 65
    assert "sub-01_dseg.nii.gz" in str(study.statuses()["01"]["error"])
    outcome("bad input", "labels cut in half, and when that is told", "before the map is searched", 65)


@pytest.mark.parametrize("content", ["", "index\tlabel\n1\tx\n", "index\tname\none\tx\n", "\udcff"])
def test_a_damaged_table_of_names_costs_the_names_alone(tmp_path, content, caplog, outcome):
    path = tmp_path / "x_dseg.tsv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert label_names(path) == {}
    assert "x_dseg.tsv" in caplog.text
    outcome("bad input", "a damaged table of the names of labels", "told; the labels have no names")


def test_names_are_those_of_the_table(tmp_path):
    path = tmp_path / "x_dseg.tsv"
    path.write_text("index\tname\tcolor\n1\tleft\t#000\n2\tright\tn/a\n")
    assert label_names(path) == {1: "left", 2: "right"}
    assert label_names(None) == {}
