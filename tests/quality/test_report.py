from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bids_nodereg.errors import MissingInputError
from bids_nodereg.quality.measures import measure_pair
from bids_nodereg.quality.records import FailedPair, from_json, to_json
from bids_nodereg.quality.report import render_subject
from bids_nodereg.quality.report_tables import label_rows, measure_groups, number, tiles
from tests.quality.pages import EVIL, FACTS, Page, image, pair_report
from tests.quality.test_measures import registered_pair

if TYPE_CHECKING:
    from pathlib import Path


def render(folder: Path, *pairs: object, **options: object) -> str:
    path = render_subject("sub-01", pairs, folder / "sub-01.html", version="0.1.0", **options)
    return path.read_text(encoding="utf-8")


def with_figures(folder: Path) -> dict[str, str]:
    (folder / "figures").mkdir()
    files = {"fixed": "a.webp", "before": "b.webp", "after": "c.webp", "histogram": "d.svg"}
    for name in files.values():
        (folder / "figures" / name).write_bytes(name.encode())
    return {figure: f"figures/{name}" for figure, name in files.items()}


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    other = pair_report(key="flair-t1w", title="FLAIR onto T1w", measures={}, labels_after=())
    text = render(tmp_path, pair_report(figures=with_figures(tmp_path)), other)
    page = Page(text)

    assert page.loads
    assert all(address.startswith("data:image/") for address in page.loads)
    assert not re.search(r"(https?:)?//[a-z]", text.split("<script>")[0])
    assert "@import" not in text
    assert "url(" not in text
    assert sorted(set(page.ids)) == sorted(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    embedded = base64.b64encode(b"c.webp").decode()
    assert f"data:image/webp;base64,{embedded}" in page.loads


def test_the_policy_allows_exactly_the_script_of_the_page(tmp_path: Path) -> None:
    text = render(tmp_path, pair_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    scripts = Page(text).scripts

    assert policy is not None
    rules = policy.group(1).replace("&#39;", "'")
    assert "default-src 'none'" in rules
    digest = base64.b64encode(hashlib.sha256("".join(scripts).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in rules
    assert len(re.findall(r"<script", text)) == 1


def test_markup_from_a_data_set_is_shown_as_text(tmp_path: Path) -> None:
    pair = pair_report(
        title=EVIL,
        fixed=replace(image(EVIL, EVIL), notes=(EVIL,)),
        provenance={EVIL: EVIL},
        settings={"Preset": EVIL},
    )
    failed = FailedPair("bad", EVIL, EVIL, EVIL, EVIL, EVIL)

    path = render_subject(EVIL, [pair], tmp_path / "x.html", version="0.1.0", failed=[failed], run=EVIL)
    text = path.read_text(encoding="utf-8")

    assert "alert(" in text
    assert len(re.findall(r"<script", text)) == 1
    assert "<img src=x" not in text
    Page(text)


def test_errors_are_on_the_page(tmp_path: Path) -> None:
    failed = FailedPair(
        "pdw", "PDw onto T1w", "a.nii.gz", "b.nii.gz", "3 voxels are not finite", "logs/run.log"
    )

    text = render(tmp_path, failed=[failed])

    for words in ("3 voxels are not finite", "logs/run.log", "a.nii.gz", "1 failed"):
        assert words in text


def test_the_masks_are_shown_with_where_they_came_from(tmp_path: Path) -> None:
    figures = with_figures(tmp_path)
    for name in ("fixedmask", "movingmask"):
        (tmp_path / "figures" / name).with_suffix(".webp").write_bytes(name.encode())
    shown = {**figures, **{name: f"figures/{name}.webp" for name in ("fixedmask", "movingmask")}}
    fixed, moving = (
        replace(image("a.nii.gz", contrast), mask_origin=f"<made> by {contrast}")
        for contrast in ("T1w", "T2w")
    )
    with_masks = render(tmp_path, pair_report(figures=shown, fixed=fixed, moving=moving))
    section = with_masks.split('id="t2w-t1w-masks"')[1].split("<h3")[0]

    Page(with_masks)
    for words in (
        "Fixed mask (T1w): &lt;made&gt; by T1w.",
        'alt="Fixed image with the outline of its mask, in three planes"',
        'alt="Registered moving image with the outline of its mask, in three planes"',
        base64.b64encode(b"movingmask").decode(),
    ):
        assert words in section
    assert re.search(r"Moving mask \(T2w\), [^:]*: &lt;made&gt; by T2w\.", section)
    assert "-masks" not in render(tmp_path, pair_report(figures=figures))  # of an earlier version


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"gone\.webp"):
        render(tmp_path, pair_report(figures={"fixed": "sub-01/figures/gone.webp"}))
    assert list(tmp_path.iterdir()) == []


def test_a_pair_survives_json_and_gives_the_same_page(tmp_path: Path) -> None:
    pair = pair_report(figures=with_figures(tmp_path))
    again = from_json(json.loads(json.dumps(to_json(pair), allow_nan=False)))

    assert again == pair
    assert render(tmp_path, again) == render(tmp_path, pair)


def test_before_and_after_stand_on_one_line() -> None:
    groups = measure_groups(measure_pair(registered_pair()))
    rows = {row.key: row for group in groups.values() for row in group}

    assert next(iter(groups)) == "Similarity"
    assert not [key for key in rows if "before" in key]
    assert rows["nmi_after"].before
    assert rows["nmi_after"].change == "better"
    assert rows["ncc_after"].change == ""
    assert rows["folded_voxels"].before == ""


def test_a_score_that_fell_is_called_worse() -> None:
    groups = measure_groups({"hd95_mean_before_mm": 2.0, "hd95_mean_after_mm": 2.5, "nmi_after": None})
    rows = {row.key: row for group in groups.values() for row in group}

    assert rows["hd95_mean_after_mm"].change == "worse"
    assert (rows["hd95_mean_after_mm"].before, rows["hd95_mean_after_mm"].after) == ("2.00", "2.50")
    assert rows["nmi_after"].after == "n/a"


def test_labels_before_and_after_and_what_is_missing() -> None:
    (row,) = label_rows(pair_report())

    assert (row.dice_before, row.dice_after, row.change) == ("0.500", "0.800", "better")
    assert (row.hd95_before, row.hd95_after, row.part) == ("3.00", "n/a", 80.0)


@pytest.mark.parametrize(
    ("value", "units", "words"),
    [
        (None, "mm", "n/a"),
        (1234567.0, "voxels", "1,234,567"),
        (0.0004, "fraction", "0.04 %"),
        (1.236, "mm", "1.24"),
        (1.23456, "1", "1.235"),
    ],
)
def test_numbers_have_the_digits_their_unit_deserves(value: float | None, units: str, words: str) -> None:
    assert number(value, units) == words


def test_headline_numbers_are_only_those_that_exist() -> None:
    assert [tile.label for tile in tiles(pair_report())] == ["NMI", "Folded voxels"]
    assert tiles(pair_report(measures={})) == ()


def test_the_methods_are_those_of_the_pairs_on_the_page(tmp_path):
    """Pairs of the same settings share a text, others have their own, and each is of what was done."""
    flair = pair_report(key="flair", facts=replace(FACTS, moving_contrasts=("FLAIR",)))
    t2w = pair_report(facts=replace(FACTS, moving_contrasts=("T2w",)))
    rigid = pair_report(key="rigid", facts=replace(FACTS, moving_contrasts=("PDw",), transform="rigid"))
    page = render(tmp_path, flair, t2w, rigid)
    assert "FLAIR and T2w images were registered" in page
    assert "PDw images were registered" in page
    assert page.count("The deformation is the flow") == 1
    assert "No pair was registered" in render(tmp_path)


def test_pairs_onto_templates_share_the_text_of_the_others(tmp_path):
    """What one run does with T1w, T2w, a template of TemplateFlow and a file: one text."""
    link = replace(FACTS, moving_contrasts=("T2w",), lesion_masks=("fixed",))
    theirs = {"templates": ("MNI152NLin6Asym",), "templateflow": ("MNI152NLin6Asym",), "fixed_contrasts": ()}
    mine = {"templates": ("mine",), "fixed_contrasts": ()}
    direct, composed = {"moving_contrasts": ("T1w",)}, {"moving_contrasts": (), "composed": ("T2w",)}
    facts = [link, *(replace(FACTS, **onto, **way) for onto in (theirs, mine) for way in (direct, composed))]

    page = render(tmp_path, *(pair_report(key=f"pair-{n}", facts=each) for n, each in enumerate(facts)))

    assert page.count("images were registered to") == 1
    assert "T1w and T2w images were registered to T1w images and the templates" in page
    assert "mine, of which MNI152NLin6Asym came from TemplateFlow" in page
    assert "T2w images were brought to the templates through the reference image" in page


@pytest.mark.parametrize("value", ["high", [1.0], True, math.nan, math.inf, 10**400])
def test_a_number_that_is_none_is_refused_in_reading(value):
    whole = json.loads(json.dumps(to_json(pair_report())))

    with pytest.raises((TypeError, ValueError), match="nmi_after is "):
        from_json({**whole, "measures": {**whole["measures"], "nmi_after": value}})
    with pytest.raises((TypeError, ValueError), match="dice is "):
        from_json({**whole, "labels_after": [{**whole["labels_after"][0], "dice": value}]})


def test_a_pair_survives_json(tmp_path):
    pair = pair_report()
    assert from_json(json.loads(json.dumps(to_json(pair)))) == pair
