"""One self-contained HTML page for all pairs of an output folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from bids_nodereg.files import write_text
from bids_nodereg.quality.cohort import (
    KEY_MEASURES,
    LEAST_PAIRS,
    UNUSUAL,
    CohortRow,
    Outlier,
    column,
    find_outliers,
    kinds,
)
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.figures.strip import Column, Strip, strip
from bids_nodereg.quality.page import asset, environment, policy
from bids_nodereg.quality.report_tables import NOTHING, number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORST_FIRST = ("fail", "check", "pass")
STATIC_ROWS = 50
"""Rows that stand in the page itself, for readers without scripts."""


@dataclass(frozen=True)
class Kind:
    """A line of the overview: pairs of one rule and one pair of contrasts."""

    name: str
    pairs: int
    counts: dict[str, int]
    outlying: int | None
    nmi: str


@dataclass(frozen=True)
class Panel:
    """The strip plot of one measure."""

    name: str
    units: str
    text: str
    strip: Strip


@dataclass(frozen=True)
class TableRow:
    """A line of the table of pairs, in words."""

    pair: str
    link: str
    kind: str
    verdict: str
    reasons: tuple[str, ...]
    outliers: str
    values: tuple[str, ...]


def render_group(rows: Sequence[CohortRow], out_html: Path, *, version: str) -> Path:
    """Write the page of a cohort.

    Parameters
    ----------
    rows
        Registered pairs; the pages of their participants lie in the folder of ``out_html``.
    out_html
        Final name; the page appears there only when whole.
    version
        Of the program that writes the page.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    outliers = find_outliers(rows)
    keys = tuple(key for key in KEY_MEASURES if any(row.measures.get(key) is not None for row in rows))
    order = sorted(range(len(rows)), key=lambda place: _urgency(rows[place], outliers[place]))
    style, script = asset("report.css") + asset("group.css"), asset("group.js")
    page = (
        environment()
        .get_template("group.html.j2")
        .render(
            rows=rows,
            kinds=_overview(rows, outliers),
            panels=_panels(rows, keys),
            table=[_table_row(rows[place], outliers[place], keys) for place in order[:STATIC_ROWS]],
            columns=[DICTIONARY[key] for key in keys],
            counts=Counter(row.verdict for row in rows),
            participants=len({row.participant for row in rows}),
            links=[link_of(row.pair) for row in rows],
            least=LEAST_PAIRS,
            unusual=UNUSUAL,
            version=version,
            # Files of this package, and JSON in which no character can end the element it stands in.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            data=Markup(_data(rows, outliers, keys, order)),  # noqa: S704
            policy=policy(style, script),
        )
    )
    write_text(out_html, page)
    return out_html


def link_of(pair: str) -> str:
    """Give the address of a pair's section in the page of its participant."""
    page, anchor = (quote(each, errors="replace") for each in (pair.split("_", 1)[0], pair.replace("_", "-")))
    return f"{page}.html#{anchor}"


def outlier_words(outliers: Sequence[Outlier] | None) -> str:
    """Write the outliers of a pair in a cell: ``n/a`` where they were not looked for."""
    if outliers is None:
        return NOTHING
    return ", ".join(f"{outlier.key} (z {outlier.z:+.1f})" for outlier in outliers) or "none"


def _urgency(row: CohortRow, outliers: Sequence[Outlier] | None) -> tuple[int, int, str]:
    """Sort what needs a look to the top."""
    rank = WORST_FIRST.index(row.verdict) if row.verdict in WORST_FIRST else 0
    return (rank, -len(outliers or ()), row.pair)


def _kind_name(kind: tuple[str, str, str]) -> str:
    rule, moving, fixed = kind
    return f"{moving} onto {fixed} ({rule})"


def _overview(rows: Sequence[CohortRow], outliers: Sequence[Sequence[Outlier] | None]) -> list[Kind]:
    found = []
    for kind, places in kinds(rows).items():
        judged = [outliers[place] for place in places]
        found.append(
            Kind(
                name=_kind_name(kind),
                pairs=len(places),
                counts=Counter(rows[place].verdict for place in places),
                outlying=None if all(each is None for each in judged) else sum(bool(each) for each in judged),
                nmi=number(_median_nmi(rows, places)),
            )
        )
    return found


def _median_nmi(rows: Sequence[CohortRow], places: Sequence[int]) -> float | None:
    """Median NMI, of the pairs that have one."""
    values = [value for place in places if (value := rows[place].measures.get("nmi_after")) is not None]
    return median(values) if values else None


def _panels(rows: Sequence[CohortRow], keys: Sequence[str]) -> list[Panel]:
    panels = []
    for key in keys:
        columns = [
            Column(_kind_name(kind), column(rows, places, key), places)
            for kind, places in kinds(rows).items()
        ]
        drawn = strip(columns)
        if drawn is not None:
            entry = DICTIONARY[key]
            units = "" if entry.units == "1" else entry.units
            panels.append(Panel(entry.name.removesuffix(", registered"), units, entry.text, drawn))
    return panels


def _table_row(row: CohortRow, outliers: Sequence[Outlier] | None, keys: Sequence[str]) -> TableRow:
    return TableRow(
        pair=row.pair,
        link=link_of(row.pair),
        kind=_kind_name(row.kind),
        verdict=row.verdict,
        reasons=row.reasons,
        outliers=outlier_words(outliers),
        values=tuple(number(row.measures.get(key), DICTIONARY[key].units) for key in keys),
    )


def _data(
    rows: Sequence[CohortRow],
    outliers: Sequence[Sequence[Outlier] | None],
    keys: Sequence[str],
    order: Sequence[int],
) -> str:
    """Write all rows for the script of the page, small enough for ten thousand."""
    names = [_kind_name(kind) for kind in kinds(rows)]
    table = [
        [
            rows[place].pair,
            link_of(rows[place].pair),
            names.index(_kind_name(rows[place].kind)),
            rows[place].verdict,
            list(rows[place].reasons),
            outlier_words(outliers[place]),
            len(outliers[place] or ()),
            *(_short(rows[place].measures.get(key)) for key in keys),
        ]
        for place in order
    ]
    units = [DICTIONARY[key].units for key in keys]
    text = json.dumps({"kinds": names, "units": units, "rows": table}, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
