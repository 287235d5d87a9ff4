"""What is missing before a run begins ends it, and a dry run says so alike, having written nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from bids_nodereg.app import preconditions
from bids_nodereg.app.preconditions import check_may_write
from bids_nodereg.cli import main
from bids_nodereg.errors import OutputError
from tests.reliability import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

STRANGER = 4321
ALL_IS_WELL = "ok"


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("preconditions"))


def a_file(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("not a folder")


def below_a_file(folder: Path) -> None:
    folder.parent.write_text("not a folder")


def a_link_to_nothing(folder: Path) -> None:
    folder.parent.mkdir()
    folder.symlink_to(folder.parent / "nothing")


def of_another_program(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "other"}]}')


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (a_file, "out is a file. Give the path of a folder"),
        (below_a_file, "between is a file. Give the path of a folder"),
        (a_link_to_nothing, "out is a link to nothing"),
        (of_another_program, "was made by other"),
    ],
)
def test_an_output_folder_that_is_none_is_told_by_run_and_dry_run(raw, tmp_path, capsys, spoil, told):
    out = tmp_path / "between" / "out"
    spoil(out)
    before, said = sorted(tmp_path.rglob("*")), []
    for more in ([], ["--dry-run"], ["--dry-run", "json"]):
        assert main(tiny.arguments(raw, out, *more)) == 73
        said.append(capsys.readouterr().err)
    assert told in said[0]
    assert set(said) == {said[0]}
    assert said[0].count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_group_level_says_so_too(raw, tmp_path, capsys):
    a_file(tmp_path / "between" / "out")
    assert main([str(raw), str(tmp_path / "between" / "out"), "group"]) == 73
    assert "out is a file" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to_is_told_before_anything_is_done(
    raw, tmp_path, capsys, monkeypatch
):
    """As root everything may be written to: the answer of the system is made up."""
    monkeypatch.setattr(preconditions.os, "access", lambda _path, _mode: False)
    said = []
    for more in ([], ["--dry-run"]):
        assert main(tiny.arguments(raw, tmp_path / "out", *more)) == 73
        said.append(capsys.readouterr().err)
    owner = f"it belongs to user {tmp_path.stat().st_uid}, with permissions 700"
    assert f"user {os.getuid()} may not write to {tmp_path} ({owner})" in said[0]
    assert "mount it without" in said[0]
    assert said[0] == said[1]
    assert not (tmp_path / "out").exists()


def test_a_mount_that_is_read_only_is_told_as_such(tmp_path, monkeypatch):
    flags = os.statvfs(tmp_path).f_flag | os.ST_RDONLY
    monkeypatch.setattr(preconditions.os, "access", lambda _path, _mode: False)
    monkeypatch.setattr(preconditions.os, "statvfs", lambda _path: type("Mount", (), {"f_flag": flags}))
    with pytest.raises(OutputError, match="its file system is mounted read-only"):
        check_may_write(tmp_path / "out")


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


@as_root
def test_another_user_is_refused_for_certain(tmp_path):
    said = as_stranger(lambda: check_may_write(tmp_path / "out"))
    assert f"user {STRANGER} may not write to " in said
    assert "it belongs to user 0" in said
    open_to_all = Path(tempfile.mkdtemp(dir="/tmp"))
    open_to_all.chmod(0o777)
    assert as_stranger(lambda: check_may_write(open_to_all / "out")) == ALL_IS_WELL
    open_to_all.rmdir()


def as_stranger(do: Callable[[], None]) -> str:
    """What a process of another user says when it does something, or :data:`ALL_IS_WELL`."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        said, code = ALL_IS_WELL, 1
        try:
            os.setresuid(STRANGER, STRANGER, STRANGER)
            do()
        except BaseException as error:  # noqa: BLE001 - the child must not go on as a test
            said = str(error)
        with suppress(BaseException):
            os.write(writer, said.encode())
            code = 0
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


@as_root
def test_a_process_that_dies_is_not_taken_for_one_that_says_nothing():
    with pytest.raises(AssertionError):
        as_stranger(lambda: os._exit(3))


def test_folders_that_can_be_made_are_not_made(tmp_path):
    check_may_write(tmp_path / "a" / "b")
    check_may_write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("words", [["--device", "cuda"], ["--device", "auto", "--gpus", "2"]])
def test_a_device_that_is_not_there_is_told_by_run_and_dry_run(raw, tmp_path, capsys, words):
    said = []
    for more in ([], ["--dry-run"]):
        assert main(tiny.arguments(raw, tmp_path / "out", *words, *more)) == 64
        said.append(capsys.readouterr())
    assert "CUDA device(s)" in said[0].err
    assert said[0].err == said[1].err
    assert "1 pair(s) to register." in said[1].out  # the table comes first
    assert not (tmp_path / "out").exists()


@pytest.fixture
def without(monkeypatch):
    """Take a package away; of a program that loads it anyway nothing is to be seen."""

    def take(name: str) -> None:
        monkeypatch.setitem(sys.modules, name, None)

    return take


DASK = 'pip install "bids-nodereg[cluster]"'


@pytest.mark.parametrize(
    ("name", "words", "code", "told"),
    [
        ("distributed", ["--executor", "dask", "--device", "cpu"], 64, DASK),
        ("distributed", ["--dask-scheduler", "tcp://127.0.0.1:9"], 64, DASK),
        ("cryptography", ["--executor", "dask", "--device", "cpu"], 64, DASK),
        ("nilearn", ["--interactive-report"], 66, "pip install 'bids-nodereg[viewer]'"),
    ],
)
def test_an_extra_that_is_not_installed_is_told_before_anything_is_written(
    raw, tmp_path, capsys, without, name, words, code, told
):
    without(name)
    said = []
    for more in ([], ["--dry-run"]):
        assert main(tiny.arguments(raw, tmp_path / "out", *words, *more)) == code
        said.append(capsys.readouterr().err)
    assert told in said[0]
    assert said[0].count("\n") == 1
    assert said[0] == said[1]
    assert not (tmp_path / "out").exists()


def test_who_registers_nothing_needs_no_dask(raw, tmp_path, without):
    without("distributed")
    words = ("--executor", "dask", "--device", "cpu", "--boilerplate-only")
    assert main(tiny.arguments(raw, tmp_path / "out", *words)) == 0
