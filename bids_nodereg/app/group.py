"""The group level: one row a pair from the QC files of the participant level, with a dictionary."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from bids_nodereg.errors import MissingInputError
from bids_nodereg.files import write_json, write_text
from bids_nodereg.quality.dictionary import DICTIONARY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")

FIRST_COLUMNS = {
    "pair": "Name of the pair: the stem of its output files.",
    "participant_id": "Participant that the moving image belongs to.",
    "verdict": "pass, check or fail, by the stated limits.",
}


def run_group(config: RunConfig) -> int:
    """Write ``group_registration.tsv`` and its dictionary into the output folder.

    Raises
    ------
    MissingInputError
        If the output folder has no result of the participant level.
    """
    files = sorted(config.output_dir.glob("sub-*/**/*_qc.json"))
    if not files:
        msg = f"{config.output_dir}: no *_qc.json here. Run the participant level into this folder first."
        raise MissingInputError(msg)
    table = pd.DataFrame([row for row in map(_row, files) if row is not None])
    columns = [*FIRST_COLUMNS, *(key for key in DICTIONARY if key in table)]
    text = table[columns].to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
    )
    write_text(config.output_dir / "group_registration.tsv", text)
    write_json(config.output_dir / "group_registration.json", _column_descriptions(columns))
    LOG.info("%d pair(s): %s", len(table), config.output_dir / "group_registration.tsv")
    return 0


def _row(path: Path) -> Mapping[str, Any] | None:
    """One pair; a file that cannot be read is left out with a warning."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "pair": path.name.removesuffix("_mode-image_qc.json"),
            "participant_id": path.name.split("_")[0],
            "verdict": content["Verdict"],
            **content["Measures"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOG.warning("%s cannot be read (%s): left out. Register that pair again with --force.", path, error)
        return None


def _column_descriptions(columns: list[str]) -> dict[str, Any]:
    described: dict[str, Any] = {name: {"Description": text} for name, text in FIRST_COLUMNS.items()}
    for key in columns[len(FIRST_COLUMNS) :]:
        entry = DICTIONARY[key]
        described[key] = {"LongName": entry.name, "Description": entry.text, "Units": entry.units}
    return described
