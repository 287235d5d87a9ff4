"""Copies of results stand for results: the program takes them for its own, at the cost of a look at each."""

from __future__ import annotations

import pytest

import bids_nodereg.app.status as status_module
from benchmarks.scale_copies import copy_results, label, make_names, make_raw, model_of
from bids_nodereg.cli import main
from tests.reliability import tiny

PARTICIPANTS, SHARDS = 4, 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set of four participants, one of whom is registered and three have copies of that."""
    folder = tmp_path_factory.mktemp("scale") / "many"
    folder.mkdir()
    raw, out = make_raw(folder, PARTICIPANTS, SHARDS), folder / "out"
    words = tiny.arguments(raw, out, "--transform", "rigid", "--shard", f"1/{SHARDS}")
    assert main(words) == 0
    copy_results(out, PARTICIPANTS, SHARDS)
    return raw, out


def test_the_models_are_those_of_the_first_shard():
    assert [model_of(number, 4) for number in range(6)] == [0, 0, 0, 0, 4, 4]


def test_a_run_finds_all_copies_done_and_reads_each_sidecar_once(place, capsys, monkeypatch):
    raw, out = place
    read: list[str] = []
    true_read = status_module.read_json

    def reading(path, **more):
        read.append(path.name)
        return true_read(path, **more)

    monkeypatch.setattr(status_module, "read_json", reading)
    pages = {path: path.stat().st_mtime_ns for path in out.glob("*.html")}
    assert main(tiny.arguments(raw, out, "--transform", "rigid")) == 0
    assert "0 of 4 pair(s) registered, 4 already done, 0 failed" in capsys.readouterr().err
    assert sorted(read) == [
        f"sub-{label(number)}_from-T2w_to-T1w_mode-image_xfm.json" for number in range(PARTICIPANTS)
    ]
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.html")} == pages


def test_a_damaged_copy_is_noticed(place, capsys):
    raw, out = place
    (out / f"sub-{label(2)}/anat/sub-{label(2)}_from-T2w_to-T1w_mode-image_qc.json").write_text("{}")
    words = ("--transform", "rigid", "--participant-label", label(2), label(3))
    assert main(tiny.arguments(raw, out, *words)) == 0
    assert "1 of 2 pair(s) registered, 1 already done" in capsys.readouterr().err


def test_every_shard_has_logs_of_its_own_participants(place):
    _, out = place
    told = {path.name for path in out.glob("logs/*/status_*.json")}
    assert {f"status_sub-{label(number)}_from-T2w_to-T1w.json" for number in range(PARTICIPANTS)} <= told


def test_a_data_set_of_names_can_be_asked(tmp_path, capsys):
    raw = make_names(tmp_path / "names", 3, ("T1w", "T2w"))
    words = [str(raw), str(tmp_path / "out"), "participant", "--dry-run", "--shard", "2/3"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 pair(s) to register" in said
    assert "sub-000001" in said
