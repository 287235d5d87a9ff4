"""The files at the root of the output data set: what it is, what it came from, what its labels mean."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bids_nodereg.bids.image import RAW
from bids_nodereg.bids.lock import locked
from bids_nodereg.bids.names import DESCRIPTION
from bids_nodereg.bids.output_texts import CODE_URL, NAME, citation_text, readme_text
from bids_nodereg.errors import OutputError
from bids_nodereg.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bids_nodereg.bids.dataset import Dataset

BIDS_VERSION = "1.10.0"

# Names that BIDS does not (yet) know. No trailing slash: with one, the validator reports the folder itself.
BIDSIGNORE = ("*.html", "**/figures", "*_xfm.*", "*_qc.json", "group_*")

DESCRIPTIONS: dict[str, str] = {
    "nodereg": "Image resampled once through the affine and the diffeomorphic transform of nodereg",
    "affine": "Affine part of the transform, fixed to moving points, ITK text file",
    "warp": "Displacement part of the transform on the fixed image's side, ITK field in mm",
    "inversewarp": "Displacement part of the inverse transform, ITK field in mm",
    "jacobian": "Determinant of the spatial derivative of the transform",
    "logjacobian": "Natural logarithm of the determinant of the spatial derivative of the transform",
    "brain": "Brain mask that was found in an image of the data set",
}


def dataset_description(dataset: Dataset, out_dir: Path, *, version: str) -> dict[str, Any]:
    """Describe the output data set.

    Parameters
    ----------
    dataset
        The input data set; its name, licence, DOI and derivatives are taken up.
    out_dir
        Root of the output data set; links are relative to it where a folder is shared.
    version
        Version of this program.
    """
    raw = dataset.description
    generated_by: dict[str, Any] = {"Name": NAME, "Version": version, "CodeURL": CODE_URL}
    source = {"URL": dataset_link(dataset.root, out_dir)}
    if isinstance(raw.get("DatasetDOI"), str):
        source["DOI"] = raw["DatasetDOI"]
    description: dict[str, Any] = {
        "Name": f"{NAME}: registered images of {raw['Name']}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by],
        "SourceDatasets": [source],
        "DatasetLinks": {
            RAW: dataset_link(dataset.root, out_dir),
            **{name: dataset_link(path, out_dir) for name, path in dataset.derivatives},
        },
    }
    if isinstance(raw.get("License"), str):
        description["License"] = raw["License"]
    return description


def dataset_link(target: Path, out_dir: Path) -> str:
    """Link from the output to another data set: relative where both share a folder, else a file URI.

    Examples
    --------
    >>> dataset_link(Path("/study/raw"), Path("/study/raw/derivatives/nodereg"))
    '../..'
    >>> dataset_link(Path("/data"), Path("/out"))
    'file:///data'
    """
    target, out_dir = target.absolute(), out_dir.absolute()
    if target.parts[:2] != out_dir.parts[:2]:
        return target.as_uri()
    return quote(Path(os.path.relpath(target, out_dir)).as_posix())


def write_dataset_files(
    dataset: Dataset,
    out_dir: Path,
    *,
    version: str,
    descriptions: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the files at the root of the output data set, or bring those that are there up to date.

    Links, ignored names and descriptions of earlier runs are kept, and a file whose contents would not
    change is not touched. Many workers may do this at once: one after the other reads and writes.

    Parameters
    ----------
    dataset, version
        See :func:`dataset_description`.
    out_dir
        Root of the output data set; made when missing.
    descriptions
        More ``desc-`` labels and what they mean, such as those of carried label maps.
    links
        More data sets that BIDS URIs name, such as those of templates, and where they are.

    Raises
    ------
    OutputError
        If the folder is the data set of another program, or cannot be written.
    """
    check_output_folder(out_dir)
    with locked(out_dir):
        _bring_up_to_date(dataset, out_dir, version, descriptions or {}, links or {})


def _bring_up_to_date(
    dataset: Dataset, out_dir: Path, version: str, descriptions: Mapping[str, str], more: Mapping[str, str]
) -> None:
    description = dataset_description(dataset, out_dir, version=version)
    description["DatasetLinks"] |= more
    earlier = check_output_folder(out_dir)
    links = earlier.get("DatasetLinks")
    if isinstance(links, dict):
        description["DatasetLinks"] = {**links, **description["DatasetLinks"]}
    if description != earlier:
        write_json(out_dir / DESCRIPTION, description)
    ignored = _read(out_dir / ".bidsignore").splitlines()
    missing = [line for line in BIDSIGNORE if line not in ignored]
    _write_changed(out_dir / ".bidsignore", "".join(f"{line}\n" for line in [*ignored, *missing]))
    table = _described(_read(out_dir / "descriptions.tsv"), {**DESCRIPTIONS, **descriptions})
    _write_changed(out_dir / "descriptions.tsv", table)
    for name, text in (
        ("README.md", readme_text(dataset.description["Name"])),
        ("CITATION.cff", citation_text(dataset.description["Name"], version)),
    ):
        if not (out_dir / name).exists():
            write_text(out_dir / name, text)


def check_output_folder(out_dir: Path) -> dict[str, Any]:
    """Make sure that an output folder is free or ours; give its ``dataset_description.json``, or ``{}``.

    Raises
    ------
    OutputError
        If it holds a data set that another program made, or raw data.
    """
    path = out_dir / DESCRIPTION
    text = _read(path)
    if not text:
        return {}
    try:
        description = json.loads(text)
        names = [entry["Name"] for entry in description["GeneratedBy"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        description, names = {}, []
    if NAME not in names:
        maker = ", ".join(str(name) for name in names) or "something else than a program (raw data?)"
        msg = f"{path}: this data set was made by {maker}, not by {NAME}. Choose another output folder."
        raise OutputError(msg)
    return dict(description)


def _described(table: str, rows: Mapping[str, str]) -> str:
    """Add rows to a ``descriptions.tsv``; rows that are there stay as they are."""
    lines = [line.split("\t", 1) for line in table.splitlines()[1:] if "\t" in line]
    ours = {f"desc-{label}": text for label, text in rows.items()}
    merged = {**ours, **{line[0]: line[1] for line in lines}}
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(("desc_id", "description"))
    writer.writerows((label, " ".join(text.split())) for label, text in sorted(merged.items()))
    return out.getvalue()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error}). Choose another output folder."
        raise OutputError(msg) from error


def _write_changed(path: Path, text: str) -> None:
    if _read(path) != text:
        write_text(path, text)
