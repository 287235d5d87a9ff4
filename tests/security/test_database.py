"""A pybids database is looked at before it is believed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.index import DATABASE_FILE
from bids_nodereg.errors import NodeRegError, UsageError
from tests.bids.make import make_dataset


@pytest.fixture
def database(tmp_path):
    """A data set of two images with a whole database; its folder."""
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    assert len(images(root, tmp_path / "db")) == 2
    return tmp_path / "db"


def images(root, folder):
    return open_dataset(root, database_dir=folder).images("01")


def changed(folder, *statements):
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as base, base:
        for statement, values in statements:
            base.execute(statement, values)


def evil_derivative(tmp_path):
    """Derivatives whose description tells pybids to write a database outside of the folder it is given."""
    root = make_dataset(tmp_path / "evil", "sub-01_desc-x_T1w.nii.gz", DatasetType="derivative")
    content = {"Name": "evil", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "../../planted"}]}
    (root / "dataset_description.json").write_text(json.dumps(content))
    return root


def test_a_database_cannot_have_pybids_write_elsewhere(database, tmp_path, outcome):
    evil = evil_derivative(tmp_path)
    changed(database, ("UPDATE layout_info SET _derivatives = ?", [json.dumps([str(evil)])]))
    with pytest.raises(UsageError, match="has derivatives"):
        images(tmp_path / "raw", database)
    assert not [path for path in tmp_path.rglob(DATABASE_FILE) if path.parent != database]
    outcome("hostile", "pybids database that names derivatives with a path in their name", "refused", 64)


CHANGES = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END",
    "a view": "CREATE VIEW v AS SELECT * FROM files",
    "a table of others": "CREATE TABLE x (y)",
    "no information of the layout": "DELETE FROM layout_info",
    "no table of files": "DROP TABLE files",
    "derivatives that are no JSON": "UPDATE layout_info SET _derivatives = '{'",
    "a type that is evaluated": 'UPDATE entities SET _dtype = \'__import__("os").system("touch x")\'',
    "a pattern that is none": "UPDATE entities SET pattern = '((a+)+)+$('",
    "a file outside": "UPDATE files SET path = '/etc/sub-01_T1w.nii.gz', filename = 'sub-01_T1w.nii.gz' "
    "WHERE path LIKE '%T1w.nii.gz'; ",
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_hostile_database_is_refused(database, tmp_path, case, outcome):
    changed(database, (CHANGES[case], []))
    if case == "a file outside":
        changed(
            database,
            ("UPDATE tags SET file_path = '/etc/sub-01_T1w.nii.gz' WHERE file_path LIKE ?", ["%T1w.nii.gz"]),
        )
    with pytest.raises(UsageError):
        images(tmp_path / "raw", database)
    outcome("hostile", f"pybids database with {case}", "refused", 64)


def test_dots_in_a_database_are_refused(database, tmp_path, outcome):
    bad = str(tmp_path / "raw" / "sub-01" / "anat" / ".." / ".." / ".." / "sub-01_T1w.nii.gz")
    for table, column in (("files", "path"), ("tags", "file_path")):
        changed(database, (f"UPDATE {table} SET {column} = ? WHERE {column} LIKE ?", [bad, "%T1w.nii.gz"]))  # noqa: S608
    with pytest.raises(UsageError, match="leads out"):
        images(tmp_path / "raw", database)
    outcome("hostile", "pybids database with dots in a path", "refused", 64)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(100), b"\x80\x04cos\nsystem\n"])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path, content, outcome):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz")
    (tmp_path / "db").mkdir()
    file = tmp_path / "db" / DATABASE_FILE
    file.write_bytes(content)
    with pytest.raises(UsageError, match="no usable pybids database"):
        images(root, tmp_path / "db")
    assert file.read_bytes() == content
    outcome("hostile", "a file that is no database under its name", "refused, file unchanged", 64)


@pytest.mark.parametrize("name", ["a?mode=memory", "file"])
def test_a_database_folder_that_is_none_is_refused(tmp_path, name):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NodeRegError):
        images(root, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "a").exists()
