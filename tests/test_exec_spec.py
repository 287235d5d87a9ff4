"""The Boutiques descriptor: valid, whole, and true: what it says can be typed means what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_nodereg.cli import main, parse
from bids_nodereg.exec_spec import descriptor
from bids_nodereg.options import build_parser

WITHOUT_RUN = {"Help", "ToolVersion"}


@pytest.fixture(scope="module")
def described():
    return descriptor(build_parser())


def test_it_is_printed_when_nothing_else_is_said(capsys, described):
    for spelling in ("--bids-exec-spec", "--bids_exec_spec"):
        with pytest.raises(SystemExit) as caught:
            main([spelling])
        assert caught.value.code == 0
        assert json.loads(capsys.readouterr().out) == described


def test_boutiques_finds_it_valid(described, tmp_path):
    program = shutil.which("bosh", path=str(Path(sys.executable).parent)) or shutil.which("bosh")
    if program is None:
        pytest.skip("bosh is not installed (extra 'oracles': boutiques)")
    path = tmp_path / "nodereg.json"
    path.write_text(json.dumps(described))
    answer = subprocess.run([program, "validate", str(path)], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout.strip()) == (0, "OK"), answer.stderr
    values = {"InputDataset": ["in"], "OutputLocation": "out", "AnalysisLevel": "participant"}
    (tmp_path / "call.json").write_text(json.dumps({**values, "SubjectLabel": ["01", "02"], "Seed": 7}))
    words = [program, "exec", "simulate", str(path), "-i", str(tmp_path / "call.json")]
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    command = told.split("\n", 1)[1].split()
    assert command[0] == "bids-nodereg"
    config = parse(command[1:])
    assert config.selection.participant_label == ("01", "02")
    assert config.settings.registration.seed == 7


def test_every_option_and_no_other_is_in_it(described):
    flags = {entry["command-line-flag"] for entry in described["inputs"] if "command-line-flag" in entry}
    spellings = [set(action.option_strings) for action in build_parser()._actions if action.option_strings]
    pairs = [names for names in spellings if names != {"--bids-exec-spec", "--bids_exec_spec"}]
    assert all(flags & names for names in pairs)
    assert flags <= set().union(*pairs)


def test_ids_are_those_of_the_specification_and_unique(described):
    ids = [entry["id"] for entry in described["inputs"]]
    assert len(set(ids)) == len(ids)
    required = {"InputDataset", "OutputLocation", "AnalysisLevel", "Help", "ToolVersion"}
    assert required | {"SubjectLabel", "SessionLabel"} <= set(ids)
    keys = [entry["value-key"] for entry in described["inputs"]]
    assert not any(one != other and one in other for one in keys for other in keys)
    assert all(described["command-line"].count(key) == 1 for key in keys)
    assert "BIDSAppSpecVersion" in described["custom"]


def value_for(entry):
    """Something that fits the type, and is not the default."""
    special = {
        "Derivatives": "a=b",
        "Shard": "2/3",
        "PairWithin": "session",
        "Gpus": "2",
        "TimeLimit": "1:30",
    }
    if entry["id"] in special:
        return special[entry["id"]]
    if "value-choices" in entry:
        return str(entry["value-choices"][-1])
    return {"Number": "3", "File": "file.x", "String": "word"}[entry["type"]]


def test_each_input_is_understood_by_the_parser(described):
    """The words are made of the descriptor alone, and parsed by the parser."""
    positional = ["in", "out", "participant"]
    plain = vars(build_parser().parse_args(positional))
    for entry in described["inputs"]:
        if "command-line-flag" not in entry or entry["id"] in WITHOUT_RUN:
            continue
        words = [entry["command-line-flag"]]
        if entry["type"] != "Flag":
            words += [value_for(entry)] * (2 if entry.get("list") else 1)
        told = vars(build_parser().parse_args([*positional, *words]))
        changed = {name for name, value in told.items() if value != plain[name]}
        assert len(changed) == 1, entry["id"]


def test_exit_codes_are_those_of_the_errors(described):
    codes = {row["code"]: row["description"] for row in described["error-codes"]}
    assert set(codes) == {1, 16, 18, 64, 65, 66, 73, 75}
    assert codes[16] == "The input folder is not a BIDS data set."
    assert codes[1].startswith("Some pairs failed")


def test_an_option_and_its_opposite_are_told_apart(described):
    words = {entry["id"]: entry["description"] for entry in described["inputs"]}
    assert words["Symmetric"].startswith("compare both ways")
    assert words["NoSymmetric"] == f"the opposite of --symmetric, which says: {words['Symmetric']}"
