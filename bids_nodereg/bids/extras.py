"""More files of a moving image that are carried along: its brain mask, tissue maps, whatever is named.

A file is named as by the end of a BIDS name, ``desc-preproc_T2w``: it has to have that suffix and those
entities, and may have others. Labels may hold ``*``. What belongs to an image says
:mod:`bids_nodereg.bids.derivative_inputs`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from bids_nodereg.bids.derivative_inputs import Derivative, files_of
from bids_nodereg.bids.image import name_problem
from bids_nodereg.bids.names import beside, clean_label
from bids_nodereg.errors import UsageError
from bids_nodereg.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.names import Entity, FileName

    Kind = Literal["image", "labels", "mask", "share"]

LOG = logging.getLogger("nodereg")

KINDS: dict[str, Kind] = {"mask": "mask", "roi": "mask", "dseg": "labels", "probseg": "share"}
"""What a suffix stands for; all others are images."""

TELLING = ("atlas", "seg", "scale", "label", "desc")
"""Entities that tell the files of one image apart."""

WITH_LABEL = {"mask", "probseg"}
"""Suffixes whose names BIDS lets have ``label-``."""


@dataclass(frozen=True)
class Wanted:
    """Which files are asked for.

    Attributes
    ----------
    entities
        ``(short key, label)`` that a name must have; a label may hold ``*``.
    suffix
        Suffix that it must have.
    alone
        Whether it must have no other entity that says what it is.
    """

    entities: tuple[Entity, ...]
    suffix: str
    alone: bool = False

    def __str__(self) -> str:
        """As it is written on the command line."""
        return "_".join([*(f"{key}-{label}" for key, label in self.entities), self.suffix])

    def matches(self, name: FileName) -> bool:
        """Whether a file name is what is asked for."""
        labels = dict(name.entities)
        has_all = all(key in labels and fnmatchcase(labels[key], label) for key, label in self.entities)
        others = {key for key in TELLING if key in labels} - {key for key, _ in self.entities}
        return name.suffix == self.suffix and has_all and not (self.alone and others)


ALWAYS = (
    Wanted((("desc", "brain"),), "mask", alone=True),
    *(Wanted((("label", tissue),), "probseg", alone=True) for tissue in ("CSF", "GM", "WM")),
)
"""Carried without being asked for, where a derivative data set has them."""


@dataclass(frozen=True)
class Extra:
    """One file to carry along.

    Attributes
    ----------
    path
        Absolute path.
    uri
        BIDS URI of the file.
    name
        Its name in parts.
    asked
        Whether the user asked for it, and must hear when it cannot be had.
    """

    path: Path
    uri: str
    name: FileName
    asked: bool = False

    @property
    def sidecar(self) -> Path:
        """Where its sidecar is, if it has one."""
        return beside(self.path, ".json")

    @property
    def kind(self) -> Kind:
        """What it holds, which decides how it is interpolated."""
        return KINDS.get(self.name.suffix, "image")

    @property
    def suffix(self) -> str:
        """Suffix once carried; BIDS has no ``roi`` for derivatives."""
        return "mask" if self.name.suffix == "roi" else self.name.suffix

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Entities that stay in its name once carried."""
        label = self.name.get("label")
        return (("label", label),) if label and self.suffix in WITH_LABEL else ()

    @property
    def desc(self) -> str:
        """What else tells it apart, as one label; may be empty."""
        kept = dict(self.entities)
        return clean_label("".join(self.name.get(key) or "" for key in TELLING if key not in kept))

    def told(self) -> dict[str, Any]:
        """What its sidecar says; empty where there is none that can be read."""
        try:
            content = read_json(self.sidecar)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def read_wanted(text: str) -> Wanted:
    """Read ``key-label[_key-label...]_suffix``.

    Raises
    ------
    UsageError
        If it is not of that form.

    Examples
    --------
    >>> read_wanted("label-GM_probseg")
    Wanted(entities=(('label', 'GM'),), suffix='probseg', alone=False)
    """
    *pairs, suffix = text.split("_")
    split = [pair.partition("-") for pair in pairs]
    entities = tuple((key, label) for key, _, label in split)
    if (
        not suffix.isalnum()
        or not all(all(parts) for parts in split)
        or {"sub", "ses"} & dict(entities).keys()
    ):
        msg = (
            f"--apply-to {text}: expected key-label[_key-label]_suffix, such as desc-preproc_T2w or "
            "label-GM_probseg, without sub- and ses-."
        )
        raise UsageError(msg)
    return Wanted(entities, suffix)


def find_extras(
    places: Iterable[tuple[Derivative, Collection[Wanted]]], image: Image, taken: Collection[Path] = ()
) -> tuple[Extra, ...]:
    """All files of an image that are asked for, in the order of the data sets, then by name.

    Of several that would have one name once carried the first is taken; the others are told in a warning.

    Parameters
    ----------
    places
        Names and roots of the data sets to look in, each with what is asked of it.
    image
        The image they belong to; itself it is not among them.
    taken
        Files that are carried anyway, such as label maps.
    """
    extras: dict[str, Extra] = {}
    passed_over: list[str] = []
    for (dataset, root), wanted in places:
        for path, name in files_of(root, image):
            matching = [each for each in wanted if each.matches(name)]
            if path == image.path or path in taken or not matching:
                continue
            if name_problem(name):
                LOG.warning("Not carried: %s: %s.", path, name_problem(name))
                continue
            uri = f"bids:{dataset}:{quote(path.relative_to(root).as_posix())}"
            extra = Extra(path, uri, name, asked=any(each not in ALWAYS for each in matching))
            first = extras.setdefault(f"{extra.entities} {extra.desc} {extra.suffix}".casefold(), extra)
            if first.path.name.partition(".")[0] != path.name.partition(".")[0]:
                passed_over.append(f"{path} (as {first.path.name})")
    if passed_over:
        LOG.warning("Not carried, as they would have the name of another file: %s", ", ".join(passed_over))
    return tuple(extras.values())
