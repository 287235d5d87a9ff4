"""Which pairs a run does and where their results go, looked at without doing them."""

from __future__ import annotations

import json
import logging

import pytest

from bids_nodereg.app.jobs import Participant, chosen_participants, find_jobs, open_input, why_none
from bids_nodereg.bids.sidecars import transform_sidecar
from bids_nodereg.cli import main, parse
from bids_nodereg.files import write_json
from tests.bids.make import make_dataset

T2W = "sub-01/anat/sub-01_T2w.nii.gz"
PREP = "bids:prep:sub-77/anat/sub-77_T2w.nii.gz"
LEFT_OUT = {
    "sub-01_part-phase_T2w.nii.gz": "only magnitude images",
    "sub-01_T1map.nii.gz": "quantitative map",
    "sub-01_inplaneT2.nii.gz": "slab",
}


@pytest.fixture
def words(tmp_path):
    """The command line of a small data set with a derivative that has one more participant."""
    names = ("sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz")
    raw = make_dataset(tmp_path / "raw", *names, *LEFT_OUT)
    prep = make_dataset(tmp_path / "prep", "sub-77_T2w.nii.gz")
    for path in [*raw.rglob("*.nii.gz"), *prep.rglob("*.nii.gz")]:
        path.write_bytes(b"x")
    return [str(raw), str(tmp_path / "out"), "participant", "-d", f"prep={prep}"]


def pairs_file(tmp_path, *rows):
    path = tmp_path / "pairs.tsv"
    path.write_text("fixed\tmoving\n" + "".join(f"{fixed}\t{moving}\n" for fixed, moving in rows))
    return ["--pairs-file", str(path)]


def participants(words):
    config = parse(words)
    dataset = open_input(config)
    return list(find_jobs(config, dataset, chosen_participants(config, dataset)))


def jobs(words):
    return [job for participant in participants(words) for job in participant.jobs]


def test_a_run_with_another_fixed_image_leaves_the_first_result_alone(words, tmp_path):
    names = []
    for run in (1, 2, 1, 2):
        (job,) = jobs([*words, *pairs_file(tmp_path, (f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz", T2W))])
        write_json(job.outputs.forward_json, transform_sidecar(job.pair, job.outputs))
        names.append(job.outputs.name)
    assert names == ["sub-01_from-T2w_to-T1w", "sub-01_from-T2w_to-T1wrun2"] * 2


def dry(capsys, words):
    assert main([*words, "--dry-run", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_tells_of_every_image(words, capsys):
    rows = {row["moving"].rpartition("/")[2]: row for row in dry(capsys, words)}
    for name, reason in LEFT_OUT.items():
        assert reason in rows[name]["reason"]
        assert (rows[name]["taken"], rows[name]["rule"], rows[name]["fixed"]) == (False, None, None)
    assert len(rows) == len(LEFT_OUT) + 4
    assert main([*words, "--dry-run"]) == 0
    table = capsys.readouterr().out
    for name in LEFT_OUT:
        (line,) = (line for line in table.splitlines() if name in line)
        assert line.split()[:4] == ["no", "-", "-", name]
    assert "1 pair(s) to register." in table


def test_a_dry_run_tells_of_other_sessions(tmp_path, capsys):
    names = [f"sub-01_ses-{session}_{suffix}.nii.gz" for session in "ab" for suffix in ("T1w", "T2w")]
    raw = make_dataset(tmp_path / "raw", *names)
    rows = dry(capsys, [str(raw), str(tmp_path / "out"), "participant", "--session-label", "a"])
    reasons = {row["moving"].rpartition("/")[2]: row["reason"] for row in rows}
    assert reasons["sub-01_ses-b_T2w.nii.gz"] == "session b was not asked for"
    assert len(reasons) == 4


def test_a_query_that_is_not_ours_is_told_once(words, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("nodereg"), "propagate", True)
    path = tmp_path / "filter.json"
    path.write_text('{"bold": {"task": "rest"}}')
    participants([*words, "--bids-filter-file", str(path)])
    # pytest may hear one record twice: at the logger itself and at the root.
    told = {id(record): record for record in caplog.records if "'bold' is ignored" in record.getMessage()}
    assert [record.levelno for record in told.values()] == [logging.WARNING]


def test_a_run_warns_once_of_what_was_not_fetched(tmp_path):
    names = ("T1w", "FLAIR", "PDw")
    root = make_dataset(tmp_path / "raw", *(f"sub-01_{name}.nii.gz" for name in names))
    for name in ("T2w", "acq-b_T2w"):
        (root / f"sub-01/anat/sub-01_{name}.nii.gz").symlink_to("../../.git/annex/objects/k")
    line = [str(root), str(tmp_path / "out"), "participant", "--skip-bids-validation", "--device", "cpu"]
    (found,) = participants(line)
    assert [job.pair.moving.suffix for job in found.jobs] == ["FLAIR", "PDw"]
    assert main(line) != 0  # the files are empty, so the other pairs fail
    (log,) = (tmp_path / "out" / "logs").rglob("run.log")
    (told,) = (line for line in log.read_text().splitlines() if "git-annex" in line)
    assert "WARNING" in told
    assert "sub-01/anat/sub-01_T2w.nii.gz: broken symbolic link" in told
    assert "sub-01/anat/sub-01_acq-b_T2w.nii.gz" in told


def test_without_a_file_that_every_pair_needs_the_run_ends_and_names_it(tmp_path, capsys):
    root = make_dataset(tmp_path / "raw", "sub-01_T2w.nii.gz")
    (root / "sub-01/anat/sub-01_T1w.nii.gz").symlink_to("../../.git/annex/objects/k")
    assert main([str(root), str(tmp_path / "out"), "participant", "--skip-bids-validation"]) == 66
    assert "sub-01/anat/sub-01_T1w.nii.gz: broken symbolic link" in capsys.readouterr().err


def test_a_moving_image_of_a_participant_that_only_a_derivative_has(words, tmp_path, capsys):
    table = pairs_file(
        tmp_path, ("sub-02/anat/sub-02_T1w.nii.gz", PREP), ("sub-02/anat/sub-02_T1w.nii.gz", T2W)
    )
    rows = dry(capsys, [*words, *table])
    assert {row["moving"]: row["taken"] for row in rows} == {PREP: True, f"bids:raw:{T2W}": True}
    shares = [
        [job.pair.moving.subject for job in jobs([*words, *table, "--shard", f"{i}/3"])] for i in (1, 2, 3)
    ]
    assert shares == [["01"], [], ["77"]]


def test_labels_leave_such_a_participant_out_and_say_so(words, tmp_path, capsys):
    table = pairs_file(
        tmp_path, ("sub-02/anat/sub-02_T1w.nii.gz", PREP), ("sub-02/anat/sub-02_T1w.nii.gz", T2W)
    )
    rows = dry(capsys, [*words, *table, "--participant-label", "01"])
    assert {row["moving"]: row["taken"] for row in rows} == {PREP: False, f"bids:raw:{T2W}": True}
    assert "sub-77 has no folder" in next(row["reason"] for row in rows if row["moving"] == PREP)
    found = participants([*words, *table, "--participant-label", "01"])
    assert [(each.subject, len(each.jobs), bool(each.message)) for each in found] == [
        ("01", 1, False),
        ("77", 0, True),
    ]


def test_a_label_map_is_not_carried_under_the_name_of_another(words, tmp_path, caplog):
    names = "sub-01_space-T2w_desc-aseg_dseg.nii.gz"
    for root in (tmp_path / "raw", tmp_path / "prep"):
        path = root / "sub-01" / "anat" / names
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = jobs([*words, "--participant-label", "01", "--apply-to", "desc-aseg_dseg"])
    pair = next(job.pair for job in found if job.pair.moving.suffix == "T2w")
    assert [label_map.desc for label_map in pair.moving_dseg] == ["aseg"]
    assert pair.moving_extras == ()
    assert "another label map would have its name" in caplog.text
    assert "has no such file" not in caplog.text


def test_what_many_participants_lack_is_told_once_with_their_number():
    def lacks(subject: str, why: str) -> Participant:
        return Participant(subject, (), (), f"sub-{subject}: no pair. {why}")

    one = lacks("1", "Contrasts found: T1w (1).")
    alike = [lacks(f"1{n}", f"Found: none; 1 left out (such as sub-1{n}/anat/x): y.") for n in range(3)]
    assert why_none([one]) == one.message
    assert why_none([one, *alike]) == (
        "sub-10 and 2 more: no pair. Found: none; 1 left out (such as sub-10/anat/x): y. " + one.message
    )
    different = [lacks(f"2{n}", f"Contrasts found: T1w ({n}).") for n in range(5)]
    assert why_none(different).endswith("T1w (2). 2 more for other reasons.")


def test_a_pairs_file_that_leaves_nothing_is_told_once(words, tmp_path, capsys):
    rows = pairs_file(tmp_path, ("sub-01/anat/sub-01_run-1_T1w.nii.gz", T2W))
    code = main([*words, *rows, "--participant-label", "02", "--dry-run"])
    told = capsys.readouterr().err
    assert code == 66
    assert "nothing to register. sub-02: no usable row in the pairs file. The table shows" in told
