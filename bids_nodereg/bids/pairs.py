"""Which image is registered onto which: the rules, as pure functions of the images of one participant.

The policy, the same in every rule:

- **One reference a session.** The fixed image is of the first contrast of ``CONTRASTS`` that the
  session has (T1w first), or of ``fixed_suffix``. Among several of it the choice is made anew for
  each moving image: one without contrast agent, then the one that shares most of ``task``, ``acq``,
  ``ce``, ``rec``, ... with the moving image (both lacking it counts as shared), then the first in
  natural order (``run-2`` before ``run-10``).
- **Every other contrast moves**, and an image after contrast agent (``ce-``) is another contrast
  than the same without. Images of one suffix that differ in more than the run or echo are
  different images and each is taken; of several runs or echoes of the same the first is taken.
- **Images of the reference's own contrast stay**, other than those with contrast agent.
- ``all_pairs`` lifts the last two restraints: every image of the session moves onto the reference.
- Nothing crosses a session, but for ``longitudinal``; nothing crosses a participant, but for a pairs
  file.

Every choice that is made, and every one that is not, is a :class:`Candidate` with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from bids_nodereg.bids.image import CONTRASTS, Image
from bids_nodereg.bids.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bids_nodereg.bids.dataset import Dataset
    from bids_nodereg.bids.image import LabelMap, SideFile

_REPEATS = {"run", "echo"}  # entities that tell repetitions of the same image


@dataclass(frozen=True)
class Pair:
    """One registration to do: the moving image is pulled onto the grid of the fixed one.

    Attributes
    ----------
    rule
        What asked for it.
    fixed, moving
        The images.
    fixed_mask, moving_mask
        Brain masks, in the world of their image; None to find them in the image.
    fixed_dseg, moving_dseg
        Label maps, for measures and to be carried along.
    fixed_lesion, moving_lesion
        Lesion masks, 1 in the lesion: what is in one is not compared.
    stiffness
        Relative weight of smoothness at each place, in the world of the fixed image.
    """

    rule: str
    fixed: Image
    moving: Image
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    fixed_dseg: tuple[LabelMap, ...] = ()
    moving_dseg: tuple[LabelMap, ...] = ()
    fixed_lesion: SideFile | None = None
    moving_lesion: SideFile | None = None
    stiffness: SideFile | None = None


@dataclass(frozen=True)
class Candidate:
    """A pair that was thought of: taken or not, and why, in words.

    Attributes
    ----------
    fixed, moving
        The images; ``fixed`` is None where there was nothing to register onto.
    pair
        The pair, when it was taken.
    """

    rule: str
    fixed: Image | None
    moving: Image
    reason: str
    pair: Pair | None = None

    @property
    def taken(self) -> bool:
        """Whether the pair is to be registered."""
        return self.pair is not None


@dataclass(frozen=True)
class RuleOptions:
    """What the user can say about the rules.

    Attributes
    ----------
    fixed_suffix
        Contrast of the fixed image; None for the first of ``CONTRASTS`` that is there.
    moving_suffixes
        Contrasts of the moving images; empty for all.
    all_pairs
        Also register repetitions, and images of the reference's own contrast.
    """

    fixed_suffix: str | None = None
    moving_suffixes: tuple[str, ...] = ()
    all_pairs: bool = False


Rule = Callable[[Sequence[Image], RuleOptions], list[Candidate]]


def within_session(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Pair every other contrast of a session with the session's reference."""
    rule = "within-session"
    candidates = []
    for session in _sessions(images):
        suffix, lack = _reference_suffix(session, options)
        references = [image for image in session if image.suffix == suffix and not image.problem]
        anchor = choose_fixed(references) if references else None
        for moving in session:
            if anchor is None:
                candidates.append(Candidate(rule, None, moving, lack))
                continue
            fixed = _fixed_for(moving, anchor, references)
            reason = _reason_against(moving, anchor, session, options)
            if reason:
                candidates.append(Candidate(rule, None if moving == fixed else fixed, moving, reason))
            else:
                candidates.append(_take(rule, fixed, moving, _why_onto(fixed, references, moving)))
    return candidates


def longitudinal(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Pair each later session's reference with the first session's, of the same contrast."""
    sessions = [session for session in _sessions(images) if session[0].session is not None]
    participants = groupby(sessions, key=lambda session: session[0].subject)
    return [candidate for _, own in participants for candidate in _longitudinal(list(own), options)]


RULES: dict[str, Rule] = {
    "within-session": within_session,
    "longitudinal": longitudinal,
}


def pairs_of(candidates: Iterable[Candidate]) -> tuple[Pair, ...]:
    """Pairs that were taken; a pair that several rules took counts once, for the first of them."""
    pairs: dict[tuple[Path, Path], Pair] = {}
    for candidate in candidates:
        if candidate.pair is not None:
            pairs.setdefault((candidate.pair.fixed.path, candidate.pair.moving.path), candidate.pair)
    return tuple(pairs.values())


def with_derivatives(pair: Pair, dataset: Dataset) -> Pair:
    """Fill in the masks and label maps that the pair lacks from the derivative data sets.

    Lesion masks are also looked for in the data set itself.
    """
    fixed, moving = pair.fixed, pair.moving
    return replace(
        pair,
        fixed_mask=pair.fixed_mask or dataset.brain_mask(fixed),
        moving_mask=pair.moving_mask or dataset.brain_mask(moving),
        fixed_dseg=pair.fixed_dseg or dataset.label_maps(fixed),
        moving_dseg=pair.moving_dseg or dataset.label_maps(moving),
        fixed_lesion=pair.fixed_lesion or dataset.lesion_mask(fixed),
        moving_lesion=pair.moving_lesion or dataset.lesion_mask(moving),
    )


def without_lesion_masks(pair: Pair) -> Pair:
    """Leave the lesion masks out: everything in the brain is compared."""
    return replace(pair, fixed_lesion=None, moving_lesion=None)


def choose_fixed(images: Sequence[Image], moving: Image | None = None) -> Image:
    """Choose the image to register onto: no contrast agent, most entities shared, first in order."""

    def rank(image: Image) -> tuple[bool, int, object]:
        differing = 0 if moving is None else len(_variant(image) ^ _variant(moving))
        return (image.entity("ceagent") is not None, differing, natural_key(image.relative))

    return min(images, key=rank)


def _longitudinal(sessions: Sequence[list[Image]], options: RuleOptions) -> list[Candidate]:
    rule = "longitudinal"
    suffix, lack = _reference_suffix(sessions[0], options)
    fixed = _first_usable(sessions[0], suffix)
    if fixed is None:
        return [Candidate(rule, None, sessions[0][0], f"the first session has no reference: {lack}")]
    if len(sessions) == 1:
        return [Candidate(rule, None, fixed, f"ses-{fixed.session} is the participant's only session")]
    candidates = []
    for session in sessions[1:]:
        usable = [image for image in session if image.suffix == suffix and not image.problem]
        if usable:
            moving = choose_fixed(usable, fixed)
            why = f"{suffix} of ses-{moving.session} onto that of the first session, ses-{fixed.session}"
            candidates.append(_take(rule, fixed, moving, why + _among(moving, usable)))
        else:
            why = f"ses-{session[0].session} has no usable {suffix} to go onto that of ses-{fixed.session}"
            candidates.append(Candidate(rule, fixed, session[0], why))
    return candidates


def _fixed_for(moving: Image, anchor: Image, references: Sequence[Image]) -> Image:
    """Find the reference for one moving image: never itself, never one that moves onto it."""
    if moving.suffix != anchor.suffix:
        return choose_fixed(references, moving)
    plain = [image for image in references if image.entity("ceagent") is None]
    return choose_fixed(plain, moving) if plain and moving.entity("ceagent") else anchor


def _take(rule: str, fixed: Image, moving: Image, reason: str) -> Candidate:
    return Candidate(rule, fixed, moving, reason, Pair(rule, fixed, moving))


def _sessions(images: Sequence[Image]) -> list[list[Image]]:
    """Group the images by participant and session, in natural order."""

    def session(image: Image) -> tuple[object, ...]:
        return (natural_key(image.subject), image.session is not None, natural_key(image.session or ""))

    ordered = sorted(images, key=lambda image: (*session(image), natural_key(image.relative)))
    return [list(group) for _, group in groupby(ordered, key=session)]


def _reference_suffix(session: Sequence[Image], options: RuleOptions) -> tuple[str, str]:
    """Contrast of a session's reference, and what to say when there is no usable image of it."""
    usable = {image.suffix for image in session if not image.problem}
    order = [*CONTRASTS, *sorted(usable - CONTRASTS.keys())]
    suffix = options.fixed_suffix or next((each for each in order if each in usable), session[0].suffix)
    broken = [image for image in session if image.suffix == suffix and image.problem]
    if broken:
        return suffix, f"the reference {broken[0].path.name} cannot be used: {broken[0].problem}"
    found = ", ".join(sorted(usable)) or "none"
    return suffix, f"the session has no {suffix} to register onto (usable contrasts: {found})"


def _first_usable(session: Sequence[Image], suffix: str) -> Image | None:
    usable = [image for image in session if image.suffix == suffix and not image.problem]
    return choose_fixed(usable) if usable else None


def _variant(image: Image) -> set[tuple[str, str]]:
    """Entities that make this another image than its neighbours, not another take of the same."""
    return {entity for entity in image.entities if entity[0] not in _REPEATS}


def _reason_against(moving: Image, anchor: Image, session: Sequence[Image], options: RuleOptions) -> str:
    """Why an image does not move; empty when it does."""
    if moving.problem:
        return moving.problem
    if moving == anchor:
        return "the session's reference"
    if options.moving_suffixes and moving.suffix not in options.moving_suffixes:
        return f"moving contrasts are restricted to {', '.join(options.moving_suffixes)}"
    if options.all_pairs:
        return ""
    if moving.suffix == anchor.suffix and moving.entity("ceagent") == anchor.entity("ceagent"):
        return f"of the reference's own contrast {anchor.suffix}: only all pairs would move it"
    takes = [image for image in session if image.suffix == moving.suffix and not image.problem]
    first = min(
        (image for image in takes if _variant(image) == _variant(moving)),
        key=lambda image: natural_key(image.relative),
    )
    return "" if first == moving else f"another run or echo of {first.path.name}, which is taken"


def _why_onto(fixed: Image, references: Sequence[Image], moving: Image) -> str:
    agent = moving.entity("ceagent")
    contrast = f"{moving.suffix} with ce-{agent}" if agent else moving.suffix
    return f"{contrast} onto the session's {fixed.suffix}" + _among(fixed, references)


def _among(chosen: Image, images: Sequence[Image]) -> str:
    if len(images) == 1:
        return ""
    policy = "no contrast agent, most entities shared, first in order"
    return f"; {chosen.path.name} chosen among {len(images)}: {policy}"
