"""Numbers of a report as rows of words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.quality.dictionary import DICTIONARY, Description

if TYPE_CHECKING:
    from bids_nodereg.quality.measures import Measures
    from bids_nodereg.quality.records import PairReport

NOTHING = "n/a"
UNCHANGED = 0.002
"""Relative change of a score that is not worth a mark: resampling alone makes as much."""


@dataclass(frozen=True)
class Tile:
    """A headline number: its label, value, and one line below."""

    label: str
    value: str
    below: str


@dataclass(frozen=True)
class MeasureRow:
    """A line of the table of measures.

    Attributes
    ----------
    name, units, text
        From the dictionary.
    before, after
        Values as words; ``before`` is empty for a measure that has no before.
    change
        Whether it became ``better``, ``worse`` or neither (empty).
    key
        Key of the value, for those who look for it in the JSON.
    """

    name: str
    units: str
    text: str
    before: str
    after: str
    change: str
    key: str


@dataclass(frozen=True)
class LabelRow:
    """A line of the table of labels, before and after."""

    label: int
    name: str
    dice_before: str
    dice_after: str
    hd95_before: str
    hd95_after: str
    volume: str
    part: float
    change: str


def number(value: float | None, units: str = "1") -> str:
    """Write a value with as many digits as its unit deserves."""
    if value is None:
        return NOTHING
    if units == "voxels":
        return f"{value:,.0f}"
    if units == "fraction":
        return f"{100 * value:.3g} %"
    if units in {"mm", "s"}:
        return f"{value:.2f}"
    if units == "MiB":
        return f"{value:,.0f}"
    return f"{value:.4g}"


def tiles(pair: PairReport) -> tuple[Tile, ...]:
    """Choose the numbers a reader wants first; those that are missing are left out."""
    get = pair.measures.get
    found = []
    if get("nmi_after") is not None:
        found.append(
            Tile("NMI", number(get("nmi_after")), f"{number(get('nmi_before'))} with the affine alone")
        )
    if get("dice_mean_after") is not None:
        before = number(get("dice_mean_before"))
        found.append(Tile("Dice, mean", number(get("dice_mean_after")), f"{before} with the affine alone"))
    if get("folded_voxels") is not None:
        part = number(get("folded_fraction"), "fraction")
        found.append(Tile("Folded voxels", number(get("folded_voxels"), "voxels"), f"{part} of the mask"))
    if get("inverse_consistency_forward_mean_mm") is not None:
        p95 = number(get("inverse_consistency_forward_p95_mm"), "mm")
        value = number(get("inverse_consistency_forward_mean_mm"), "mm")
        found.append(Tile("Inverse error", f"{value} mm", f"mean; 95th percentile {p95} mm"))
    if get("displacement_p95_mm") is not None:
        largest = number(get("displacement_max_mm"), "mm")
        value = number(get("displacement_p95_mm"), "mm")
        found.append(Tile("Displacement", f"{value} mm", f"95th percentile; largest {largest} mm"))
    if get("jacobian_p01") is not None:
        value = f"{_two(get('jacobian_p01'))} to {_two(get('jacobian_p99'))}"
        found.append(Tile("Jacobian", value, "1st to 99th percentile"))
    if get("endpoint_error_mean_mm") is not None:
        p95 = number(get("endpoint_error_p95_mm"), "mm")
        value = number(get("endpoint_error_mean_mm"), "mm")
        found.append(Tile("Error to truth", f"{value} mm", f"mean; 95th percentile {p95} mm"))
    if get("time_total_s") is not None:
        below = f"{number(get('time_registration_s'), 's')} s registering"
        found.append(Tile("Time", f"{number(get('time_total_s'), 's')} s", below))
    return tuple(found)


def measure_groups(measures: Measures) -> dict[str, list[MeasureRow]]:
    """Group measures by heading, before and after on one line."""
    groups: dict[str, list[MeasureRow]] = {}
    for key, description in DICTIONARY.items():
        before_key = _twin(key)
        if key not in measures or (before_key is None and "before" in key.split("_")):
            continue
        groups.setdefault(description.group, []).append(_measure_row(key, before_key, description, measures))
    return groups


def label_rows(pair: PairReport) -> tuple[LabelRow, ...]:
    """Put labels before and after on one line each, by code."""
    before = {row.label: row for row in pair.labels_before}
    rows = []
    for row in pair.labels_after:
        old = before.get(row.label)
        old_dice = old.dice if old else None
        rows.append(
            LabelRow(
                label=row.label,
                name=row.name,
                dice_before=NOTHING if old_dice is None else f"{old_dice:.3f}",
                dice_after=NOTHING if row.dice is None else f"{row.dice:.3f}",
                hd95_before=number(old.hd95_mm if old else None, "mm"),
                hd95_after=number(row.hd95_mm, "mm"),
                volume=f"{row.fixed_volume_ml:.2f} / {row.moved_volume_ml:.2f}",
                part=round(100 * (row.dice or 0.0), 1),
                change=_change(old_dice, row.dice, "higher"),
            )
        )
    return tuple(rows)


def _measure_row(
    key: str, before_key: str | None, description: Description, measures: Measures
) -> MeasureRow:
    """Write one line; units other than per cent stand in their own column."""
    after = measures[key]
    before = measures.get(before_key) if before_key else None
    return MeasureRow(
        name=description.name.removesuffix(", registered"),
        units="" if description.units in {"1", "fraction"} else description.units.replace("^2", "²"),
        text=description.text,
        before=number(before, description.units) if before_key else "",
        after=number(after, description.units),
        change=_change(before, after, description.better),
        key=key,
    )


def _two(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _twin(key: str) -> str | None:
    """Give the key of the value before for a key of the value after."""
    parts = key.split("_")
    if "after" not in parts:
        return None
    return "_".join("before" if part == "after" else part for part in parts)


def _change(before: float | None, after: float | None, better: str) -> str:
    """Say whether a score became better; nothing when it cannot be said or changed by 0.2 % or less."""
    if before is None or after is None or better not in {"higher", "lower"}:
        return ""
    gain = (after - before) * (1 if better == "higher" else -1)
    if abs(gain) <= UNCHANGED * max(abs(before), 1e-12):
        return ""
    return "better" if gain > 0 else "worse"
