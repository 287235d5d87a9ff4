"""Find what other programs derived from an image: masks, label maps, known transforms.

A file of a derivative data set belongs to an image of the same subject and session when

1. its sidecar's ``SpatialReference`` is that image (another image of the data set rules it out), or
2. its ``space-`` is the image's contrast; without ``space-`` it belongs to the T1w, as in fMRIPrep;

and, in case 2, when the entities of the acquisition (``acq``, ``ce``, ``rec``, ``run``, ...) agree.
A file that lacks some of them still belongs when the session has one image of that contrast only.
An image without ``space-`` belongs to the image of its own contrast. Files in a standard space never
match. A lesion mask may also lie in the raw data set, and may have its contrast as a word inside its name
(``sub-01_T1w_label-lesion_roi``), as users of fMRIPrep name it.

Of our own output nothing but brain masks is taken: all else in it was carried from another image, and is
no second opinion on the one it lies on.
"""

from __future__ import annotations

import os
import re
from itertools import chain, combinations
from typing import TYPE_CHECKING
from urllib.parse import quote

from bids_nodereg.bids.image import CONTRASTS, RAW, Image, LabelMap, SideFile
from bids_nodereg.bids.names import (
    DESCRIPTION,
    IMAGE_EXTENSIONS,
    FileName,
    beside,
    build_name,
    clean_label,
    natural_key,
    parse_name,
)
from bids_nodereg.bids.output_texts import NAME
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Derivative = tuple[str, "Path"]  # name and root folder

LESION_LABELS = {"lesion", "l"}  # L is the label of BIDS' table of common tissue classes
LESION_SUFFIXES = {"mask", "roi"}
WITHOUT_SPACE = "T1w"  # the contrast that a derivative without ``space-`` belongs to
_DESCRIBING = {"sub", "ses", "space", "label", "desc", "seg", "atlas", "scale", "res", "from", "to", "mode"}


def find_brain_mask(derivatives: Sequence[Derivative], image: Image) -> Path | None:
    """First ``desc-brain_mask`` that belongs to the image, in the order of the data sets; or None."""
    for _, root in derivatives:
        for path, name in _files_of(root, image, "mask"):
            if _is_brain_mask(name):
                return path
    return None


def find_lesion_mask(datasets: Sequence[Derivative], image: Image) -> SideFile | None:
    """First lesion mask (or roi) that belongs to the image, in the order of the data sets; or None."""
    for dataset, root in datasets:
        for path, name in _scan(root, image, _parse_lesion_name):
            if _is_lesion(name) and _belongs(path, name, image):
                return SideFile(path, f"bids:{dataset}:{quote(path.relative_to(root).as_posix())}")
    return None


def find_label_maps(derivatives: Sequence[Derivative], image: Image) -> tuple[LabelMap, ...]:
    """All ``dseg`` volumes that belong to the image, by the order of the data sets, then by name."""
    maps: list[LabelMap] = []
    for dataset, root in derivatives:
        for path, name in _files_of(root, image, "dseg"):
            desc = _unique_label(name, dataset, [each.desc for each in maps])
            uri = f"bids:{dataset}:{path.relative_to(root).as_posix()}"
            maps.append(LabelMap(path, desc, uri, _lookup_table(root, path, name)))
    return tuple(maps)


def find_truth(derivatives: Sequence[Derivative], fixed: Image, moving: Image) -> Path | None:
    """Known transform of a simulated pair, or None.

    It is a NIfTI field named ``from-<moving>_to-<fixed>_mode-image_desc-truth_xfm``; other formats are
    left alone.
    """
    if (fixed.subject, fixed.session) != (moving.subject, moving.session):
        return None
    wanted = {"from": moving.suffix, "to": fixed.suffix, "mode": "image", "desc": "truth"}
    for _, root in derivatives:
        for path, name in _scan(root, moving):
            labels = dict(name.entities)
            is_xfm = name.suffix == "xfm" and name.extension in IMAGE_EXTENSIONS
            if is_xfm and wanted.items() <= labels.items() and _acquisition_agrees(name, moving):
                return path
    return None


def files_of(root: Path, image: Image) -> Iterator[tuple[Path, FileName]]:
    """All NIfTI files below a data set's root that belong to the image, in natural order."""
    for path, name in _scan(root, image):
        if _is_image(name) and _belongs(path, name, image):
            yield path, name


def _files_of(root: Path, image: Image, suffix: str) -> Iterator[tuple[Path, FileName]]:
    return ((path, name) for path, name in files_of(root, image) if name.suffix == suffix)


def _is_lesion(name: FileName) -> bool:
    label = (name.get("label") or "").lower()
    return label in LESION_LABELS and name.suffix in LESION_SUFFIXES and name.extension in IMAGE_EXTENSIONS


def _parse_lesion_name(text: str) -> FileName | None:
    """Read a file name in which a contrast as a word of its own says what ``space-`` says."""
    return parse_name(re.sub(rf"_({'|'.join(CONTRASTS)})_", r"_space-\1_", text, count=1))


def _scan(
    root: Path, image: Image, parse: Callable[[str], FileName | None] = parse_name
) -> Iterator[tuple[Path, FileName]]:
    """Files of the image's subject and session below a derivative's root, in natural order."""
    session = () if image.session is None else (f"ses-{image.session}",)
    folder = root.joinpath(f"sub-{image.subject}", *session, "anat")
    if not folder.is_dir():
        return
    masks_alone = _is_our_output(root)
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        name = parse(path.name)
        if not name or (masks_alone and not _is_brain_mask(name)):
            continue
        if name.get("sub") == image.subject and name.get("ses") == image.session:
            yield path, name


def _is_our_output(root: Path) -> bool:
    """Whether a data set was made by this program."""
    try:
        makers = read_json(root / DESCRIPTION)["GeneratedBy"]
        return any(maker["Name"] == NAME for maker in makers)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_brain_mask(name: FileName) -> bool:
    is_brain = name.get("desc") == "brain" and name.get("label") in {None, "brain"}
    return is_brain and name.suffix == "mask"


def _belongs(path: Path, name: FileName, image: Image) -> bool:
    reference = _raw_reference(path, image)
    if reference is not None:
        return reference == image.relative
    own_space = image.entity("space")
    if own_space is not None:
        return name.get("space") == own_space
    without = name.suffix if name.suffix in CONTRASTS else WITHOUT_SPACE
    return (name.get("space") or without) == image.suffix and _acquisition_agrees(name, image)


def _raw_reference(path: Path, image: Image) -> str | None:
    """Raw image that a file's sidecar gives as its grid, when it gives one that is in the data set."""
    sidecar = beside(path, ".json")
    try:
        value = read_json(sidecar)["SpatialReference"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if image.dataset != RAW or not isinstance(value, str) or not value.startswith("bids:"):
        return None
    dataset, _, relative = value.removeprefix("bids:").partition(":")
    is_raw = bool(dataset) or path.parent == image.path.parent  # without a name: the file's own data set
    raw_root = image.path.parents[image.relative.count("/")]
    return relative if is_raw and os.path.lexists(raw_root / relative) else None


def _acquisition_agrees(name: FileName, image: Image) -> bool:
    theirs = {entity for entity in name.entities if entity[0] not in _DESCRIBING}
    ours = {entity for entity in image.short_entities if entity[0] not in _DESCRIBING}
    return theirs == ours or (theirs < ours and _is_only_one(image))


def _is_only_one(image: Image) -> bool:
    """Whether no other image of the contrast lies in the same folder."""
    names = (parse_name(path.name) for path in image.path.parent.iterdir())
    same = {name.entities for name in names if name and _is_image(name) and name.suffix == image.suffix}
    return len(same) == 1


def _is_image(name: FileName) -> bool:
    return name.extension in IMAGE_EXTENSIONS


def _unique_label(name: FileName, dataset: str, taken: Sequence[str]) -> str:
    label = clean_label("".join(name.get(key) or "" for key in ("atlas", "seg", "scale", "desc"))) or "dseg"
    if label in taken:
        label += clean_label(dataset)
    candidates = [label, *(f"{label}{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def _lookup_table(root: Path, path: Path, name: FileName) -> Path | None:
    """TSV of label names beside the file or, by inheritance, at the data set's root.

    Names that a table at the root may have are tried, the most specific first: listing the root for
    every label map would take a time that grows with the square of the number of participants.
    """
    sizes = range(len(name.entities), -1, -1)
    chosen = (entities for size in sizes for entities in combinations(name.entities, size))
    inherited = (root / build_name(entities, "dseg", ".tsv") for entities in chosen)
    own = beside(path, ".tsv")
    return next((table for table in chain([own], inherited) if table.is_file()), None)
