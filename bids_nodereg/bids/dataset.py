"""Open a BIDS data set, list its participants, find a participant's images.

Participants are listed from the names of the folders, so that a run on one of many thousand
participants starts at once; see :mod:`bids_nodereg.bids.index` for how they are indexed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bids_nodereg.bids.casing import misspelt_participants
from bids_nodereg.bids.derivative_inputs import (
    find_brain_mask,
    find_label_maps,
    find_lesion_mask,
    find_truth,
)
from bids_nodereg.bids.filters import Filters
from bids_nodereg.bids.image import CONTRASTS, RAW, Image, LabelMap, SideFile, contrast_problem, misplaced
from bids_nodereg.bids.index import database_layout, find_images, layout_of
from bids_nodereg.bids.labels import expand_labels
from bids_nodereg.bids.names import DESCRIPTION, IMAGE_EXTENSIONS, natural_key, parse_name
from bids_nodereg.bids.scans import read_timeline
from bids_nodereg.bids.sessions import Timeline
from bids_nodereg.errors import (
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    UsageError,
)
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.bids.filters import Query
    from bids_nodereg.bids.index import Layout

BATCH = 500
"""Participants of one index: large enough to be quick, small enough for its memory."""


@dataclass(frozen=True)
class LeftOut:
    """An anatomical file that does not take part, and why, in words."""

    relative: str
    reason: str

    @property
    def uri(self) -> str:
        """BIDS URI of the file."""
        return f"bids:{RAW}:{quote(self.relative)}"


@dataclass(frozen=True)
class Selection:
    """The images of one participant that may pair up, and the anatomical files that were left out.

    ``timeline`` tells when the sessions of the images were.
    """

    images: tuple[Image, ...]
    left_out: tuple[LeftOut, ...]
    timeline: Timeline = field(default_factory=Timeline)


@dataclass(frozen=True)
class Dataset:
    """A BIDS data set that was checked by :func:`open_dataset`.

    Attributes
    ----------
    root
        Absolute path of the data set.
    description
        Contents of its ``dataset_description.json``.
    derivatives
        ``(name, absolute path)`` of the derivative data sets to look in, first one preferred.
    database_dir
        Folder of a pybids database of the whole data set, or None to look into the folders.
    """

    root: Path
    description: Mapping[str, Any]
    derivatives: tuple[tuple[str, Path], ...] = ()
    database_dir: Path | None = None

    def subjects(self) -> tuple[str, ...]:
        """Labels of all participants that have a folder, in natural order."""
        return _folders(self.root, "sub")

    def participants(self, labels: Sequence[str] = ()) -> tuple[str, ...]:
        """Participants to work on, in natural order; all when no label is given.

        Parameters
        ----------
        labels
            Labels with or without ``sub-``; one that is no participant but a readable file stands
            for the labels in it, one a line.

        Raises
        ------
        MissingInputError
            If the data set has no participant folder at all.
        NothingSelectedError
            If a label has no folder.
        """
        present = self.subjects()
        if not present:
            odd = misspelt_participants(self.root)
            told = f" {odd[0]} is not read: rename it to sub-<label>, in small letters." if odd else ""
            msg = f"{self.root}: no sub-* folder here.{told} Is it the right folder, is the volume mounted?"
            raise MissingInputError(msg)
        wanted = set(expand_labels(labels, "sub", present))
        unknown = sorted(wanted - set(present), key=natural_key)
        if unknown or (labels and not wanted):
            names = ", ".join(unknown) or "none"
            shown = ", ".join(present[:5]) + (", ..." if len(present) > 5 else "")
            msg = (
                f"{self.root}: no folder for participant label(s) {names}. "
                f"There are {len(present)}: {shown}. Check --participant-label."
            )
            raise NothingSelectedError(msg)
        return tuple(label for label in present if label in wanted) if labels else present

    def images(
        self, subject: str, sessions: Sequence[str] = (), filters: Filters | None = None
    ) -> tuple[Image, ...]:
        """Images of one participant that may pair up; see :meth:`select`."""
        return self.select(subject, sessions, filters).images

    def select(self, subject: str, sessions: Sequence[str] = (), filters: Filters | None = None) -> Selection:
        """Find the weighted anatomical images of one participant; see :meth:`select_each`."""
        ((_, selection),) = self.select_each([subject], sessions, filters)
        return selection

    def select_each(
        self, subjects: Sequence[str], sessions: Sequence[str] = (), filters: Filters | None = None
    ) -> Iterator[tuple[str, Selection]]:
        """Find the weighted anatomical images of each participant, in the order given.

        Phase, real and imaginary parts are left out unless a filter asks for them; so are
        quantitative maps, slabs and derivatives. A broken link stays in, with its ``problem``.

        Parameters
        ----------
        subjects
            Labels without ``sub-``.
        sessions
            Session labels to keep, with or without ``ses-``, or files of labels; empty for all. An image
            without a session stays, as the BIDS execution specification has it.
        filters
            What :func:`bids_nodereg.bids.filters.read_filters` gave.
        """
        queries = (filters or Filters()).queries
        # a database is asked once: a query of it goes over everybody's files, whoever is asked for
        size = BATCH if self.database_dir is None else max(len(subjects), 1)
        for first in range(0, len(subjects), size):
            batch = subjects[first : first + size]
            everything, chosen = self._find(batch, queries)
            for subject in batch:
                found = everything.get(subject, [])
                yield subject, self._selection(subject, found, chosen, sessions, queries)

    def _selection(
        self,
        subject: str,
        everything: Sequence[Image],
        chosen: set[Image],
        sessions: Sequence[str],
        queries: Mapping[str, Query],
    ) -> Selection:
        """Tell the images of a participant that may pair up from those that are left out, with reasons."""
        names = {image.relative for image in everything if image in chosen}
        wanted = set(expand_labels(sessions, "ses", [image.session or "" for image in everything]))
        left_out = _no_images(self.root, subject)
        kept = []
        for image in everything:
            reason = _misplaced(image) or (_reason_left_out(image, queries) if image not in chosen else "")
            if sessions and image.session is not None and image.session not in wanted:
                reason = f"session {image.session} was not asked for"
            elif not reason and f"{image.relative}.gz" in names:
                reason = "the same image is there as .nii.gz"
            if reason:
                left_out[image.relative] = reason
            else:
                kept.append(image)
        return Selection(
            tuple(kept),
            tuple(LeftOut(name, reason) for name, reason in left_out.items()),
            self._timeline(subject, kept),
        )

    def _timeline(self, subject: str, images: Sequence[Image]) -> Timeline:
        """When the sessions were; not asked where there is only one."""
        sessions = sorted({image.session or "" for image in images}, key=natural_key)
        return read_timeline(self.root, subject, sessions) if len(sessions) > 1 else Timeline()

    @cached_property
    def _database(self) -> Layout | None:
        """The pybids database, opened once; None without one."""
        return database_layout(self.root, self.database_dir) if self.database_dir else None

    def _find(
        self, subjects: Sequence[str], queries: Mapping[str, Query]
    ) -> tuple[dict[str, list[Image]], set[Image]]:
        """All anatomical images of each participant in natural order, and those that the queries choose."""
        layout = self._database or layout_of(self.root, subjects)
        found = find_images(layout, self.root, subjects, {"datatype": "anat"})
        chosen: set[Image] = set()
        for suffix in CONTRASTS:
            own = queries.get(suffix, {})
            query: Query = {"datatype": "anat", "suffix": suffix, "part": ["mag", None], **own}
            takes_derived = bool({"space", "desc"} & own.keys())
            for images in find_images(layout, self.root, subjects, query).values():
                chosen |= {image for image in images if takes_derived or not _is_derived(image)}
        for images in found.values():
            images.sort(key=lambda image: natural_key(image.relative))
        return found, chosen

    def brain_mask(self, image: Image) -> Path | None:
        """Brain mask of the image from the derivative data sets, or None."""
        return find_brain_mask(self.derivatives, image)

    def lesion_mask(self, image: Image) -> SideFile | None:
        """Lesion mask of the image from the derivative data sets, then from the data set itself, or None."""
        return find_lesion_mask((*self.derivatives, (RAW, self.root)), image)

    def label_maps(self, image: Image) -> tuple[LabelMap, ...]:
        """Label maps of the image from the derivative data sets; may be none."""
        return find_label_maps(self.derivatives, image)

    def truth(self, fixed: Image, moving: Image) -> Path | None:
        """Known transform that pulls the moving image onto the fixed one, of simulated data; or None."""
        return find_truth(self.derivatives, fixed, moving)


def open_dataset(
    root: Path, *, database_dir: Path | None = None, derivatives: Mapping[str, Path] | None = None
) -> Dataset:
    """Check that a folder is a BIDS data set and open it.

    Raises
    ------
    MissingInputError
        If the folder, or that of a derivative data set, is not there.
    InvalidDatasetError
        If ``dataset_description.json`` is missing, not a JSON object, or lacks a required field.
    UsageError
        If a derivative data set has the name ``raw``, or one that no BIDS URI can hold.
    """
    root = root.absolute()
    if not root.is_dir():
        msg = f"{root}: the BIDS folder is not there. In a container: is the volume mounted?"
        if root.exists():
            msg = f"{root}: expected a BIDS folder, got a file. Give that of dataset_description.json."
        raise MissingInputError(msg)
    named = tuple((name, path.absolute()) for name, path in (derivatives or {}).items())
    for name, path in named:
        if name == RAW or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            msg = f"--derivatives {name}={path}: a name has letters, digits, '_', '.', '-', and is not 'raw'."
            raise UsageError(msg)
        if not path.is_dir():
            msg = f"--derivatives {name}={path}: the folder is not there. Is the volume mounted?"
            raise MissingInputError(msg)
    return Dataset(root, read_description(root), named, database_dir.absolute() if database_dir else None)


def read_description(root: Path) -> dict[str, Any]:
    """Read ``dataset_description.json`` (a byte-order mark is tolerated) and check what BIDS requires.

    Raises
    ------
    InvalidDatasetError
        If it is missing, not a JSON object, or lacks ``Name`` or ``BIDSVersion``.
    """
    path = root / DESCRIPTION
    try:
        description = read_json(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); every BIDS data set needs this file."
        raise InvalidDatasetError(msg) from error
    except ValueError as error:
        msg = f"{path}: not valid JSON ({error})."
        raise InvalidDatasetError(msg) from error
    if not isinstance(description, dict):
        msg = f"{path}: a JSON {type(description).__name__}, expected an object with Name and BIDSVersion."
        raise InvalidDatasetError(msg)
    missing = [field for field in ("Name", "BIDSVersion") if not isinstance(description.get(field), str)]
    if missing:
        msg = f"{path}: required text field(s) missing: {', '.join(missing)}."
        raise InvalidDatasetError(msg)
    return description


def _folders(root: Path, key: str) -> tuple[str, ...]:
    try:
        with os.scandir(root) as entries:
            found = [entry.name for entry in entries if entry.name.startswith(f"{key}-") and entry.is_dir()]
    except OSError as error:
        msg = f"{root}: cannot be listed ({error.strerror or error}). Check the permissions."
        raise MissingInputError(msg) from error
    return tuple(sorted((name.removeprefix(f"{key}-") for name in found), key=natural_key))


def _no_images(root: Path, subject: str) -> dict[str, str]:
    """What lies among the anatomical images with the ending of one and is none, with the reason.

    pybids goes into such a folder, and gives up names that are not BIDS.
    """
    own = root / f"sub-{subject}"
    reasons: dict[str, str] = {}
    for anat in (own / "anat", *sorted(own.glob("ses-*/anat"))):
        try:
            with os.scandir(anat) as entries:
                found = {entry.name: entry.is_dir() for entry in entries}
        except OSError:  # it is not there; one that may not be listed is told of by the index
            continue
        for name in sorted(found):
            reason = _no_image(name, is_folder=found[name])
            if reason and name.endswith(IMAGE_EXTENSIONS) and not name.startswith("."):
                relative = (anat / name).relative_to(root).as_posix()
                reasons[_shown(relative)] = reason
    return reasons


def _no_image(name: str, *, is_folder: bool) -> str:
    """Why something with the ending of an image is none; empty when it may be one."""
    if is_folder:
        return "a folder, expected a file"
    if _shown(name) != name:
        return "its name is not UTF-8: rename it"
    if parse_name(name) is None:
        return "its name is not sub-<label>_..._<suffix> with each entity once: rename it"
    return ""


def _shown(name: str) -> str:
    """The name as text: bytes of it that are no UTF-8 are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_derived(image: Image) -> bool:
    return image.entity("space") is not None or image.entity("desc") is not None


def _misplaced(image: Image) -> str:
    """Why it is not known of whom an image is, or of which session; empty when it is."""
    name = parse_name(image.path.name)
    return misplaced(image.relative, name) if name is not None else ""


def _reason_left_out(image: Image, queries: Mapping[str, Query]) -> str:
    """Why an anatomical file was not chosen."""
    if image.suffix in queries:
        return f"the filter file's query for {image.suffix} does not select it"
    if contrast_problem(image.suffix):
        return contrast_problem(image.suffix)
    if image.entity("part") not in {"mag", None}:
        return f"part-{image.entity('part')}: only magnitude images are used"
    return "a derived image (space- or desc- in its name)"
