"""Records of what is found in a data set: one image, one label map; and which contrasts pair up."""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from bids_nodereg.bids.names import (
    ENTITIES,
    IMAGE_EXTENSIONS,
    LONG_TO_SHORT,
    Entity,
    FileName,
    clean_label,
    parse_name,
)

if TYPE_CHECKING:
    from pathlib import Path

RAW = "raw"

# Suffixes that pair up, best reference first, each with its why.
CONTRASTS: dict[str, str] = {
    "T1w": "the usual anatomical reference: best grey/white contrast, near isotropic",
    "UNIT1": "the T1-weighted image of MP2RAGE, a reference where there is no T1w",
    "T2w": "T2-weighted",
    "PDw": "proton-density-weighted",
    "FLAIR": "T2-weighted with the fluid's signal removed",
    "T2starw": "T2*-weighted: distorted near air, so the last choice of reference",
}

T1_WEIGHTED = frozenset({"T1w", "UNIT1"})
"""Contrasts that serve as the reference equally well."""

# Anatomical suffixes that stay out, each with the reason that a user is given.
NOT_PAIRED: dict[str, str] = {
    "inplaneT1": "a thin slab in the plane of the functional images, not a T1w",
    "inplaneT2": "a thin slab in the plane of the functional images, not a T2w",
    "PDT2": "two contrasts in one 4-D file: split it into PDw and T2w",
    "angio": "vessels only, no tissue contrast",
    "defacemask": "a mask, not an image",
    "MP2RAGE": "the parts of a UNIT1, not a contrast of their own",
    "mask": "a mask, not an image",
    "roi": "a region, not an image",
}
LONGEST_STEM = 120
"""Characters of an image's name before the extension: outputs add to it, and file systems take 255."""

NO_CONTRAST = "not a weighted anatomical image (quantitative map, file collection or unknown suffix)"


@dataclass(frozen=True)
class Image:
    """One anatomical image file.

    Attributes
    ----------
    path
        Absolute path; symbolic links are not followed.
    relative
        POSIX path relative to the root of its data set.
    subject, session
        Labels without ``sub-``, ``ses-``; the session may be missing.
    suffix
        Contrast, such as ``T2w``.
    entities
        All other ``(long name, label)`` pairs in BIDS order, as spelled in the file name, such as
        ``(("acquisition", "mprage"), ("run", "01"))``.
    dataset
        Name of its data set in a BIDS URI: ``raw``, or that of a derivative.
    problem
        Why the file cannot be used, in words; empty when nothing is known against it.
    """

    path: Path
    relative: str
    subject: str
    session: str | None
    suffix: str
    entities: tuple[Entity, ...] = ()
    dataset: str = RAW
    problem: str = ""

    def entity(self, name: str) -> str | None:
        """Label of an entity by its long name (``run``, ``acquisition``, ...), or None."""
        if name in {"subject", "session"}:
            return self.subject if name == "subject" else self.session
        return dict(self.entities).get(name)

    @property
    def short_entities(self) -> tuple[Entity, ...]:
        """All entities with the short keys of a file name, subject and session first."""
        session = () if self.session is None else (("ses", self.session),)
        rest = tuple((LONG_TO_SHORT.get(name, name), label) for name, label in self.entities)
        return (("sub", self.subject), *session, *rest)

    @property
    def uri(self) -> str:
        """BIDS URI, such as ``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``."""
        return f"bids:{self.dataset}:{quote(self.relative)}"


@dataclass(frozen=True)
class LabelMap:
    """A discrete segmentation on the grid (or in the world) of an image.

    Attributes
    ----------
    path
        Absolute path of the ``dseg`` file.
    desc
        Label that names it, letters and digits only, unique among the maps of one image.
    uri
        BIDS URI of the file.
    lookup
        TSV file with the names of the labels, or None.
    """

    path: Path
    desc: str
    uri: str
    lookup: Path | None = None


@dataclass(frozen=True)
class SideFile:
    """A file beside the images that decides a result, such as a lesion mask.

    Attributes
    ----------
    path
        Absolute path; symbolic links are not followed.
    uri
        BIDS URI of the file.
    """

    path: Path
    uri: str


def image_from_name(path: Path, relative: str, dataset: str = RAW) -> Image | None:
    """Make the record from the file's name alone; None if it is not the name of a subject's image."""
    name = parse_name(path.name)
    subject = name.get("sub") if name else None
    if name is None or subject is None or name.extension not in IMAGE_EXTENSIONS:
        return None
    return Image(
        path=path,
        relative=relative,
        subject=subject,
        session=name.get("ses"),
        suffix=name.suffix,
        entities=long_entities(name),
        dataset=dataset,
        problem=name_problem(name) or misplaced(relative, name) or file_problem(path),
    )


def name_problem(name: FileName) -> str:
    """Say in words what forbids that output names are made of a name; empty when nothing does."""
    parts = (*(part for entity in name.entities for part in entity), name.suffix)
    wrong = [part for part in parts if clean_label(part) != part]
    if wrong:
        return f"its name has {wrong[0]!r}; BIDS allows letters, digits and + only: rename it"
    length = sum(len(part) + 1 for part in parts)
    if length > LONGEST_STEM:
        return f"its name has {length} characters; {LONGEST_STEM} leave room for what is added: rename it"
    return ""


def misplaced(relative: str, name: FileName) -> str:
    """Say that the folders ``sub-``, ``ses-`` of a path are of another image; empty when they are not."""
    for folder in relative.split("/")[:-1]:
        key, _, label = folder.partition("-")
        if key in {"sub", "ses"} and name.get(key) != label:
            return f"folder and name disagree: it lies in {folder}, and the name says {_says(name, key)}"
    return ""


def _says(name: FileName, key: str) -> str:
    label = name.get(key)
    return f"no {key}-" if label is None else f"{key}-{label}"


def long_entities(name: FileName) -> tuple[Entity, ...]:
    """Entities of a name under their long names, without subject and session."""
    return tuple((ENTITIES.get(key, key), label) for key, label in name.entities if key not in {"sub", "ses"})


def file_problem(path: Path) -> str:
    """Say in words why a path that was listed is no readable file; empty when it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _why_no_file(path, error)
    except ValueError:
        return "its name holds a byte that no name can hold (NUL)"
    if stat.S_ISREG(mode):
        return ""
    return "a folder, expected a file" if stat.S_ISDIR(mode) else "no regular file"


def _why_no_file(path: Path, error: OSError) -> str:
    """Why nothing can be told of a path."""
    if error.errno == errno.ELOOP:
        return "a symbolic link that leads back to itself: remove it, and fetch the file again"
    if isinstance(error, PermissionError):
        return "it may not be looked at: check the permissions of its folder"
    try:
        is_link = path.is_symlink()
    except OSError:
        is_link = False
    if is_link:
        return (
            "broken symbolic link: the contents are not here (git-annex or DataLad: get the file first, with "
            "'datalad get' or 'git annex get')"
        )
    return "the file is not there (any more)"


def contrast_problem(suffix: str) -> str:
    """Say why images of this suffix are not paired; empty when they are."""
    return "" if suffix in CONTRASTS else NOT_PAIRED.get(suffix, NO_CONTRAST)
