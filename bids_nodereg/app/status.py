"""Is a pair done already, and how did it end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bids_nodereg import __version__
from bids_nodereg.app.find_brain import FOUND, method_taken
from bids_nodereg.app.gate import kept_verdict
from bids_nodereg.app.inputs import NOT_FOUND
from bids_nodereg.app.provenance import file_digest
from bids_nodereg.app.written import OUTPUTS, record, recorded, why_changed
from bids_nodereg.config import settings_digest
from bids_nodereg.files import write_json
from bids_nodereg.json_files import read_json
from bids_nodereg.quality.verdict import STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.retry import Trouble
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.config import Settings

REPORT_DATA = "_report.json"
"""End of the name of the file that keeps a pair's section of the report."""

NOT_YET = "not done yet"
NOT_THERE = "not there"
"""In place of the digest of a file that is not there, such as a link to content that was not fetched."""
GRIDS = "GridSHA256"
"""Key of :func:`grid_digests` in the sidecar."""
BRAIN = "BrainMaskMethod"
"""Key in the sidecar of the way that is taken where a brain has to be looked for."""
NOT_CARRIED = "NotCarried"
"""Key in the sidecar of the URIs of files that could not be carried along."""

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
    trouble: Trouble = ""
    tries: int = 1


def write_status(folder: Path, status: Status) -> None:
    """One small file a pair and run, so that parallel runs never share a file."""
    write_json(folder / f"status_{status.pair}.json", asdict(status))


def input_digests(job: Job) -> dict[str, str]:
    """SHA-256 of every file the result depends on, by BIDS URI or role."""
    pair = job.pair
    digests = {pair.fixed.uri: file_digest(pair.fixed.path), pair.moving.uri: file_digest(pair.moving.path)}
    for role, mask in (("fixed mask", pair.fixed_mask), ("moving mask", pair.moving_mask)):
        if mask is not None:
            digests[role] = file_digest(mask)
    sides = {
        "fixed lesion": pair.fixed_lesion,
        "moving lesion": pair.moving_lesion,
        "stiffness": pair.stiffness,
    }
    for role, side_file in sides.items():
        if side_file is not None:
            digests[role] = file_digest(side_file.path)
    digests |= _carried_digests(pair)
    if job.truth is not None:
        digests["truth"] = file_digest(job.truth)
    for part in job.parts:
        for path in (part.outputs.forward_h5, part.outputs.inverse_h5):
            digests[part.outputs.uri(path)] = file_digest(path) if path.is_file() else NOT_THERE
    return digests


def _carried_digests(pair: Pair) -> dict[str, str]:
    """SHA-256 of label maps and other files of the images, and of what their own files say of them."""
    label_maps = (*pair.fixed_dseg, *pair.moving_dseg)
    files = {label_map.uri: label_map.path for label_map in label_maps}
    files |= {f"names of {each.uri}": each.lookup for each in label_maps if each.lookup is not None}
    files |= {extra.uri: extra.path for extra in pair.moving_extras}
    files |= {f"sidecar of {each.uri}": each.sidecar for each in pair.moving_extras if each.sidecar.is_file()}
    return {key: file_digest(path) if path.is_file() else NOT_THERE for key, path in files.items()}


def grid_digests(job: Job) -> dict[str, str]:
    """SHA-256 of the files whose grid alone counts: those of the template's resolutions, by BIDS URI."""
    template = job.pair.template
    grids = () if template is None else template.grids
    return {
        grid.uri: file_digest(grid.path)
        for grid in grids
        if grid.path is not None and grid.path != job.pair.fixed.path
    }


def fingerprint(job: Job, settings: Settings) -> dict[str, Any]:
    """What must be the same for a finished pair to count as done."""
    return {
        "NoderegVersion": __version__,
        "SettingsDigest": settings_digest(settings),
        "InputSHA256": input_digests(job),
        GRIDS: grid_digests(job),
        BRAIN: method_taken(settings.brain_mask),
    }


def why_not_done(job: Job, settings: Settings) -> str:
    """Why a pair has to be (re)done, in words; empty when it is done.

    Done means: the forward sidecar is there, was written last, agrees with the settings, the
    version and the input files, and the files it stands for are there as they were written.
    """
    sidecar = _sidecar(job)
    stale = _why_stale(job, settings, sidecar)
    if stale:
        return stale
    if missing := _missing(job, settings, sidecar):
        return f"{missing[0].name} is missing"
    return "a grid of the template has changed" if _has_other_grids(job, sidecar) else ""


def lacks_only_images(job: Job, settings: Settings) -> bool:
    """Whether a pair is done but for images in the space of its template.

    They are missing on a grid that was asked for later, or the file of a grid has changed.
    """
    if job.pair.template is None:
        return False
    sidecar = _sidecar(job)
    if _why_stale(job, settings, sidecar):
        return False
    missing = _missing(job, settings, sidecar)
    images = f"_space-{job.outputs.to_label}_"
    return all(images in path.name for path in missing) and (bool(missing) or _has_other_grids(job, sidecar))


def _why_stale(job: Job, settings: Settings, sidecar: Mapping[str, Any]) -> str:
    """Why what is there is not the result of these inputs and settings; empty when it is."""
    path = job.outputs.forward_json
    if not sidecar:
        return f"{path.name} cannot be read" if path.exists() else NOT_YET
    wanted = fingerprint(job, settings)
    reasons = {
        "NoderegVersion": "made by another version of nodereg",
        "SettingsDigest": "made with other settings",
        "InputSHA256": "an input file has changed",
    }
    stale = next((reason for key, reason in reasons.items() if sidecar.get(key) != wanted[key]), "")
    if not stale and _looked_for_brain(sidecar) and sidecar.get(BRAIN) != wanted[BRAIN]:
        stale = "brain masks would be found in another way"
    return stale or _why_no_verdict(job) or why_changed(sidecar, path, job.outputs.out_dir)


def _sidecar(job: Job) -> dict[str, Any]:
    """What the sidecar of a pair says; nothing where it is not there or cannot be read."""
    try:
        told = read_json(job.outputs.forward_json, is_ours=True)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def record_of(job: Job, settings: Settings) -> dict[str, Any]:
    """What a finished pair's sidecar keeps of all other files of the pair: to be made last of all.

    Pages are left out: they may be written again at any time.
    """
    out = job.outputs
    figures = (path for path in out.figures_dir.glob(f"{out.name}_*") if path.suffix != ".html")
    paths = {*_files_of(job, settings), *figures} - {out.forward_json}
    return {OUTPUTS: record(paths, out.out_dir)}


def _looked_for_brain(sidecar: Mapping[str, Any]) -> bool:
    """Whether a brain was looked for in one of the images, found or not."""
    origins = (str(sidecar.get(key, "")) for key in ("FixedMask", "MovingMask"))
    return any(word in origin for origin in origins for word in (FOUND, NOT_FOUND))


def _why_no_verdict(job: Job) -> str:
    """Say so where the quality file is there and has no verdict that can be read."""
    path = job.outputs.qc_json
    is_damaged = path.is_file() and kept_verdict(job) not in STATUSES
    return f"{path.name} cannot be read" if is_damaged else ""


def _has_other_grids(job: Job, sidecar: Mapping[str, Any]) -> bool:
    """Whether a grid that is asked for is not the one of the images that are there."""
    known = sidecar.get(GRIDS, {})
    return any(known.get(uri) != digest for uri, digest in grid_digests(job).items())


def _missing(job: Job, settings: Settings, sidecar: Mapping[str, Any]) -> list[Path]:
    """Files of a finished pair that are not there: what is asked for now, and what was written then."""
    needed = (*_files_of(_as_carried(job, sidecar), settings), report_data(job))
    written = recorded(sidecar, job.outputs.out_dir)
    return [file for file in dict.fromkeys((*needed, *written)) if not file.is_file()]


def _as_carried(job: Job, sidecar: Mapping[str, Any]) -> Job:
    """The job without the files that could not be carried along when it was done."""
    left_out = sidecar.get(NOT_CARRIED)
    if not isinstance(left_out, (list, dict)):
        return job
    extras = tuple(extra for extra in job.pair.moving_extras if extra.asked or extra.uri not in left_out)
    return replace(job, pair=replace(job.pair, moving_extras=extras))


def _files_of(job: Job, settings: Settings) -> list[Path]:
    """Every file that a finished pair has."""
    out = job.outputs
    fields = {out.warp_nii, out.inverse_warp_nii}
    without = fields if settings.transform != "deformable" else set()
    if job.parts:  # what a search leaves, and a composition does not
        without = set(out.searched_only)
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
