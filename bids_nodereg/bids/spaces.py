"""Words of ``--output-spaces``: which standard space, which cohort, which resolutions, or which file.

``SPACE[:cohort-X][:res-R]...`` is a template of TemplateFlow, spelled as fMRIPrep spells it;
``NAME=FILE[,mask=FILE]`` is a file of the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence  # noqa: TC003 - cattrs reads the annotations at run time
from dataclasses import dataclass, replace
from pathlib import Path

from bids_nodereg.bids.image import CONTRASTS, RAW
from bids_nodereg.bids.names import IMAGE_EXTENSIONS
from bids_nodereg.errors import UsageError

TO_TEMPLATE = "to-template"
"""Name of the rule that brings images to the output spaces."""

TEMPLATEFLOW = "templateflow"
"""Name of TemplateFlow as a data set in BIDS URIs."""

_LABEL = re.compile(r"[A-Za-z0-9+]+")
_FORM = "SPACE[:cohort-X][:res-R]... or NAME=FILE.nii.gz[,mask=FILE.nii.gz]"


@dataclass(frozen=True)
class OutputSpace:
    """One space that images are brought to.

    Attributes
    ----------
    name
        Identifier of the template, such as ``MNI152NLin2009cAsym``, or the user's name for a file.
    cohort
        Cohort of the template, or None.
    resolutions
        Indices of TemplateFlow's ``res-``, without leading zeros, in the order in which they were asked
        for; the empty one stands for the grid that is registered onto, with no ``res-`` in the names.
    path, mask
        Files of a local template, absolute; None for one of TemplateFlow.
    """

    name: str
    cohort: str | None = None
    resolutions: tuple[str, ...] = ("",)
    path: Path | None = None
    mask: Path | None = None

    @property
    def label(self) -> str:
        """Label in file names: the name, and after a ``+`` the cohort, as fMRIPrep writes it."""
        return self.name if self.cohort is None else f"{self.name}+{self.cohort}"


def output_spaces(words: Sequence[str]) -> tuple[OutputSpace, ...]:
    """Read the words of ``--output-spaces``; words of one space are put together.

    Raises
    ------
    UsageError
        If a word is of neither form, two files have one name, or names differ in case only.

    Examples
    --------
    >>> [space] = output_spaces(["MNI152NLin6Asym:res-1", "MNI152NLin6Asym:res-02"])
    >>> space.label, space.resolutions
    ('MNI152NLin6Asym', ('1', '2'))
    """
    spaces: dict[str, OutputSpace] = {}
    for word in words:
        new = _local_file(word) if "=" in word else _template(word)
        _check_case(word, new.label, spaces)
        known = spaces.setdefault(new.label, new)
        if (known.path, known.mask) != (new.path, new.mask):
            _refuse(word, f"{new.name} names two different templates")
        if new.path in {other.path for other in spaces.values() if other.name != new.name} - {None}:
            _refuse(word, "the same file has two names")
        both = dict.fromkeys((*known.resolutions, *new.resolutions))
        spaces[new.label] = replace(known, resolutions=tuple(both))
    return tuple(spaces.values())


def _template(word: str) -> OutputSpace:
    name, *modifiers = word.split(":")
    _check_name(word, name)
    cohort = None
    resolutions = []
    for modifier in modifiers:
        key, _, value = modifier.partition("-")
        if key not in {"res", "cohort"} or not _LABEL.fullmatch(value):
            _refuse(word, f"{modifier!r} is neither res-R nor cohort-X")
        if key == "cohort":
            cohort = value
        elif value.isdecimal():
            resolutions.append(str(int(value)))
        else:
            _refuse(
                word, f"{modifier!r}: a resolution is an index of the template, such as 1 or 2, not a size"
            )
    return OutputSpace(name, cohort, tuple(resolutions) or ("",))


def _local_file(word: str) -> OutputSpace:
    name, _, value = word.partition("=")
    _check_name(word, name)
    text, _, mask_text = value.partition(",mask=")
    for each in (text, *([mask_text] if mask_text else [])):
        if not each.endswith(IMAGE_EXTENSIONS):
            _refuse(word, f"{each!r} is no NIfTI file (.nii or .nii.gz)")
    return OutputSpace(
        name, path=Path(text).absolute(), mask=Path(mask_text).absolute() if mask_text else None
    )


def _check_name(word: str, name: str) -> None:
    if not _LABEL.fullmatch(name):
        _refuse(word, f"the name {name!r} may have letters, digits and + only")
    if name in {*CONTRASTS, RAW, TEMPLATEFLOW}:
        _refuse(word, f"{name!r} has a meaning of its own; choose another name")


def _check_case(word: str, label: str, known: Iterable[str]) -> None:
    """Refuse a label that differs from another in case only: not every disk tells their files apart."""
    for other in known:
        if other != label and other.casefold() == label.casefold():
            _refuse(word, f"{other} and {label} differ in case only")


def _refuse(word: str, problem: str) -> None:
    msg = f"--output-spaces {word}: {problem}. Expected {_FORM}."
    raise UsageError(msg)
