"""Carry files through given transforms: from the words of a command line to files with sidecars."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bids_nodereg import __version__
from bids_nodereg.bids.names import IMAGE_EXTENSIONS, build_name, parse_name
from bids_nodereg.errors import UsageError
from bids_nodereg.files import write_json
from bids_nodereg.imaging.carry import HOW, Target, carry
from bids_nodereg.imaging.chain_files import TransformFile, read_chain
from bids_nodereg.imaging.points import DELIMITERS, carry_points
from bids_nodereg.imaging.series import open_series
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_nodereg.imaging.carry import Kind
    from bids_nodereg.imaging.chain import Chain
    from bids_nodereg.imaging.resample import Interpolation

LOG = logging.getLogger("nodereg")

GROUPS: dict[str, Kind] = {"image": "image", "labels": "labels", "masks": "mask", "shares": "share"}
KEPT = ("SkullStripped", "Type", "Manual", "Atlas", "LabelMap", "Units", "RepetitionTime", "TaskName")
"""What stays true of an image on another grid, and is taken over from its sidecar."""


@dataclass(frozen=True)
class Request:
    """What is carried through which transforms, in files.

    Attributes
    ----------
    transform
        Map from points of the reference to points of the files, in ANTs order.
    reference
        Image whose grid the results get; None where only landmarks are carried.
    image, labels, masks, shares, points
        What is carried; see :mod:`bids_nodereg.imaging.carry`.
    interpolation
        Of images.
    space
        Name of the reference's space, for names and sidecars.
    out, out_dir
        The result of a single input, or the folder of all results.

    Raises
    ------
    UsageError
        If the parts contradict one another.
    """

    transform: tuple[TransformFile, ...]
    reference: Path | None = None
    image: tuple[Path, ...] = ()
    labels: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    shares: tuple[Path, ...] = ()
    points: tuple[Path, ...] = ()
    interpolation: Interpolation = "linear"
    space: str | None = None
    out: Path | None = None
    out_dir: Path | None = None

    def __post_init__(self) -> None:
        """Check what belongs together."""
        volumes = [path for group in GROUPS for path in getattr(self, group)]
        if volumes and self.reference is None:
            msg = f"{volumes[0]}: --reference is missing; its grid is where images are carried to."
            raise UsageError(msg)
        if (self.out is None) == (self.out_dir is None):
            msg = "give one of --out (a single input) and --out-dir (any number)."
            raise UsageError(msg)
        if self.out is not None and len(volumes) + len(self.points) > 1:
            msg = f"--out {self.out}: {len(volumes) + len(self.points)} inputs; --out-dir takes so many."
            raise UsageError(msg)
        if self.space is not None and re.fullmatch(r"[A-Za-z0-9+]+", self.space) is None:
            msg = f"--space {self.space}: a BIDS label has letters, digits and '+' only."
            raise UsageError(msg)


@dataclass(frozen=True)
class Task:
    """One file to carry, and where the result goes."""

    path: Path
    kind: Kind | Literal["points"]
    final: Path


def tasks_of(request: Request) -> tuple[Task, ...]:
    """Name the results, and refuse what would replace an input, a sidecar of something else, or one another.

    A file and its sidecar are one: neither that of an input, a transform or the reference is written
    over, nor that of another result.

    Raises
    ------
    UsageError
        If a name cannot be used.
    """
    volumes = [
        Task(path, kind, _final(path, request))
        for group, kind in GROUPS.items()
        for path in getattr(request, group)
    ]
    tasks = (*volumes, *(Task(path, "points", _final(path, request)) for path in request.points))
    references = () if request.reference is None else (request.reference,)
    read = (*(task.path for task in tasks), *(file.path for file in request.transform), *references)
    inputs = set(with_sidecars(read))
    seen: dict[Path, Path] = {}
    for task in tasks:
        _check_ending(task)
        for written in with_sidecars((task.final,)):
            if written in inputs:
                msg = (
                    f"{written}: is an input or an input's sidecar; what {task.path.name} becomes cannot go "
                    "there. Choose another folder or name."
                )
                raise UsageError(msg)
            if written in seen:
                msg = f"{written}: both {seen[written]} and {task.path} would go there. Do them one by one."
                raise UsageError(msg)
            seen[written] = task.path
    return tasks


def with_sidecars(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Files, each with the JSON sidecar that is beside it or would be; links followed, each once."""
    return tuple(dict.fromkeys(each.resolve() for path in paths for each in (path, _sidecar_path(path))))


def _check_ending(task: Task) -> None:
    endings = tuple(DELIMITERS) if task.kind == "points" else IMAGE_EXTENSIONS
    same = task.kind != "points" or task.final.suffix == task.path.suffix
    if not (task.final.name.endswith(endings) and same):
        msg = f"{task.final}: the result of {task.path.name} needs the ending {' or '.join(endings)}"
        msg += ", that of the input for landmarks." if task.kind == "points" else "."
        raise UsageError(msg)


def apply_request(request: Request, *, threads: int = 1) -> None:
    """Read the transforms once and carry every file; each result gets a JSON sidecar.

    Raises
    ------
    NodeRegError
        If a file is missing, cannot be used or cannot be written. What was carried before stays.
    """
    tasks = tasks_of(request)
    chain = read_chain(request.transform)
    target = _target(request, chain, threads)
    for task in tasks:
        notes: Sequence[str] = ()
        if task.kind == "points":
            carry_points(task.path, chain, task.final)
        else:
            assert target is not None  # noqa: S101 - for the type checker; a volume has a reference
            notes = carry(task.path, task.kind, target, task.final)
        for note in notes:
            LOG.warning("%s: %s", task.path, note)
        write_json(_sidecar_path(task.final), _sidecar(task, request))
        LOG.info("%s", task.final)


def _target(request: Request, chain: Chain, threads: int) -> Target | None:
    if request.reference is None:
        return None
    reference = open_series(request.reference)
    for note in reference.notes:
        LOG.warning("%s: %s", request.reference, note)
    return Target(reference.grid, chain, request.interpolation, threads)


def _final(path: Path, request: Request) -> Path:
    """Where the result of an input goes: with ``space-`` in its name where one was given."""
    if request.out is not None:
        return request.out
    assert request.out_dir is not None  # noqa: S101 - for the type checker; one of the two is given
    return request.out_dir / (path.name if request.space is None else spaced_name(path.name, request.space))


def spaced_name(name: str, space: str) -> str:
    """Put a space into a file name, in its place where the name is one of BIDS.

    Examples
    --------
    >>> spaced_name("sub-01_space-T2w_desc-brain_mask.nii.gz", "T1w")
    'sub-01_space-T1w_desc-brain_mask.nii.gz'
    >>> spaced_name("lesion.nii.gz", "T1w")
    'lesion_space-T1w.nii.gz'
    """
    parsed = parse_name(name)
    if parsed is None:
        stem, dot, extension = name.partition(".")
        return f"{stem}_space-{space}{dot}{extension}"
    kept = [entity for entity in parsed.entities if entity[0] not in {"space", "res"}]
    return build_name([*kept, ("space", space)], parsed.suffix, parsed.extension)


def _sidecar_path(path: Path) -> Path:
    return path.parent / (path.name.removesuffix(".gz").rpartition(".")[0] + ".json")


def _sidecar(task: Task, request: Request) -> dict[str, Any]:
    """What was done, with paths relative to the folder of the result: nothing tells of the machine."""
    folder = task.final.parent
    told: dict[str, Any] = {
        **_kept(task.path),
        "Description": f"{task.path.name} carried through {len(request.transform)} transform file(s) at once",
        "Sources": [
            told_path(path, folder) for path in (task.path, *(each.path for each in request.transform))
        ],
        "Transforms": [
            {"File": told_path(each.path, folder), "Inverted": each.invert} for each in request.transform
        ],
        "GeneratedBy": [{"Name": "nodereg", "Version": __version__, "Description": "bids-nodereg apply"}],
    }
    if task.kind == "points":
        axes = "LPS" if task.path.suffix == ".csv" else "RAS"
        return {
            **told,
            "Direction": "as the transforms: reference to image points",
            "Coordinates": f"{axes}+ mm",
        }
    assert request.reference is not None  # noqa: S101 - for the type checker; a volume has a reference
    told["SpatialReference"] = told_path(request.reference, folder)
    told["Interpolation"] = HOW.get(task.kind, request.interpolation)
    if request.space is not None:
        told["Space"] = request.space
    return told


def _kept(path: Path) -> dict[str, Any]:
    """What the sidecar beside an input says that stays true; nothing where there is none."""
    try:
        content = read_json(_sidecar_path(path))
    except (OSError, ValueError):
        return {}
    return {key: content[key] for key in KEPT if key in content} if isinstance(content, dict) else {}


def told_path(path: Path, folder: Path) -> str:
    """Path from a folder to a file; the name alone where they have no folder in common but the root.

    Such a path would tell where on the machine the file is, and serve nobody elsewhere.

    Examples
    --------
    >>> told_path(Path("/data/raw/T2w.nii.gz"), Path("/data/out"))
    '../raw/T2w.nii.gz'
    >>> told_path(Path("/home/alice/T2w.nii.gz"), Path("/out"))
    'T2w.nii.gz'
    """
    there, here = (Path(os.path.normpath(each.absolute())) for each in (path, folder))
    if there.parts[:2] != here.parts[:2]:
        return path.name
    return Path(os.path.relpath(there, here)).as_posix()
