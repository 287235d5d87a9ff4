"""Choose the image that others are registered onto, and the session to take it from.

A file that cannot be read (``Image.problem``) is chosen as if it could: what a run makes must not depend
on which files were fetched. The pair is then not taken, and says so (:func:`bids_nodereg.bids.pairs.take`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.bids.image import CONTRASTS, T1_WEIGHTED
from bids_nodereg.bids.names import natural_key
from bids_nodereg.bids.sessions import label_of, name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.sessions import Timeline

_REPEATS = {"run", "echo"}  # entities that tell repetitions of the same image


def choose_fixed(images: Sequence[Image], moving: Image | None = None) -> Image:
    """Choose the image to register onto: no contrast agent, most entities shared, first in order."""

    def rank(image: Image) -> tuple[bool, int, object]:
        differing = 0 if moving is None else len(variant(image) ^ variant(moving))
        return (image.entity("ceagent") is not None, differing, natural_key(image.relative))

    return min(images, key=rank)


def variant(image: Image) -> set[tuple[str, str]]:
    """Entities that make this another image than its neighbours, not another take of the same."""
    return {entity for entity in image.entities if entity[0] not in _REPEATS}


def of_contrasts(images: Iterable[Image], suffixes: Collection[str]) -> list[Image]:
    """Images of these contrasts, in their order."""
    return [image for image in images if image.suffix in suffixes]


def contrasts_in_order(images: Iterable[Image]) -> list[str]:
    """Contrasts of the images, the best reference first."""
    found = {image.suffix for image in images}
    return [each for each in (*CONTRASTS, *sorted(found - CONTRASTS.keys())) if each in found]


def reference_suffix(session: Sequence[Image], fixed_suffix: str | None) -> tuple[str, str]:
    """Contrast of a session's reference, and what to say when there is no image of it."""
    found = contrasts_in_order(session)
    suffix = fixed_suffix or found[0]
    return suffix, f"the session has no {suffix} to register onto (contrasts: {', '.join(sorted(found))})"


def other_home(
    session: Sequence[Image],
    sessions: Sequence[Sequence[Image]],
    fixed_suffix: str | None,
    timeline: Timeline,
) -> tuple[Sequence[Image], str] | None:
    """Find the session that lends its reference to one that has none.

    A session has none when it lacks the contrast that the participant's references are of
    (``fixed_suffix``, or the best that any session has), while another session has it.

    Returns
    -------
    (list of Image, str) or None
        The images of the nearest session in time that has a reference, and in words why it was
        chosen; None where the session keeps to itself.
    """
    wanted = _participants_contrasts(sessions, fixed_suffix)
    homes = {label_of(other): other for other in sessions if of_contrasts(other, wanted)}
    if of_contrasts(session, wanted) or not homes:
        return None
    label = label_of(session)
    chosen = timeline.nearest(label, list(homes))
    has = next(suffix for suffix in contrasts_in_order(homes[chosen]) if suffix in wanted)
    why = "the nearest session that has one" if len(homes) > 1 else "the only session that has one"
    return homes[chosen], (
        f"{has} of {name_of(homes[chosen])}, {why} ({timeline.words(label, chosen)}); "
        f"{name_of(session)} has no {has}"
    )


def _participants_contrasts(sessions: Iterable[Iterable[Image]], fixed_suffix: str | None) -> set[str]:
    """Contrasts that the references of a participant are of; T1w and UNIT1 are as good as one another."""
    if fixed_suffix is not None:
        return {fixed_suffix}
    best = contrasts_in_order(image for session in sessions for image in session)[:1]
    return set(T1_WEIGHTED) if T1_WEIGHTED & set(best) else set(best)
