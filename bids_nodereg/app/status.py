"""Is a pair done already, and how did it end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from bids_nodereg import __version__
from bids_nodereg.app.provenance import sha256
from bids_nodereg.config import settings_digest
from bids_nodereg.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.config import Settings

REPORT_DATA = "_report.json"
"""End of the name of the file that keeps a pair's section of the report."""

NOT_YET = "not done yet"

Ending = Literal["done", "already done", "failed"]


@dataclass(frozen=True)
class Status:
    """How one pair ended."""

    pair: str
    subject: str
    status: Ending
    seconds: float = 0.0
    verdict: str = ""
    error: str = ""
    exit_code: int = 0


def write_status(folder: Path, status: Status) -> None:
    """One small file a pair and run, so that parallel runs never share a file."""
    write_json(folder / f"status_{status.pair}.json", asdict(status))


def input_digests(job: Job) -> dict[str, str]:
    """SHA-256 of every file the result depends on, by BIDS URI or role."""
    pair = job.pair
    digests = {pair.fixed.uri: sha256(pair.fixed.path), pair.moving.uri: sha256(pair.moving.path)}
    for role, mask in (("fixed mask", pair.fixed_mask), ("moving mask", pair.moving_mask)):
        if mask is not None:
            digests[role] = sha256(mask)
    sides = {
        "fixed lesion": pair.fixed_lesion,
        "moving lesion": pair.moving_lesion,
        "stiffness": pair.stiffness,
    }
    for role, side_file in sides.items():
        if side_file is not None:
            digests[role] = sha256(side_file.path)
    for label_map in (*pair.fixed_dseg, *pair.moving_dseg):
        digests[label_map.uri] = sha256(label_map.path)
    for extra in pair.moving_extras:
        digests[extra.uri] = sha256(extra.path)
    if job.truth is not None:
        digests["truth"] = sha256(job.truth)
    for part in job.parts:
        for path in (part.outputs.forward_h5, part.outputs.inverse_h5):
            digests[part.outputs.uri(path)] = sha256(path) if path.is_file() else "not there"
    return digests


def fingerprint(job: Job, settings: Settings) -> dict[str, Any]:
    """What must be the same for a finished pair to count as done."""
    return {
        "NoderegVersion": __version__,
        "SettingsDigest": settings_digest(settings),
        "InputSHA256": input_digests(job),
    }


def why_not_done(job: Job, settings: Settings) -> str:
    """Why a pair has to be (re)done, in words; empty when it is done.

    Done means: the forward sidecar is there, was written last, agrees with the settings, the
    version and the input files, and the files it stands for are there.
    """
    missing = _missing(job, settings)
    return _why_stale(job, settings) or (f"{missing[0].name} is missing" if missing else "")


def lacks_only_images(job: Job, settings: Settings) -> bool:
    """Whether a pair is done but for images in the space of its template, on a grid asked for later."""
    if job.pair.template is None or _why_stale(job, settings):
        return False
    missing = _missing(job, settings)
    return bool(missing) and all(f"_space-{job.outputs.to_label}_" in path.name for path in missing)


def _why_stale(job: Job, settings: Settings) -> str:
    """Why what is there is not the result of these inputs and settings; empty when it is."""
    path = job.outputs.forward_json
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NOT_YET
    except (OSError, ValueError):
        return f"{path.name} cannot be read"
    wanted = fingerprint(job, settings)
    reasons = {
        "NoderegVersion": "made by another version of nodereg",
        "SettingsDigest": "made with other settings",
        "InputSHA256": "an input file has changed",
    }
    return next((reason for key, reason in reasons.items() if sidecar.get(key) != wanted[key]), "")


def _missing(job: Job, settings: Settings) -> list[Path]:
    """Files of a finished pair that are not there."""
    needed = (*_files_of(job, settings), report_data(job))
    return [file for file in needed if not file.is_file()]


def _files_of(job: Job, settings: Settings) -> list[Path]:
    """Every file that a finished pair has."""
    out = job.outputs
    fields = {out.warp_nii, out.inverse_warp_nii}
    without = fields if settings.transform != "deformable" else set()
    if job.parts:  # what a search leaves, and a composition does not
        without = fields | {out.affine_txt, out.jacobian_nii, out.jacobian_json}
        without |= {out.logjacobian_nii, out.logjacobian_json}
    page = {out.report_html}  # the page is the subject's, not the pair's
    descs = [label_map.desc for label_map in job.pair.moving_dseg]
    tables = {
        out.carried_tsv(label_map.desc) for label_map in job.pair.moving_dseg if label_map.lookup is None
    }
    asked = [path for path in out.paths(descs, job.pair.moving_extras) if path not in without | page | tables]
    return [*asked, *_velocity_of(job, settings)]


def _velocity_of(job: Job, settings: Settings) -> list[Path]:
    """Velocity fields, where they are asked for and there are any."""
    if job.parts or not settings.write_velocity or settings.transform != "deformable":
        return []
    parts = settings.registration.velocity.time_parts
    return [job.outputs.velocity_nii(part, parts) for part in range(1, parts + 1)]


def report_data(job: Job) -> Path:
    """Where the data of the pair's report section are kept, beside its figures."""
    return job.outputs.figures_dir / f"{job.outputs.name}{REPORT_DATA}"
