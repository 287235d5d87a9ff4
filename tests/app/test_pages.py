"""The pages of a run: viewers when they are asked for, and links that lead somewhere."""

from __future__ import annotations

import csv
import json
import os
import re

import pytest

from bids_nodereg.app import pages
from bids_nodereg.cli import main
from bids_nodereg.quality import viewer
from tests.quality.pages import Page
from tests.quality.test_viewer import volumes

VIEWER = "sub-01/figures/sub-01_from-T2w_to-T1w_viewer.html"


def test_a_viewer_is_made_of_a_finished_pair_and_linked_once(finished):
    pytest.importorskip("nilearn", minversion="0.14")
    page, path = finished.out / "sub-01.html", finished.out / VIEWER
    assert VIEWER not in page.read_text("utf-8")
    marker = finished.forward_h5.with_suffix(".json").stat().st_mtime_ns

    assert finished.again("--interactive-report") == 0

    assert finished.forward_h5.with_suffix(".json").stat().st_mtime_ns == marker  # not registered again
    assert VIEWER in Page(page.read_text("utf-8")).links
    text = path.read_text("utf-8")
    found = volumes(text)
    assert set(found) == {"fixed", "registered", "jacobian"}
    assert found["fixed"][1].shape == found["registered"][1].shape
    assert path.stat().st_size < 10e6
    (back,) = [link for link in Page(text).links if "html" in link]
    name, anchor = back.split("#")
    assert (path.parent / name).resolve() == page
    assert anchor in Page(page.read_text("utf-8")).ids
    written = path.stat().st_mtime_ns
    assert finished.again("--interactive-report") == 0
    assert path.stat().st_mtime_ns == written


def test_a_viewer_of_a_result_that_is_replaced_goes(rigid):
    pytest.importorskip("nilearn", minversion="0.14")
    assert rigid.again("--transform", "rigid", "--reports-only", "--interactive-report") == 0
    path = rigid.out / VIEWER
    assert set(volumes(path.read_text("utf-8"))) == {"fixed", "registered"}  # one Jacobian for all places

    assert rigid.again("--transform", "rigid", "--force") == 0

    assert not path.exists()
    assert VIEWER not in (rigid.out / "sub-01.html").read_text("utf-8")


def test_without_niivue_nothing_is_begun(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(viewer, "find_spec", lambda _name: None)
    out = tmp_path / "out"

    assert study.run(out, "--participant-label", "01", "--interactive-report") == 66

    assert "pip install 'bids-nodereg[viewer]'" in capsys.readouterr().err
    assert not list(out.glob("**/*"))


def test_the_group_page_leads_to_the_sections_of_the_participants(finished):
    assert main([str(finished.study.raw), str(finished.out), "group"]) == 0
    page = Page((finished.out / "group_registration.html").read_text("utf-8"))
    others = {link for link in page.links if not link.startswith("#")}
    assert "group_registration.tsv" in others
    assert len(others) == 3
    for link in others:
        name, _, anchor = link.partition("#")
        target = (finished.out / name).read_text("utf-8")
        assert not anchor or anchor in Page(target).ids


def test_the_group_table_says_of_what_kind_a_pair_is(finished):
    quality = finished.stem.with_name(f"{finished.stem.name}_mode-image_qc.json")
    assert json.loads(quality.read_text())["Pair"] == {
        "Rule": "within-session",
        "Moving": "T2w",
        "Fixed": "T1w",
    }
    for number in range(2, 12):  # a cohort of copies, with one far off
        content = json.loads(quality.read_text())
        content["Measures"]["nmi_after"] += 0.001 * number if number < 11 else 0.4
        other = (
            finished.out / f"sub-{number:02d}" / "anat" / quality.name.replace("sub-01", f"sub-{number:02d}")
        )
        other.parent.mkdir(parents=True)
        other.write_text(json.dumps(content))
    assert main([str(finished.study.raw), str(finished.out), "group"]) == 0
    with (finished.out / "group_registration.tsv").open() as stream:
        rows = {row["participant_id"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert len(rows) == 11
    assert re.fullmatch(r"nmi_after \(z \+[\d.]+\)", rows["sub-11"].pop("outliers"))
    assert {row.get("outliers", "none") for row in rows.values()} == {"none"}
    assert {row["session_id"] for row in rows.values()} == {"n/a"}
    assert {(row["rule"], row["moving"], row["fixed"]) for row in rows.values()} == {
        ("within-session", "T2w", "T1w")
    }


def test_no_readable_quality_file_is_an_error_in_words(study, tmp_path, capsys):
    path = tmp_path / "sub-01" / "anat" / "sub-01_from-T2w_to-T1w_mode-image_qc.json"
    path.parent.mkdir(parents=True)
    path.write_text("[]")

    assert main([str(study.raw), str(tmp_path), "group"]) == 65

    assert "none of 1 *_qc.json can be read" in capsys.readouterr().err


SECTION = "sub-01/figures/sub-01_from-T2w_to-T1w_report.json"
ANCHOR = 'id="sub-01-from-T2w-to-T1w"'


def test_pairs_of_an_interrupted_run_come_onto_the_page(finished):
    page, section = finished.out / "sub-01.html", finished.out / SECTION
    page.write_text("a page from before that pair")
    before = section.stat().st_mtime_ns - 1_000_000_000
    os.utime(page, ns=(before, before))

    assert finished.again() == 0

    assert {row["status"] for row in finished.statuses().values()} == {"already done"}
    assert ANCHOR in page.read_text("utf-8")
    written = page.stat().st_mtime_ns
    assert finished.again() == 0
    assert page.stat().st_mtime_ns == written


@pytest.mark.parametrize("options", [(), ("--reports-only",)])
def test_a_page_that_cannot_be_written_tells_in_the_exit_code(finished, options):
    page = finished.out / "sub-01.html"
    page.unlink()
    page.mkdir()  # no file can take this name

    assert finished.again(*options) == 73


def test_reports_of_nothing_are_refused(study, tmp_path, capsys):
    out = tmp_path / "out"

    assert study.run(out, "--participant-label", "01", "--reports-only") == 66

    assert "no registered pair to report" in capsys.readouterr().err
    assert not list(out.glob("*.html"))


def test_reports_only_asks_for_the_verdict_too(finished):
    quality = finished.stem.with_name(f"{finished.stem.name}_mode-image_qc.json")
    quality.write_text(json.dumps({**json.loads(quality.read_text()), "Verdict": "fail"}))

    assert finished.again("--reports-only", "--fail-on-qc") == 1
    assert finished.again("--reports-only") == 0


def test_a_pair_that_is_not_registered_yet_is_not_refused_by_its_verdict(finished, tmp_path):
    table = tmp_path / "pairs.tsv"
    rows = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_acq-b_T1w.nii.gz")
    table.write_text(
        "fixed\tmoving\n" + "".join(f"{fixed}\tsub-01/anat/sub-01_T2w.nii.gz\n" for fixed in rows)
    )

    assert finished.again("--pairs-file", str(table), "--reports-only", "--fail-on-qc") == 0


def damage(path, name, value, other):
    """Write a file again under another name with one measure that is none."""
    content = json.loads(path.read_text())
    key = "Measures" if "Measures" in content else "measures"
    content[key][name] = value
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text(json.dumps(content))


def test_a_damaged_section_is_left_out_and_named(finished):
    section = finished.out / SECTION
    other = section.with_name(section.name.replace("T2w", "PDw"))
    damage(section, "nmi_after", "high", other)

    assert finished.again("--reports-only") == 0

    assert ANCHOR in (finished.out / "sub-01.html").read_text("utf-8")
    log = (finished.logs()[-1] / "run.log").read_text()
    assert f"{other} cannot be shown (nmi_after is 'high'" in log
    section.unlink()
    assert finished.again("--reports-only") == 65
    assert "none of 1 *_report.json can be shown" in (finished.logs()[-1] / "run.log").read_text()


def test_no_fault_in_one_page_stops_the_other_participants(finished, monkeypatch):
    def fail(*_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(pages, "write_report", fail)

    assert finished.again("--reports-only") == 1

    log = (finished.logs()[-1] / "run.log").read_text()
    assert "sub-01.html could not be written by a fault of nodereg: ZeroDivisionError" in log


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "high"])
def test_a_quality_file_with_a_measure_that_is_no_number_is_left_out(finished, value, capsys):
    quality = finished.stem.with_name(f"{finished.stem.name}_mode-image_qc.json")
    other = finished.out / "sub-02" / "anat" / quality.name.replace("sub-01", "sub-02")
    damage(quality, "nmi_after", value, other)

    assert main([str(finished.study.raw), str(finished.out), "group"]) == 0

    with (finished.out / "group_registration.tsv").open() as stream:
        assert [row["participant_id"] for row in csv.DictReader(stream, delimiter="\t")] == ["sub-01"]
    assert re.search(r"sub-02_\S+ cannot\s+be read", re.sub(r"\s+", " ", "".join(capsys.readouterr())))
