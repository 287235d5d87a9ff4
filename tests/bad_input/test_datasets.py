"""Data sets, tables and settings that are wrong: one clear message, the right code, nothing else stops."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bids_nodereg.bounded import MAX_BYTES
from tests.bad_input.images import link
from tests.bad_input.study import Study, make_study, told_once

if TYPE_CHECKING:
    from collections.abc import Callable

DEEP = "[" * 100_000
DESCRIPTION = '{"Name": "x", "BIDSVersion": "1.10.0"}'
PAIR = "sub-01/anat/sub-01_T1w.nii.gz\tsub-01/anat/sub-01_T2w.nii.gz"


@dataclass(frozen=True)
class Case:
    """What is wrong, and what becomes of it: ``make`` may give further words for the command line."""

    what: str
    make: Callable[[Study], tuple[str, ...] | None]
    code: int
    words: tuple[str, ...]


def written(name: str, content: str | bytes) -> Callable[[Study], None]:
    """A file in the data set."""

    def make(study: Study) -> None:
        path = study.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def given(option: str, content: str | bytes, name: str) -> Callable[[Study], tuple[str, str]]:
    """A file that an option names."""

    def make(study: Study) -> tuple[str, str]:
        path = study.root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return option, str(path)

    return make


def described(content: str | bytes) -> Callable[[Study], None]:
    return written("dataset_description.json", content)


def pairs(content: str | bytes) -> Callable[[Study], tuple[str, str]]:
    return given("--pairs-file", content, "pairs.tsv")


def filters(content: str | bytes) -> Callable[[Study], tuple[str, str]]:
    return given("--bids-filter-file", content, "filter.json")


def settings(content: str | bytes) -> Callable[[Study], tuple[str, str]]:
    return given("--config", content, "own.toml")


def huge(study: Study) -> None:
    """A file with a hole in it: it has a size, and takes no room."""
    with (study.raw / "dataset_description.json").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)


def folder_for_description(study: Study) -> None:
    (study.raw / "dataset_description.json").unlink()
    (study.raw / "dataset_description.json").mkdir()


def renamed(old: str, new: str) -> Callable[[Study], None]:
    def make(study: Study) -> None:
        anat = study.raw / "sub-01" / "anat"
        (anat / old).rename(anat / new)

    return make


def without_participants(study: Study) -> None:
    (study.raw / "sub-01").rename(study.root / "away")


def with_a_capital(study: Study) -> None:
    (study.raw / "sub-01").rename(study.raw / "Sub-01")


def without_images(study: Study) -> None:
    (study.raw / "sub-01" / "anat").rename(study.raw / "sub-01" / "func")


def broken(suffix: str) -> Callable[[Study], None]:
    return lambda study: link("../../nowhere.nii.gz")(study.image("01", suffix))


HEADING = "fixed\tmoving\n"

STOPS: dict[str, Case] = {
    # dataset_description.json
    "nodescription": Case(
        "dataset_description.json is not there",
        lambda study: (study.raw / "dataset_description.json").unlink(),
        16,
        ("dataset_description.json", "every BIDS data set needs this file"),
    ),
    "folder": Case("dataset_description.json is a folder", folder_for_description, 16, ("cannot be read",)),
    "nojson": Case("dataset_description.json is not JSON", described("Name: x"), 16, ("not valid JSON",)),
    "nojsonempty": Case("dataset_description.json is empty", described(""), 16, ("not valid JSON",)),
    "list": Case(
        "dataset_description.json is a list", described("[1]"), 16, ("a JSON list, expected an object",)
    ),
    "noversion": Case("no BIDSVersion", described('{"Name": "x"}'), 16, ("BIDSVersion",)),
    "numbername": Case(
        "a Name that is a number", described('{"Name": 1, "BIDSVersion": "1"}'), 16, ("Name",)
    ),
    "nan": Case(
        "JSON with NaN", described(DESCRIPTION[:-1] + ', "a": NaN}'), 16, ("NaN is not a JSON number",)
    ),
    "infinite": Case("JSON with 1e999", described(DESCRIPTION[:-1] + ', "a": 1e999}'), 16, ("1e999",)),
    "deep": Case("JSON nested 100,000 deep", described(DEEP), 16, ("nested too deeply",)),
    "hugejson": Case("JSON of more than 64 MiB", huge, 16, ("larger than",)),
    "latin": Case(
        "JSON in Latin-1", described(DESCRIPTION.replace("x", "é").encode("latin-1")), 16, ("utf-8",)
    ),
    "surrogate": Case(
        "JSON with half a surrogate pair", described(DESCRIPTION.replace("x", "\\ud800")), 16, ()
    ),
    # what is there
    "nobids": Case(
        "the BIDS folder is not there",
        lambda study: study.raw.rename(study.root / "b") and None,
        66,
        ("is not there",),
    ),
    "noparticipants": Case("a data set without participants", without_participants, 66, ("no sub-* folder",)),
    "capital": Case("a folder Sub-01 alone", with_a_capital, 66, ("Sub-01 is not read: rename it",)),
    "noimages": Case("a participant without anat", without_images, 66, ("no pair", "Contrasts found: none")),
    "lowercase": Case(
        "a suffix in lower case (t2w)",
        renamed("sub-01_T2w.nii.gz", "sub-01_t2w.nii.gz"),
        66,
        ("no pair", "sub-01_t2w.nii.gz", "unknown suffix"),
    ),
    "twice": Case(
        "an entity there twice",
        renamed("sub-01_T2w.nii.gz", "sub-01_acq-a_acq-b_T2w.nii.gz"),
        66,
        ("no pair", "sub-01_acq-a_acq-b_T2w.nii.gz"),
    ),
    "otherperson": Case(
        "an image of another participant",
        renamed("sub-01_T2w.nii.gz", "sub-02_T2w.nii.gz"),
        66,
        ("no pair", "folder and name disagree"),
    ),
    "badbytes": Case(
        "a file name that is not UTF-8",
        renamed("sub-01_T2w.nii.gz", os.fsdecode(b"sub-01_acq-\xff_T2w.nii.gz")),
        66,
        ("no pair", "sub-01_acq-"),
    ),
    "brokent1w": Case("the T1w is a broken link", broken("T1w"), 66, ("T1w.nii.gz", "git annex get")),
    # pairs files
    "nopairs": Case(
        "a pairs file that is not there", lambda _: ("--pairs-file", "/nowhere/p.tsv"), 66, ("p.tsv",)
    ),
    "emptypairs": Case("an empty pairs file", pairs(""), 64, ("columns",)),
    "norows": Case("a pairs file without rows", pairs(HEADING), 66, ("it has no rows",)),
    "columns": Case("a pairs file without a column", pairs("fixed\nx\n"), 64, ("columns", "moving")),
    "commas": Case("a pairs file with commas", pairs("fixed,moving\na,b\n"), 64, ("tab-separated columns",)),
    "twocolumns": Case("a column there twice", pairs("fixed\tmoving\tfixed\n"), 64, ("each once",)),
    "ragged": Case("a row with too many cells", pairs(f"{HEADING}{PAIR}\tx\n"), 64, ("line 2 has 3 cells",)),
    "short": Case(
        "a row with too few cells",
        pairs(f"{HEADING}sub-01/anat/sub-01_T1w.nii.gz\n"),
        64,
        ("line 2", "moving is empty"),
    ),
    "latinpairs": Case(
        "a pairs file in Latin-1", pairs(f"{HEADING}{PAIR}é".encode("latin-1")), 64, ("UTF-8",)
    ),
    "utf16": Case("a pairs file in UTF-16", pairs(f"{HEADING}{PAIR}".encode("utf-16")), 64, ("UTF-8",)),
    "nul": Case("a pairs file with NUL bytes", pairs(f"{HEADING}sub-01/\0\tb\n"), 64, ("line 2",)),
    "absolute": Case(
        "an absolute path in a pairs file", pairs(f"{HEADING}/etc/passwd\tb\n"), 64, ("line 2", "inside")
    ),
    "dots": Case(
        "../ in a pairs file", pairs(f"{HEADING}../x/sub-01_T1w.nii.gz\tb\n"), 64, ("line 2", "leaves")
    ),
    "norows2": Case(
        "an image that is not there in a pairs file",
        pairs(f"{HEADING}{PAIR.replace('T2w', 'PDw')}\n"),
        66,
        ("not there",),
    ),
    # filters
    "nofilter": Case(
        "a filter file that is not there",
        lambda _: ("--bids-filter-file", "/nowhere/f.json"),
        66,
        ("f.json",),
    ),
    "filterjson": Case("a filter file that is not JSON", filters("t1w"), 64, ("not valid JSON",)),
    "filterlist": Case("a filter file that is a list", filters("[]"), 64, ("a JSON list",)),
    "filterdeep": Case("a filter file nested 100,000 deep", filters(DEEP), 64, ("nested too deeply",)),
    "filterentity": Case(
        "an unknown entity in a filter file", filters('{"t1w": {"sesion": "1"}}'), 64, ("session",)
    ),
    "filternothing": Case("a filter that selects nothing", filters('{"t2w": {"run": 7}}'), 18, ("no pair",)),
    # settings
    "toml": Case("a settings file that is not TOML", settings("settings: x"), 64, ("not a TOML file",)),
    "tomldeep": Case("a settings file nested 100,000 deep", settings(f"a = {DEEP}"), 64, ("TOML",)),
    "tomlunknown": Case("an unknown setting", settings("[settings]\nspeed = 2\n"), 64, ("speed",)),
    "tomltype": Case(
        "a setting of the wrong type", settings('[settings]\nmargin_mm = "x"\n'), 64, ("margin_mm",)
    ),
    "tomllatin": Case(
        "a settings file in Latin-1", settings("# é\n".encode("latin-1")), 64, ("not a TOML file",)
    ),
}

GOES_ON: dict[str, Case] = {
    "bom": Case("JSON with a byte-order mark", described(b"\xef\xbb\xbf" + DESCRIPTION.encode()), 0, ()),
    "pairsbom": Case(
        "a pairs file with a byte-order mark and CRLF",
        pairs(b"\xef\xbb\xbf" + f"{HEADING}{PAIR}\n".replace("\n", "\r\n").encode()),
        0,
        (),
    ),
    "pairstwice": Case("the same row twice in a pairs file", pairs(f"{HEADING}{PAIR}\n{PAIR}\n"), 0, ()),
    "capital": Case(
        "a folder Sub-01 beside sub-01",
        written("Sub-01/anat/Sub-01_T1w.nii.gz", "x"),
        0,
        ("not read: Sub-01", "in small letters"),
    ),
    "both": Case(
        "one image as .nii and as .nii.gz",
        written("sub-01/anat/sub-01_T2w.nii", "x"),
        0,
        ("the same image is there as .nii.gz",),
    ),
    "sidecar": Case("a sidecar that is not JSON", written("sub-01/anat/sub-01_T2w.json", "{"), 0, ()),
    "sidecardeep": Case("a sidecar nested 100,000 deep", written("sub-01/anat/sub-01_T2w.json", DEEP), 0, ()),
    "participants": Case(
        "a participants.tsv of others, in Latin-1",
        written("participants.tsv", "participant_id\tü\nsub-77\t1\n".encode("latin-1")),
        0,
        (),
    ),
    "sessions": Case(
        "a sessions.tsv that is not text", written("sub-01/sub-01_sessions.tsv", b"\xff\xfe\0"), 0, ()
    ),
    "badbytes": Case(
        "another file whose name is not UTF-8",
        lambda study: (
            study.image("01").with_name(os.fsdecode(b"sub-01_acq-\xff_PDw.nii.gz")).write_bytes(b"x") and None
        ),
        0,
        ("sub-01_acq-", "not UTF-8"),
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_cannot_be_used_at_all_is_one_message_with_its_code(tmp_path, capsys, name, outcome):
    study, case = make_study(tmp_path, "01"), STOPS[name]
    words = case.make(study) or ()
    assert study.run(*words) == case.code
    error = capsys.readouterr().err
    assert told_once(error, *case.words)
    assert error.isprintable() or error.replace("\n", "").isprintable()
    assert not list(study.out.glob("sub-*"))
    outcome("bad input", case.what, "run refused, told", case.code)


@pytest.mark.parametrize("name", GOES_ON)
def test_what_is_only_odd_stops_nothing(tmp_path, capsys, name, outcome):
    study, case = make_study(tmp_path, "01"), GOES_ON[name]
    words = case.make(study) or ()
    assert study.run("--dry-run", "json", *words) == case.code
    shown = capsys.readouterr()
    assert told_once(shown.out + shown.err, "sub-01/anat/sub-01_T2w.nii.gz", *case.words)
    rows = json.loads(shown.out)
    assert json.dumps(rows).count('"taken": true') == 1
    outcome("bad input", case.what, "left alone; the pair is found", case.code)
