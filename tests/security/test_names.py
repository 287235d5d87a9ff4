"""No name in a data set, a table or a file of settings leads a write out of the output folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bids_nodereg.bids.brain_masks import brain_mask_path
from bids_nodereg.bids.dataset import open_dataset
from bids_nodereg.bids.derivatives import Outputs, all_outputs
from bids_nodereg.bids.extras import Extra
from bids_nodereg.bids.image import Image, LabelMap, image_from_name, name_problem
from bids_nodereg.bids.inside import checked_folder, checked_name
from bids_nodereg.bids.names import FileName, parse_name
from bids_nodereg.bids.pairs import Pair
from bids_nodereg.bids.pairs_file import read_pairs_file
from bids_nodereg.bids.spaces import output_spaces
from bids_nodereg.cli import main
from bids_nodereg.errors import NodeRegError, OutputError, UsageError
from tests.bids.make import make_dataset

OUT = Path("/out")
NASTY = {
    "two dots": "..",
    "the parent folder": "../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a drive": "C:\\x",
    "a NUL": "a\0b",
    "a line break": "a\nb",
    "a leading dash": "-rf",
    "a tilde": "~root",
    "a command": "$(touch x)`touch x`;touch x",
    "a glob": "*?[a]",
    "a line separator of Unicode": "a\u2028b",
    "a right-to-left mark": "a\u202egz.iin",
    "a full-width slash": "a\uff0fb",
    "half a character": "\udcff",
    "accents": "é",
    "nothing": "",
    "3000 letters": "a" * 3000,
}
LABELS = st.sampled_from(sorted(NASTY.values())) | st.text(max_size=20) | st.just("01")
KEYS = st.sampled_from(["acquisition", "run", "part", "space", "desc", "../x", "a/b", ""])


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Records as no reader of names would make them: the last guard has to hold on its own."""
    subject, suffix = draw(LABELS), draw(LABELS)
    entities = tuple(draw(st.dictionaries(KEYS, LABELS, max_size=2)).items())
    path = Path("/raw") / str(draw(st.integers(0, 10**6)))
    return Image(path, path.name, subject, draw(st.none() | LABELS), suffix, entities)


def extras(label: str, suffix: str) -> tuple[Extra, ...]:
    name = FileName((("sub", "01"), ("label", label)), suffix, ".nii.gz")
    return (Extra(Path("/prep/x"), "bids:prep:x", name),)


def is_inside(path: Path) -> bool:
    """Whether a path is below the output folder, also once its dots are taken."""
    return Path(os.path.normpath(path)) == path and path.is_relative_to(OUT) and path != OUT


@given(images(), images(), st.lists(LABELS, max_size=2, unique=True), LABELS, LABELS)
@example(
    Image(Path("/raw/1"), "1", "01", None, "T1w"), Image(Path("/raw/2"), "2", "..", "..", "T2w"), [], "a", "a"
)
def test_every_output_of_a_pair_is_inside_or_the_pair_is_refused(fixed, moving, descs, label, suffix):
    maps = tuple(LabelMap(Path("/prep") / "x", desc, "bids:prep:x") for desc in descs)
    pair = Pair("test", fixed, moving, moving_dseg=maps, moving_extras=extras(label, suffix))
    try:
        (outputs,) = all_outputs([pair], OUT)
        paths = [*outputs.paths(descs, pair.moving_extras), outputs.report_html, outputs.figures_dir]
        paths += [outputs.velocity_nii(2, 4), outputs.folder / f"{outputs.name}_report.json"]
        paths += [path for image in (fixed, moving) if (path := brain_mask_path(image, OUT)) is not None]
    except OutputError:
        return
    assert all(map(is_inside, paths))
    assert all(len(os.fsencode(path.name)) <= 255 for path in paths)
    assert not any(path.name.startswith(("-", ".")) for path in paths)


@given(st.text())
def test_a_name_is_given_back_only_if_it_is_one_part_of_a_path(text):
    try:
        assert checked_name(text) == text
    except OutputError:
        return
    assert len(Path(text).parts) == 1
    assert text.isascii()


@given(st.lists(LABELS, min_size=1, max_size=3))
def test_a_folder_is_given_back_only_if_it_is_inside(parts):
    try:
        assert is_inside(checked_folder(OUT.joinpath(*parts), OUT)) or not any(parts)
    except OutputError:
        return


@pytest.mark.parametrize("case", NASTY)
def test_no_image_of_a_nasty_name_is_taken(tmp_path, case, outcome):
    """A name on the disk: what a file system allows; the pair of the good images is not touched by it."""
    label = NASTY[case]
    root = make_dataset(tmp_path, "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    name = f"sub-01_acq-{label}_T2w.nii.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "sub-01" / "anat")
        try:
            Path(name).touch()
        except (OSError, ValueError):  # with a slash, a NUL, or too long: no file can have it
            parsed = parse_name(name)
            assert parsed is None or name_problem(parsed)
            outcome(
                "hostile", f"{case} as an entity of a file name", "no file can be called so; refused by name"
            )
            return
    images = open_dataset(root).images("01")
    taken = [image for image in images if not image.problem]
    assert [image.path.name for image in taken] == ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]
    outcome("hostile", f"{case} as an entity of a file name", "left out with the reason, others go on")


def test_a_name_too_long_for_its_outputs_is_left_out(tmp_path, outcome):
    name = f"sub-01_acq-{'a' * 150}_T2w.nii.gz"
    image = image_from_name(tmp_path / name, name)
    assert image is not None
    assert "characters" in image.problem
    outcome("hostile", "file name of 168 characters", "left out with the reason, others go on")


@pytest.mark.parametrize("case", sorted(NASTY.keys() - {"3000 letters"}))
def test_an_output_space_of_a_nasty_name_is_refused(case, outcome):
    label = NASTY[case]
    for word in (label, f"{label}=/tmp/x.nii.gz", f"MNI:cohort-{label}", f"MNI:res-{label}"):
        with pytest.raises(UsageError):
            output_spaces([word])
    outcome("hostile", f"{case} as --output-spaces", "refused", 64)


URIS = {
    "the parent folder": "../secret/sub-01_T1w.nii.gz",
    "the parent folder, encoded": "bids::%2e%2e/secret/sub-01_T1w.nii.gz",
    "the parent folder in the middle": "sub-01/../../secret/sub-01_T1w.nii.gz",
    "an absolute path": "/etc/sub-01_T1w.nii.gz",
    "an absolute path, encoded": "bids::%2fetc/sub-01_T1w.nii.gz",
    "another data set": "bids:other:sub-01/anat/sub-01_T1w.nii.gz",
    "a data set of dots": "bids:..:sub-01/anat/sub-01_T1w.nii.gz",
    "a file address": "file:///etc/sub-01_T1w.nii.gz",
    "a NUL": "bids::sub-01%00/anat/sub-01_T1w.nii.gz",
    "a subject of dots": "bids::sub-../anat/sub-.._T1w.nii.gz",
    "a subject with a slash": "bids::sub-01%2f..%2f..%2fx_T1w.nii.gz",
}


@pytest.mark.parametrize("case", URIS)
def test_a_row_of_a_pairs_file_stays_in_its_data_set(tmp_path, case, outcome):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    table = tmp_path / "pairs.tsv"
    table.write_text(f"fixed\tmoving\n{URIS[case]}\tsub-01/anat/sub-01_T2w.nii.gz\n", encoding="utf-8")
    with pytest.raises(NodeRegError) as error:
        read_pairs_file(table, open_dataset(root))
    assert error.value.exit_code in {64, 66}
    outcome("hostile", f"{case} in a pairs file", "refused", error.value.exit_code)


SETTINGS = {
    "an unknown key": "[settings]\nrm = '-rf /'\n",
    "a path for a word": "[settings]\ninterpolation = '../../etc/passwd'\n",
    "a table for a number": "[settings.registration.learning_rate]\nx = 1\n",
    "an unknown section": "[os]\nsystem = 'touch x'\n",
    "not TOML": "!!python/object/apply:os.system ['touch x']\n",
    "half a character": "[settings]\nx = '\\ud800'\n",
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_hostile_file_of_settings_is_refused(tmp_path, case, capsys, outcome):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz")
    (tmp_path / "s.toml").write_text(SETTINGS[case], encoding="utf-8")
    code = main(
        [str(root), str(tmp_path / "out"), "participant", "--config", str(tmp_path / "s.toml"), "--dry-run"]
    )
    assert code == 64
    assert "s.toml" in capsys.readouterr().err
    outcome("hostile", f"{case} in --config", "refused", code)


FILTERS = {
    "arguments of the library": {"t2w": {"scope": "all", "return_type": "dir"}},
    "a pattern that takes for ever": {"t2w": {"acquisition": "(a+)+$"}},
    "a path": {"t2w": {"acquisition": "../../etc"}},
    "SQL": {"t2w": {"acquisition": "'; DROP TABLE files; --"}},
    "nested objects": {"t2w": {"acquisition": {"$gt": ""}}},
}


@pytest.mark.parametrize("case", FILTERS)
def test_a_hostile_filter_file_selects_nothing(tmp_path, case, outcome):
    root = make_dataset(tmp_path / "raw", "sub-01_T1w.nii.gz", "sub-01_acq-a_T2w.nii.gz")
    (tmp_path / "f.json").write_text(json.dumps(FILTERS[case]))
    arguments = [str(root), str(tmp_path / "out"), "participant", "--dry-run"]
    code = main([*arguments, "--bids-filter-file", str(tmp_path / "f.json")])
    assert code in {18, 64}
    outcome("hostile", f"{case} in --bids-filter-file", "refused, or selects nothing", code)


def test_outputs_cannot_be_made_elsewhere():
    with pytest.raises(OutputError, match="no folder for outputs"):
        Outputs(OUT, Path("/elsewhere/sub-01/anat"), (("sub", "01"),), "T2w", "T2w", "T1w")
