"""The results of evaluations as tables, with what their columns mean."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bids_nodereg.errors import UsageError
from bids_nodereg.quality.evaluation_dictionary import EVALUATION
from bids_nodereg.quality.measures import text
from bids_nodereg.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bids_nodereg.app.evaluate import Evaluation
    from bids_nodereg.quality.dictionary import Description
    from bids_nodereg.quality.overlap import LabelOverlap

LOG = logging.getLogger("nodereg")

_TEXT_COLUMNS: dict[str, dict[str, Any]] = {
    "name": {"Description": "Name of the evaluation."},
    "problem": {"Description": "Why the evaluation failed; n/a where it did not."},
    "lattice": {
        "Description": "Where folds and Jacobians were computed.",
        "Levels": {
            "field": "On the grid of the map's one displacement field.",
            "fixed": "On the grid of the fixed image.",
            "none": "Nowhere: the map is affine.",
        },
    },
}
_LABEL_COLUMNS = {
    "name": {"Description": "Name of the evaluation."},
    "label": {"Description": "Code of the label."},
    "label_name": {"Description": "Name of the label."},
    **{
        f"{measure}_{when}{unit}": {
            "LongName": f"{long}, {place}",
            "Description": what,
            "Units": "mm" if unit else "1",
        }
        for measure, unit, long, what in (
            ("dice", "", "Dice", "2 |A and B| / (|A| + |B|) on the fixed grid."),
            ("hd95", "_mm", "Surface distance (HD95)", "Larger directed 95th percentile surface distance."),
        )
        for when, place in (("identity", "without any transform"), ("after", "registered"))
    },
    "fixed_volume_ml": {"Description": "Volume in the fixed label map.", "Units": "mL"},
    "moved_volume_ml": {"Description": "Volume in the moving label map carried by the map.", "Units": "mL"},
}


@dataclass(frozen=True)
class Outputs:
    """Where results go.

    Raises
    ------
    UsageError
        If a name does not end in ``.tsv``, or both are the same.
    """

    table: Path
    labels: Path | None = None

    def __post_init__(self) -> None:
        """Check the names: the dictionary takes that with ``.json``."""
        for path in (self.table, self.labels):
            if path is not None and path.suffix != ".tsv":
                msg = (
                    f"{path}: results are written as .tsv, with a .json of the same name. Choose such a name."
                )
                raise UsageError(msg)
        if self.labels is not None and self.labels.absolute() == self.table.absolute():
            msg = f"{self.table}: both results would go to this file. Choose another name for one of them."
            raise UsageError(msg)

    def refuse_to_replace(self, inputs: Iterable[Path]) -> None:
        """Make sure that nothing is written over an input, or over a sidecar that is not of results.

        Raises
        ------
        UsageError
            If a result or its dictionary is one of the inputs, or the dictionary is there without results.
        """
        taken = {path.resolve() for path in inputs}
        for table in filter(None, (self.table, self.labels)):
            dictionary = table.with_suffix(".json")
            for path in (table, dictionary):
                if path.resolve() in taken:
                    msg = f"{path}: is an input, results cannot go there. Choose another name."
                    raise UsageError(msg)
            if dictionary.exists() and not table.exists():
                msg = f"{dictionary}: is there already and not of {table.name}. Choose another name for it."
                raise UsageError(msg)


@dataclass(frozen=True)
class Result:
    """One row of the outcome: an evaluation, or why there is none."""

    name: str
    evaluation: Evaluation | None = None
    problem: str = ""


def write_results(results: Sequence[Result], outputs: Outputs) -> None:
    """Write the table of all results and, where wanted, that of their labels, each with its dictionary.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    rows = [_row(result) for result in results]
    used = {column for row in rows for column in row}
    measures = {key: _described(entry) for key, entry in EVALUATION.items() if key in used}
    write_table(outputs.table, rows, {**_TEXT_COLUMNS, **measures})
    LOG.info("%d evaluation(s): %s", len(rows), outputs.table)
    if outputs.labels is not None:
        write_table(outputs.labels, list(_label_rows(results)), _LABEL_COLUMNS)
        LOG.info("labels one by one: %s", outputs.labels)


def _row(result: Result) -> dict[str, str]:
    first = {"name": result.name, "problem": result.problem}
    if result.evaluation is None:
        return first
    measures = {key: text(value) for key, value in result.evaluation.measures.items()}
    return {**first, "lattice": result.evaluation.lattice, **measures}


def _label_rows(results: Iterable[Result]) -> Iterable[dict[str, str]]:
    for result in results:
        if result.evaluation is None:
            continue
        before = {row.label: row for row in result.evaluation.labels_identity}
        after = {row.label: row for row in result.evaluation.labels_after}
        for label in sorted(before.keys() | after.keys()):
            yield {"name": result.name, **_label_row(before.get(label), after.get(label))}


def _label_row(before: LabelOverlap | None, after: LabelOverlap | None) -> dict[str, str]:
    """One label; a map may carry it out of the fixed grid, or into it."""
    known = after or before
    assert known is not None  # noqa: S101 - for the type checker; the label is in one of them
    row = {
        "label": str(known.label),
        "label_name": known.name,
        "fixed_volume_ml": text(known.fixed_volume_ml),
        "moved_volume_ml": text(after.moved_volume_ml if after else 0.0),
    }
    for when, overlap in (("identity", before), ("after", after)):
        row[f"dice_{when}"] = text(overlap.dice if overlap else None)
        row[f"hd95_{when}_mm"] = text(overlap.hd95_mm if overlap else None)
    return row


def _described(entry: Description) -> dict[str, str]:
    return {"LongName": entry.name, "Description": entry.text, "Units": entry.units}
