"""The page of a cohort: whole, safe, small, and true to its numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bids_nodereg.quality.cohort import CohortRow
from bids_nodereg.quality.figures.strip import MARGIN, MOST_DOTS, WIDTH, Column, strip
from bids_nodereg.quality.group_report import _overview, render_group
from tests.quality.pages import EVIL, Page

if TYPE_CHECKING:
    from pathlib import Path


def cohort(count: int) -> list[CohortRow]:
    """Pairs whose NMI rises with their number; the first is far below."""
    rows = []
    for number in range(count):
        measures = {"nmi_after": 1.1 + 0.0001 * number, "folded_fraction": 0.0, "displacement_p95_mm": None}
        name = f"sub-{number:05d}_ses-1_from-T2w_to-T1w"
        rows.append(CohortRow(name, "within-session", "T2w", "T1w", "pass", (), measures))
    rows[0] = replace(
        rows[0], measures={**rows[0].measures, "nmi_after": 0.9}, verdict="fail", reasons=("Far off.",)
    )
    return rows


def render(folder: Path, rows: list[CohortRow]) -> str:
    return render_group(rows, folder / "group.html", version="0.1.0").read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, list[list[object]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    text = render(tmp_path, cohort(20))
    page = Page(text)

    assert page.loads == []
    assert "default-src 'none'" in text.replace("&#39;", "'")
    assert not re.search(r"https?://", text)
    assert "sub-00003.html#sub-00003-ses-1-from-T2w-to-T1w" in page.links
    assert {link for link in page.links if link.startswith("#")} == {"#overview", "#measures", "#pairs"}


def test_what_needs_a_look_comes_first_and_every_pair_is_there(tmp_path: Path) -> None:
    rows = data_of(render(tmp_path, cohort(20)))["rows"]

    assert len(rows) == 20
    pair, link, kind, verdict, reasons, outliers, count, nmi, *_ = rows[0]
    assert (pair, kind, verdict, reasons, count, nmi) == (
        "sub-00000_ses-1_from-T2w_to-T1w",
        0,
        "fail",
        ["Far off."],
        1,
        0.9,
    )
    assert link == "sub-00000.html#sub-00000-ses-1-from-T2w-to-T1w"
    assert str(outliers).startswith("nmi_after (z -")
    assert all(row[5] == "none" for row in rows[1:])


def test_a_measure_that_no_pair_has_is_not_shown(tmp_path: Path) -> None:
    text = render(tmp_path, cohort(3))

    assert "Displacement, 95th" not in text
    assert "Normalised mutual information" in text
    assert data_of(text)["rows"][0][5] == "n/a"  # three pairs say nothing of outliers


def test_markup_from_a_file_is_shown_as_text(tmp_path: Path) -> None:
    rows = cohort(9)
    rows[3] = replace(
        rows[3], pair=f"sub-{EVIL}_from-a_to-b", rule=EVIL, moving=EVIL, verdict=EVIL, reasons=(EVIL,)
    )

    text = render(tmp_path, rows)

    assert "alert(" in text
    assert len(re.findall(r"<script", text)) == 2
    assert "<img" not in text
    assert EVIL in str(data_of(text))
    Page(text)


def test_many_pairs_make_a_small_page(tmp_path: Path) -> None:
    """Dots and rows are few in the page itself, whatever the number of pairs."""
    small, large = render(tmp_path, cohort(400)), render(tmp_path, cohort(4000))

    assert len(large) < 1.2e6
    assert small.count("<circle") == large.count("<circle")
    assert len(data_of(large)["rows"]) == 4000


def test_dots_lie_where_their_values_are() -> None:
    values = np.array([0.0, 1.0, 2.0, 4.0, np.nan])
    drawn = strip([Column("T2w onto T1w", values, [10, 11, 12, 13, 14])])

    assert drawn is not None
    (row,) = drawn.rows
    assert [dot.pair for dot in row.dots] == [10, 11, 12, 13]
    assert row.median is None  # four values have no usual range
    places = [dot.x for dot in row.dots]
    wide = WIDTH - 2 * MARGIN
    assert places == pytest.approx([MARGIN + part * wide for part in (0, 0.25, 0.5, 1)], abs=0.1)
    for place, words in drawn.ticks:
        assert place == pytest.approx(MARGIN + float(words) / 4 * wide, abs=0.1)


def test_a_value_far_out_does_not_press_the_others_together() -> None:
    values = np.append(np.linspace(1, 2, 99), 1000.0)
    drawn = strip([Column("", values, range(100))])

    assert drawn is not None
    (row,) = drawn.rows
    assert row.dots[-1].is_outlier
    assert row.dots[-1].is_beyond
    assert row.dots[-1].x == pytest.approx(WIDTH - MARGIN, abs=0.1)
    assert row.dots[98].x - row.dots[0].x > 0.4 * WIDTH
    assert not any(dot.is_beyond for dot in row.dots[:-1])


def test_a_crowd_is_drawn_as_a_shape_with_its_outliers() -> None:
    values = np.append(np.random.default_rng(0).normal(size=5 * MOST_DOTS), [12.0, -12.0])
    drawn = strip([Column("", values, range(len(values)))])

    assert drawn is not None
    (row,) = drawn.rows
    assert row.outline.startswith("M")
    assert {dot.pair for dot in row.dots} >= {len(values) - 1, len(values) - 2}
    assert len(row.dots) < 10
    assert row.usual is not None
    assert row.median is not None
    assert row.usual[0] < row.median < row.usual[1]


@pytest.mark.parametrize("middle", [1.0, 0.0, -30.0, 4e-7, 1e6])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-5, 2e-3, 0.3])
def test_ticks_tell_values_apart_however_much_they_agree(middle: float, spread: float) -> None:
    values = middle + spread * (middle or 1.0) * np.linspace(-1, 1, 9)
    drawn = strip([Column("", values, range(9))])

    assert drawn is not None
    words = [each for _, each in drawn.ticks]
    assert len(words) >= 3
    assert len({float(each) for each in words}) == len(words)
    # equal distances on the drawing are equal distances in words
    places, written = np.array([place for place, _ in drawn.ticks]), np.array(words, float)
    slope = np.diff(written) / np.diff(places)
    assert slope == pytest.approx(np.full(len(slope), slope.mean()), rel=0.05)
    assert max(map(len, words)) <= 11


def test_what_agrees_to_many_digits_lies_together() -> None:
    drawn = strip([Column("", np.array([1 - 1e-6, 1.0, 1.0, 1 + 1e-6]), range(4))])

    assert drawn is not None
    assert [dot.x for dot in drawn.rows[0].dots] == pytest.approx([WIDTH / 2] * 4, abs=1)


def test_a_measure_without_any_value_has_no_plot() -> None:
    assert strip([Column("", np.full(5, np.nan), range(5))]) is None


def test_the_median_of_an_even_count_lies_between_the_two_in_the_middle() -> None:
    values = (1.5, 1.1, 1.9, 1.2)
    rows = [
        replace(row, measures={"nmi_after": value})
        for row, value in zip(cohort(5), (*values, None), strict=True)
    ]

    (kind,) = _overview(rows, [()] * 5)

    assert float(kind.nmi) == 1.35
