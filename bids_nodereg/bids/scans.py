"""When a participant's sessions were: read from ``scans.tsv`` and ``sessions.tsv``.

The first of these that is known of every session counts, because times of different kinds cannot be
compared: the date and time ``acq_time`` of the earliest anatomical image in the session's ``scans.tsv``;
that of the session in ``sessions.tsv`` (dates may be shifted in one table and not in the other, so the two
are never mixed); a number of days in ``sessions.tsv`` (``days_since_first`` and whatever else begins with
``days_since_``); the ``age`` there, in years unless ``sessions.json`` says otherwise. Dates that were
shifted to hide them are as good as true ones.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from bids_nodereg.bids.names import strip_prefix
from bids_nodereg.bids.sessions import Timeline
from bids_nodereg.errors import NodeRegError
from bids_nodereg.json_files import read_json
from bids_nodereg.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = dict[str, str]

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?)?(?:Z|\+00:00)?")
_DAYS_PER = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "year": 365.25}
_SECONDS_PER_DAY = 86400


def read_timeline(root: Path, subject: str, sessions: Sequence[str]) -> Timeline:
    """Read when the sessions of a participant were.

    Parameters
    ----------
    root
        Root of the data set.
    subject
        Label without ``sub-``.
    sessions
        Labels without ``ses-`` of the sessions to be compared.

    Returns
    -------
    Timeline
        Without days where one session lacks them. A table that cannot be read does not stop the
        run, because pairs can be made without it; the notes tell of it.
    """
    notes: list[str] = []
    folder = root / f"sub-{subject}"
    table = folder / f"sub-{subject}_sessions.tsv"
    rows = {strip_prefix(row.get("session_id", ""), "ses"): row for row in _rows(table, notes)}
    scans = {label: _scan_time(folder, subject, label, notes) for label in sessions}
    dated = {label: _day_of(rows.get(label, {}).get("acq_time", "")) for label in sessions}
    absolute = {"acq_time of scans.tsv": scans, "acq_time of sessions.tsv": dated}
    scales = {**absolute, **_relative_scales(root, table, rows, sessions)}
    for source, days in scales.items():
        known = tuple((label, day) for label, day in days.items() if day is not None)
        if sessions and len(known) == len(sessions):
            return Timeline(known, source, tuple(notes))
    return Timeline(notes=tuple(notes))


def _relative_scales(
    root: Path, table: Path, rows: Mapping[str, Row], sessions: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Columns of plain numbers, in days, by where they are from; the preferred one first."""
    columns = list(next(iter(rows.values()), {}))
    chosen = {column: 1.0 for column in columns if column.lower().startswith("days_since_")}
    chosen |= {column: _age_unit(root, table) for column in columns if column.lower() == "age"}
    return {
        f"{column} of sessions.tsv": {
            label: _number(rows.get(label, {}).get(column, ""), per_day) for label in sessions
        }
        for column, per_day in chosen.items()
    }


def _scan_time(folder: Path, subject: str, session: str, notes: list[str]) -> float | None:
    """Day of the earliest anatomical image of a session, or of the earliest one of any kind."""
    inner = (f"ses-{session}",) if session else ()
    name = "_".join((f"sub-{subject}", *inner, "scans.tsv"))
    rows = _rows(folder.joinpath(*inner, name), notes)
    anatomical = [row for row in rows if row.get("filename", "").startswith("anat/")]
    for group in (anatomical, rows):
        days = [day for row in group if (day := _day_of(row.get("acq_time", ""))) is not None]
        if days:
            return min(days)
    return None


def _rows(path: Path, notes: list[str]) -> list[Row]:
    if not path.is_file():
        return []
    try:
        return [row for _, row in read_table(path)]
    except NodeRegError as error:
        notes.append(f"{error} The times in it are not used.")
        return []


def _day_of(text: str) -> float | None:
    """Day, with its fraction, of a BIDS date and time; None if it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        time = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}").replace(tzinfo=timezone.utc)
    except ValueError:  # the 31st of June
        return None
    return time.timestamp() / _SECONDS_PER_DAY


def _number(text: str, days_per_unit: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value * days_per_unit if math.isfinite(value) else None


def _age_unit(root: Path, table: Path) -> float:
    """Days in the unit of ``age``; BIDS means years where no unit is told."""
    for path in (table.with_suffix(".json"), root / "sessions.json"):
        try:
            unit = read_json(path)["age"]["Units"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return _DAYS_PER.get(str(unit).strip().lower().rstrip("s"), _DAYS_PER["year"])
    return _DAYS_PER["year"]
