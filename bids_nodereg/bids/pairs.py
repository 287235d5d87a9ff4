"""Which image is registered onto which: the rules, as pure functions of the images of one participant.

The policy of :func:`within_session` and all that build on it (docs/pairs.md tells it to users):

- **One reference a session.** The fixed image is of the first contrast of ``CONTRASTS`` that the
  session has (T1w first), or of ``fixed_suffix``. Among several of it the choice is made anew for
  each moving image: one without contrast agent, then the one that shares most of ``task``, ``acq``,
  ``ce``, ``rec``, ... with the moving image (both lacking it counts as shared), then the first in
  natural order (``run-2`` before ``run-10``).
- **The same session first, then the nearest in time.** A session without an image of the contrast that
  the participant's references are of (T1w and UNIT1 count as one) borrows the reference of the nearest
  session that has one, unless ``within`` is ``session``. The time is that of ``scans.tsv``, else of
  ``sessions.tsv``, else the order of the labels.
- **Every other contrast moves**, and an image after contrast agent (``ce-``) is another contrast
  than the same without. Images of one suffix that differ in more than the run or echo are
  different images and each is taken; of several runs or echoes of the same the first is taken.
- **Images of the reference's own contrast stay**, other than those with contrast agent.
- ``all_pairs`` lifts the last two restraints: every image of the session moves onto the reference.
- Nothing crosses a participant, but for a pairs file.
- **A file that cannot be read** (``Image.problem``) is chosen as if it could be, and its pair is then not
  taken: which files were fetched never changes what is paired with what.

Every choice that is made, and every one that is not, is a :class:`Candidate` with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from bids_nodereg.bids.image import Image
from bids_nodereg.bids.names import natural_key
from bids_nodereg.bids.reference import (
    choose_fixed,
    of_contrasts,
    other_home,
    reference_suffix,
    variant,
)
from bids_nodereg.bids.sessions import Timeline, by_participant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bids_nodereg.bids.dataset import Dataset
    from bids_nodereg.bids.extras import Extra
    from bids_nodereg.bids.image import LabelMap, SideFile
    from bids_nodereg.bids.templates import Template

Within = Literal["session", "subject"]
ACROSS_SESSIONS = "across-sessions"
"""What a pair of :func:`within_session` is called that borrows the reference of another session."""


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
    moving_extras
        More files of the moving image, to be carried along.
    template
        The template that the fixed image is of; None for an image of a participant.
    via
        The image that the moving one is registered onto first; the map onto the template is then
        composed of two, and not searched. None where it is searched.
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
    template: Template | None = None
    via: Image | None = None
    moving_extras: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A pair that was thought of: taken or not, and why, in words.

    Attributes
    ----------
    fixed, moving
        The images; ``fixed`` is None where there was nothing to register onto.
    pair
        The pair, when it was taken.
    unusable
        Of a pair that would have been taken: its images that cannot be used.
    """

    rule: str
    fixed: Image | None
    moving: Image
    reason: str
    pair: Pair | None = None
    unusable: tuple[Image, ...] = ()

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
    within
        ``session``: a session without a reference does not borrow that of another one.
    longitudinal_base
        Label of the session that the others go onto; None for the first in time.
    timeline
        When the sessions of the participant were.
    templates
        What the rule ``to-template`` brings images to.
    """

    fixed_suffix: str | None = None
    moving_suffixes: tuple[str, ...] = ()
    all_pairs: bool = False
    within: Within = "subject"
    longitudinal_base: str | None = None
    timeline: Timeline = field(default_factory=Timeline)
    templates: tuple[Template, ...] = ()


Rule = Callable[[Sequence[Image], RuleOptions], list[Candidate]]


def within_session(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Pair every other contrast of a session with the session's reference, or with one it borrows."""
    return [
        candidate
        for sessions in by_participant(images)
        for session in sessions
        for candidate in _onto_reference(session, sessions, options)
    ]


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


def _onto_reference(
    session: Sequence[Image], sessions: Sequence[Sequence[Image]], options: RuleOptions
) -> list[Candidate]:
    borrowed = None
    if options.within == "subject":
        borrowed = other_home(session, sessions, options.fixed_suffix, options.timeline)
    home, words = borrowed or (session, "")
    rule = ACROSS_SESSIONS if borrowed else "within-session"
    suffix, lack = reference_suffix(home, options.fixed_suffix)
    references = of_contrasts(home, {suffix})
    if not references:
        return [Candidate(rule, None, moving, lack) for moving in session]
    anchor = choose_fixed(references)
    candidates = []
    for moving in session:
        fixed = _fixed_for(moving, anchor, references)
        reason = _reason_against(moving, anchor, session, options)
        if reason:
            candidates.append(Candidate(rule, None if moving == fixed else fixed, moving, reason))
        else:
            onto = words or f"session's {fixed.suffix}"
            why = f"{_contrast(moving)} onto the {onto}" + among(fixed, references)
            candidates.append(take(Pair(rule, fixed, moving), why))
    return candidates


def _fixed_for(moving: Image, anchor: Image, references: Sequence[Image]) -> Image:
    """Find the reference for one moving image: never itself, never one that moves onto it."""
    if moving.suffix != anchor.suffix:
        return choose_fixed(references, moving)
    plain = [image for image in references if image.entity("ceagent") is None]
    return choose_fixed(plain, moving) if plain and moving.entity("ceagent") else anchor


def take(pair: Pair, reason: str) -> Candidate:
    """Make a candidate that is taken, or, where an image of the pair cannot be used, one that says so."""
    unusable = tuple(image for image in (pair.fixed, pair.moving) if image.problem)
    if unusable:
        reason += ", but " + " and ".join(cannot_be_used(image) for image in unusable)
        return Candidate(pair.rule, pair.fixed, pair.moving, reason, unusable=unusable)
    return Candidate(pair.rule, pair.fixed, pair.moving, reason, pair)


def cannot_be_used(image: Image) -> str:
    """Say which image cannot be used, and why."""
    return f"{image.path.name} cannot be used ({image.problem})"


def _reason_against(moving: Image, anchor: Image, session: Sequence[Image], options: RuleOptions) -> str:
    """Why an image does not move; empty when it does."""
    if moving == anchor:
        return "the session's reference"
    if options.moving_suffixes and moving.suffix not in options.moving_suffixes:
        return f"moving contrasts are restricted to {', '.join(options.moving_suffixes)}"
    if options.all_pairs:
        return ""
    if moving.suffix == anchor.suffix and moving.entity("ceagent") == anchor.entity("ceagent"):
        return f"of the reference's own contrast {anchor.suffix}: only all pairs would move it"
    takes = [image for image in session if image.suffix == moving.suffix]
    first = min(
        (image for image in takes if variant(image) == variant(moving)),
        key=lambda image: natural_key(image.relative),
    )
    return "" if first == moving else f"another run or echo of {first.path.name}, which comes first"


def _contrast(moving: Image) -> str:
    agent = moving.entity("ceagent")
    return f"{moving.suffix} with ce-{agent}" if agent else moving.suffix


REFERENCE_POLICY = "no contrast agent, most entities shared, first in order"


def among(chosen: Image, images: Sequence[Image], policy: str = REFERENCE_POLICY) -> str:
    """Why this one of several images, as the end of a reason; empty where there is no other."""
    if len(images) == 1:
        return ""
    return f"; {chosen.path.name} chosen among {len(images)}: {policy}"
