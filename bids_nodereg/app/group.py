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
    table = pd.DataFrame([_row(path) for path in files])
    columns = [*FIRST_COLUMNS, *(key for key in DICTIONARY if key in table)]
    text = table[columns].to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
    )
    write_text(config.output_dir / "group_registration.tsv", text)
    write_json(config.output_dir / "group_registration.json", _column_descriptions(columns))
    LOG.info("%d pair(s): %s", len(table), config.output_dir / "group_registration.tsv")
    return 0


def _row(path: Path) -> Mapping[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    subject = path.name.split("_")[0]
    return {
        "pair": path.name.removesuffix("_mode-image_qc.json"),
        "participant_id": subject,
        "verdict": content["Verdict"],
        **content["Measures"],
    }


def _column_descriptions(columns: list[str]) -> dict[str, Any]:
    described: dict[str, Any] = {name: {"Description": text} for name, text in FIRST_COLUMNS.items()}
    for key in columns[len(FIRST_COLUMNS) :]:
        entry = DICTIONARY[key]
        described[key] = {"LongName": entry.name, "Description": entry.text, "Units": entry.units}
    return described
