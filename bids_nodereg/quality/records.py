"""What a report is made from: plain data that survives a trip through JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bids_nodereg.quality.overlap import LabelOverlap
from bids_nodereg.quality.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class InputImage:
    """One image that went in.

    Attributes
    ----------
    path
        File name relative to the data set, or BIDS URI.
    contrast
        BIDS suffix, such as ``T2w``.
    shape
        Number of voxels along each axis.
    spacing_mm
        Voxel size.
    orientation
        Axis codes, such as ``RAS``.
    mask_origin
        Where the mask came from, in words.
    labels
        File name of its label map; empty when there is none.
    notes
        What was found in its header, in words.
    """

    path: str
    contrast: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    mask_origin: str
    labels: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputFiles:
    """Names of the written files, relative to the output folder; empty when not written.

    Attributes
    ----------
    forward, inverse
        ITK composite that pulls the moving image onto the fixed grid, and its inverse.
    affine, warp
        The parts of the forward one: ITK text and displacement NIfTI.
    warped
        The moving image on the fixed grid.
    """

    forward: str
    inverse: str = ""
    affine: str = ""
    warp: str = ""
    warped: str = ""


@dataclass(frozen=True)
class MethodsFacts:
    """What the methods paragraph has to know about the settings.

    Attributes
    ----------
    version
        Version of this program.
    fixed_contrasts, moving_contrasts
        BIDS suffixes of all pairs that were searched for, templates left out.
    transform
        ``rigid``, ``affine`` or ``deformable``.
    descriptor
        What was compared: a key of :data:`~bids_nodereg.quality.methods.SIMILARITIES`.
    velocity
        How the velocity field is represented, in words, such as ``a convolutional neural network``.
    solver
        How the flow is integrated, such as ``rk4`` or ``scaling and squaring``.
    steps
        Steps of the solver (or squarings).
    iterations
        Iterations of each level, coarse to fine.
    spacing_mm
        Working resolution.
    folding_epsilon
        Jacobian determinant below which the folding barrier acts.
    penalties
        What else is penalised, in words, such as ``the gradient of the velocity``.
    software
        Name and version of the libraries that did the work.
    symmetric
        Whether the images were compared in both directions.
    time_parts
        Number of parts of the time with a velocity field each.
    captured
        Whether a search over displacements came before the gradient steps.
    stiffness
        What the penalties varied with in space, in words; empty for nothing.
    lesion_masks
        Which images had lesion masks: ``fixed``, ``moving``.
    information_weight
        Weight of the local mutual information beside a structural descriptor; 0 for none.
    bias_corrected
        Images whose bias field was divided out, in words, such as ``fixed images``.
    brain_masks
        Where brain masks came from: keys of :data:`~bids_nodereg.quality.methods.BRAIN_MASKS`.
    templates
        Names of the output spaces.
    templateflow
        Those of the output spaces that came from TemplateFlow.
    composed
        BIDS suffixes of images that reached a template through another image, with no search of their own.
    """

    version: str
    fixed_contrasts: tuple[str, ...]
    moving_contrasts: tuple[str, ...]
    transform: str
    descriptor: str
    velocity: str
    solver: str
    steps: int
    iterations: tuple[int, ...]
    spacing_mm: float
    folding_epsilon: float
    penalties: tuple[str, ...] = ("the gradient of the velocity",)
    software: tuple[tuple[str, str], ...] = ()
    symmetric: bool = False
    time_parts: int = 1
    captured: bool = False
    stiffness: tuple[str, ...] = ()
    lesion_masks: tuple[str, ...] = ()
    information_weight: float = 0.0
    bias_corrected: tuple[str, ...] = ()
    brain_masks: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    templateflow: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairReport:
    """Everything the page shows of one registered pair.

    Attributes
    ----------
    key
        Short name, unique on the page, of letters, digits and hyphens: it becomes the anchor.
    title
        Heading, such as ``T2w onto T1w``.
    rule
        Pair rule that asked for it.
    fixed, moving
        What went in.
    measures
        Value by key of the dictionary.
    verdict
        Outcome and reasons.
    figures
        Path relative to the output folder by figure, as :func:`figures.pair.draw_pair` names them.
    outputs
        What was written.
    viewer
        Address of its interactive page, relative to the output folder; empty where there is none.
    labels_before, labels_after
        Overlap of each label by the affine alone and by the whole map.
    facts
        What the methods paragraph says of the pair.
    settings, provenance
        Words by name, in the order shown: what was asked for; what ran where, when, how long.
    """

    key: str
    title: str
    rule: str
    fixed: InputImage
    moving: InputImage
    measures: Mapping[str, float | None]
    verdict: Verdict
    figures: Mapping[str, str]
    outputs: OutputFiles
    facts: MethodsFacts | None = None
    viewer: str = ""
    labels_before: tuple[LabelOverlap, ...] = ()
    labels_after: tuple[LabelOverlap, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedPair:
    """A pair that ended in an error.

    Attributes
    ----------
    key, title
        As in :class:`PairReport`.
    fixed, moving
        File names.
    error
        The message.
    log
        Where the details are; empty when nowhere.
    """

    key: str
    title: str
    fixed: str
    moving: str
    error: str
    log: str = ""


def to_json(pair: PairReport) -> dict[str, Any]:
    """Turn a pair into an object that JSON can hold."""
    return asdict(pair)


def from_json(content: Mapping[str, Any]) -> PairReport:
    """Build a pair again from what :func:`to_json` gave and JSON kept.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If the content was not made by :func:`to_json` of this version.
    """
    verdict = content["verdict"]
    return PairReport(
        **{
            **content,
            "fixed": _image(content["fixed"]),
            "moving": _image(content["moving"]),
            "measures": finite_or_none(content["measures"]),
            "verdict": Verdict(verdict["status"], tuple(verdict["reasons"])),
            "outputs": OutputFiles(**content["outputs"]),
            "facts": _facts(content["facts"]),
            "labels_before": tuple(map(_overlap, content["labels_before"])),
            "labels_after": tuple(map(_overlap, content["labels_after"])),
        }
    )


def finite_or_none(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Give values read from JSON back when each is a finite number, or None for a value that is missing.

    Raises
    ------
    TypeError
        If one is something else than a number.
    ValueError
        If one is not finite, or too large for a float.
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            msg = f"{name} is {value!r}, expected a number or null"
            raise TypeError(msg)
        if not abs(value) <= sys.float_info.max:  # NaN compares false
            msg = f"{name} is {value}, expected a finite number or null"
            raise ValueError(msg)
    return dict(values)


def _overlap(row: Mapping[str, Any]) -> LabelOverlap:
    finite_or_none({name: value for name, value in row.items() if name not in {"label", "name"}})
    return LabelOverlap(**row)


def _facts(content: Mapping[str, Any] | None) -> MethodsFacts | None:
    """Facts with the tuples that JSON has made lists of."""
    if content is None:
        return None
    sequences = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    software = tuple((name, version) for name, version in content["software"])
    return MethodsFacts(**{**content, **sequences, "software": software})


def _image(content: Mapping[str, Any]) -> InputImage:
    sequences = {name: tuple(content[name]) for name in ("shape", "spacing_mm", "notes")}
    return InputImage(**{**content, **sequences})
