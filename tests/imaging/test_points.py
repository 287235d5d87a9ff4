from __future__ import annotations

import numpy as np
import pytest

from bids_nodereg.errors import DataError, MissingInputError, UsageError
from bids_nodereg.imaging.points import pair_points, read_points

RAS = np.array([[1.5, -2.0, 3.25], [-10.0, 20.0, -30.0]])


def test_tsv_is_ras_and_csv_is_lps(tmp_path):
    (tmp_path / "a.tsv").write_text("name\tx\ty\tz\nac\t1.5\t-2\t3.25\npc\t-10\t20\t-30\n")
    (tmp_path / "a.csv").write_text('x,y,z,t,label\n-1.5,2,3.25,0,"1"\n10,-20,-30,0,1\n')
    tsv, csv = read_points(tmp_path / "a.tsv"), read_points(tmp_path / "a.csv")
    np.testing.assert_array_equal(tsv.world, RAS)
    np.testing.assert_array_equal(csv.world, RAS)
    assert tsv.names == ("ac", "pc")
    assert csv.names is None


def test_points_with_names_are_matched_by_them(tmp_path):
    (tmp_path / "fixed.tsv").write_text("x\ty\tz\tindex\n1\t1\t1\t7\n2\t2\t2\t9\n")
    (tmp_path / "moving.tsv").write_text("index\tx\ty\tz\n9\t20\t20\t20\n7\t10\t10\t10\n")
    (tmp_path / "plain.tsv").write_text("x\ty\tz\n20\t20\t20\n10\t10\t10\n")
    fixed, moving, plain = (read_points(tmp_path / f"{name}.tsv") for name in ("fixed", "moving", "plain"))
    np.testing.assert_array_equal(pair_points(fixed, moving).moving, 10 * pair_points(fixed, moving).fixed)
    np.testing.assert_array_equal(pair_points(fixed, plain).moving, plain.world)


def test_points_that_do_not_belong_together_are_refused(tmp_path):
    texts = {"one": "x\ty\tz\n1\t1\t1\n", "two": "x\ty\tz\n1\t1\t1\n2\t2\t2\n"}
    texts |= {"a": "name\tx\ty\tz\nac\t1\t1\t1\n", "b": "name\tx\ty\tz\npc\t1\t1\t1\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    one, two, a, b = (read_points(tmp_path / f"{name}.tsv") for name in texts)
    with pytest.raises(DataError, match=r"has 1 landmarks, .*two\.tsv has 2"):
        pair_points(one, two)
    with pytest.raises(DataError, match="ac, pc"):
        pair_points(a, b)


@pytest.mark.parametrize(
    ("name", "text", "kind", "told"),
    [
        ("a.tsv", "x\ty\n1\t2\n", DataError, "x, y, z"),
        ("a.tsv", "x\ty\tz\n1\t2\tn/a\n", DataError, "line 2"),
        ("a.tsv", "x\ty\tz\n1\t2\tinf\n", DataError, "line 2"),
        ("a.tsv", "x\ty\tz\n", DataError, "no landmark"),
        ("a.tsv", "name\tx\ty\tz\na\t1\t2\t3\na\t1\t2\t4\n", DataError, "different entry"),
        ("a.tsv", "x\ty\tz\n1\t2\t3\t4\n", DataError, "4 cells"),
        ("a.csv", "x,y\n1,2\n", DataError, "separated by ,"),
        ("a.fcsv", "x,y,z\n1,2,3\n", UsageError, "RAS mm"),
    ],
)
def test_tables_that_are_no_landmarks(tmp_path, name, text, kind, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=told):
        read_points(tmp_path / name)


def test_a_missing_table(tmp_path):
    with pytest.raises(MissingInputError, match="absent"):
        read_points(tmp_path / "absent.tsv")
