"""The sub-command ``demo``: its words stand for those of the ordinary command."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_nodereg.cli import main, parse
from bids_nodereg.demo_cli import DATA, TRUTH, demo_words, is_demo
from tests.bids.make import make_dataset


def test_it_is_the_ordinary_command_on_the_bundled_data():
    config = parse(demo_words(["out"]))

    assert config.bids_dir == DATA
    assert config.output_dir == Path("out").absolute()
    assert (config.analysis_level, config.preset) == ("participant", "fast")
    assert config.derivatives == {"truth": TRUTH}
    assert (TRUTH / "dataset_description.json").is_file()


def test_options_outweigh_those_of_the_demo():
    config = parse(demo_words(["out", "--preset", "default", "--participant-label", "01", "--seed", "7"]))

    assert config.preset == "default"
    assert config.selection.participant_label == ("01",)
    assert config.settings.registration.seed == 7


@pytest.mark.parametrize(("words", "code"), [(["participant", "--dry-run"], 16), (["group"], 66)])
def test_a_data_set_of_that_name_is_one(words, code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()

    assert not is_demo(["demo", "out", *words])
    assert main(["demo", "out", *words]) == code
    assert str(tmp_path) in capsys.readouterr().err


def test_a_value_of_an_option_is_no_level(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()

    assert is_demo(["demo", "out", "--participant-label", "participant"])
    assert is_demo(["demo", "out", "--", "participant"])


@pytest.mark.parametrize("level", ["participant", "group"])
def test_a_level_that_is_too_many_is_told(level, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["demo", "out", level]) == 64
    assert f"leave out '{level}'" in capsys.readouterr().err


def test_beside_a_data_set_of_that_name_it_asks_which(monkeypatch, tmp_path, capsys):
    """Else who forgets the level would get the demo and take it for results."""
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "demo", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")

    assert main(["demo", "out"]) == 64
    assert "add 'participant' after OUTPUT_DIR" in capsys.readouterr().err
    assert main(["demo", "out", "participant", "--dry-run=json"]) == 0
    assert capsys.readouterr().out.count('"taken": true') == 1


def test_what_would_be_registered_is_told(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "out"), "--dry-run=json"]) == 0
    assert capsys.readouterr().out.count('"taken": true') == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["demo"], ["demo", "--preset"]])
def test_without_a_place_for_the_results_it_ends(words, capsys):
    assert main(words) == 64
    told = capsys.readouterr().err
    assert "OUTPUT_DIR" in told
    assert told.count("\n") == 1


def test_help_is_its_own(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--help"])
    assert caught.value.code == 0
    assert "bids-nodereg demo OUTPUT_DIR" in capsys.readouterr().out
