"""The group level: one row a pair from the QC files of the participant level, and a page of them all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bids_nodereg import __version__
from bids_nodereg.app.preconditions import check_is_folder
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.json_files import read_json
from bids_nodereg.quality.cohort import CohortRow, find_outliers
from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.group_report import outlier_words, render_group
from bids_nodereg.quality.measures import text
from bids_nodereg.quality.records import finite_or_none
from bids_nodereg.tables import NOT_AVAILABLE, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.config import RunConfig
    from bids_nodereg.quality.cohort import Outlier

LOG = logging.getLogger("nodereg")

TABLE = "group_registration.tsv"
PAGE = "group_registration.html"
QUALITY = "_mode-image_qc.json"

FIRST_COLUMNS = {
    "pair": "Name of the pair: the stem of its output files.",
    "participant_id": "Participant that the moving image belongs to.",
    "session_id": "Session that the moving image belongs to.",
    "rule": "Rule that asked for the pair.",
    "moving": "Contrast of the moving image, as BIDS suffix.",
    "fixed": "Contrast of the fixed image, as BIDS suffix.",
    "verdict": "pass, check or fail, by the stated limits.",
    "reasons": "Sentences that led to the verdict; n/a for a pair that passed.",
    "outliers": "Measures that are unusual among the pairs of the same rule and contrasts, with their robust "
    "z-score 0.6745 (x - median) / MAD beyond 3.5 (Iglewicz and Hoaglin 1993); none where there are none, "
    "n/a where fewer than 8 such pairs have been registered.",
}


def run_group(config: RunConfig) -> int:
    """Write ``group_registration.tsv``, its dictionary and the page into the output folder.

    Raises
    ------
    MissingInputError
        If the output folder has no result of the participant level.
    OutputError
        If it is no folder.
    DataError
        If there are results and none of them can be read.
    """
    check_is_folder(config.output_dir)
    if config.selection.participant_label:
        LOG.warning("--participant-label is not used: the group level takes all results in OUTPUT_DIR.")
    files = sorted(config.output_dir.glob(f"sub-*/**/*{QUALITY}"))
    if not files:
        msg = f"{config.output_dir}: no *_qc.json here. Run the participant level into this folder first."
        raise MissingInputError(msg)
    rows = [row for row in map(read_row, files) if row is not None]
    if not rows:
        msg = f"{config.output_dir}: none of {len(files)} *_qc.json can be read. Register with --force."
        raise DataError(msg)
    keys = [key for key in DICTIONARY if any(key in row.measures for row in rows)]
    outliers = find_outliers(rows)
    cells = [_cells(row, found, keys) for row, found in zip(rows, outliers, strict=True)]
    write_table(config.output_dir / TABLE, cells, _column_descriptions(keys))
    page = render_group(rows, config.output_dir / PAGE, version=__version__)
    LOG.info("%d pair(s): %s, %s", len(rows), config.output_dir / TABLE, page.name)
    return 0


def read_row(path: Path) -> CohortRow | None:
    """One pair; a file that cannot be read is left out with a warning."""
    name = path.name.removesuffix(QUALITY)
    try:
        content = read_json(path, is_ours=True)
        kind = content.get("Pair", _kind_from(name))
        return CohortRow(
            pair=name,
            rule=str(kind["Rule"]),
            moving=str(kind["Moving"]),
            fixed=str(kind["Fixed"]),
            verdict=str(content["Verdict"]),
            reasons=tuple(map(str, content.get("Reasons", ()))),
            measures=finite_or_none(
                {key: content["Measures"][key] for key in DICTIONARY if key in content["Measures"]}
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        LOG.warning("%s cannot be read (%s): left out. Register that pair again with --force.", path, error)
        return None


def _kind_from(name: str) -> dict[str, str]:
    """What a name tells of a pair, for files of versions that did not write it."""
    labels = dict(part.split("-", 1) for part in name.split("_") if "-" in part)
    return {"Rule": NOT_AVAILABLE, "Moving": labels["from"], "Fixed": labels["to"]}


def _cells(row: CohortRow, outliers: Sequence[Outlier] | None, keys: Sequence[str]) -> dict[str, str]:
    return {
        "pair": row.pair,
        "participant_id": row.participant,
        "session_id": row.session or NOT_AVAILABLE,
        "rule": row.rule,
        "moving": row.moving,
        "fixed": row.fixed,
        "verdict": row.verdict,
        "reasons": " ".join(row.reasons) or NOT_AVAILABLE,
        "outliers": outlier_words(outliers),
        **{key: text(row.measures.get(key)) for key in keys},
    }


def _column_descriptions(keys: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    described: dict[str, Mapping[str, Any]] = {
        name: {"Description": words} for name, words in FIRST_COLUMNS.items()
    }
    for key in keys:
        entry = DICTIONARY[key]
        described[key] = {"LongName": entry.name, "Description": entry.text, "Units": entry.units}
    return described
