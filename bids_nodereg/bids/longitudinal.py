"""The rule ``longitudinal``: the reference of each session moves onto that of the first in time.

Or onto that of the session that is named as base. All are of one contrast, so that the determinant of
the Jacobian is a map of change: above 1 tissue has expanded from the base to the other session. A change
of the sequence or a contrast agent would show up as change of the person, so the base's image is of the
variant that most sessions have, and images with and without contrast agent are never compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.bids.names import natural_key
from bids_nodereg.bids.pairs import Candidate, Pair, among, take
from bids_nodereg.bids.reference import contrasts_in_order, of_contrasts, reference_suffix, variant
from bids_nodereg.bids.sessions import by_participant, label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import RuleOptions

RULE = "longitudinal"
_BASE_POLICY = "the kind that most sessions have, no contrast agent, first in order"
_MOVING_POLICY = "contrast agent as in the base, most entities shared, first in order"


def longitudinal(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Pair each session's reference with that of the first in time, or of the base, of one contrast."""
    labelled = [image for image in images if image.session is not None]
    return [
        candidate for sessions in by_participant(labelled) for candidate in _longitudinal(sessions, options)
    ]


def _longitudinal(sessions: Sequence[Sequence[Image]], options: RuleOptions) -> list[Candidate]:
    by_label = {label_of(session): session for session in sessions}
    labels = options.timeline.order(by_label)
    suffix, base, lack = _base(by_label, labels, options)
    if lack:
        return [Candidate(RULE, None, by_label[labels[0]][0], lack)]
    references = {label: of_contrasts(by_label[label], {suffix}) for label in labels}
    fixed = _base_image(references[base], [references[label] for label in labels if label != base])
    if len(labels) == 1:
        return [Candidate(RULE, None, fixed, f"ses-{base} is the participant's only session")]
    what = "first session that has one" if base != labels[0] else "first session"
    what = "base" if options.longitudinal_base is not None else what
    onto = f"onto that of the {what}, ses-{base}" + among(fixed, references[base], _BASE_POLICY)
    candidates = []
    for label in labels:
        if label == base:
            continue
        if references[label]:
            when = options.timeline.words(base, label)
            why = f"{suffix} of ses-{label} ({when}) {onto}"
            candidates.append(_onto_base(fixed, references[label], why))
        else:
            why = f"ses-{label} has no {suffix} to go onto that of ses-{base}"
            candidates.append(Candidate(RULE, fixed, by_label[label][0], why))
    return candidates


def _base_image(images: Sequence[Image], others: Sequence[Sequence[Image]]) -> Image:
    """Choose the image that the other sessions' go onto: of the variant that most of them have."""

    def rank(image: Image) -> tuple[int, bool, object]:
        sharing = sum(any(variant(each) == variant(image) for each in other) for other in others)
        return (-sharing, image.entity("ceagent") is not None, natural_key(image.relative))

    return min(images, key=rank)


def _onto_base(fixed: Image, images: Sequence[Image], why: str) -> Candidate:
    """Choose the image of a session most like the base's; take it unless the contrast agent differs."""

    def rank(image: Image) -> tuple[bool, int, object]:
        differing = len(variant(image) ^ variant(fixed))
        return (_agent(image) != _agent(fixed), differing, natural_key(image.relative))

    moving = min(images, key=rank)
    if _agent(moving) != _agent(fixed):
        against = f"the base is {_agent(fixed)} and {moving.path.name} {_agent(moving)}: not comparable"
        return Candidate(RULE, fixed, moving, against)
    return take(Pair(RULE, fixed, moving), why + among(moving, images, _MOVING_POLICY))


def _agent(image: Image) -> str:
    agent = image.entity("ceagent")
    return "without contrast agent" if agent is None else f"after ce-{agent}"


def _base(
    by_label: Mapping[str, Sequence[Image]], labels: Sequence[str], options: RuleOptions
) -> tuple[str, str, str]:
    """Contrast and session that all go onto, and what to say when there is none.

    The contrast is the best that the base shares with another session, so that there is something to
    compare; without a named base, any two sessions that share one will do, and the earlier is the base.
    """
    asked = options.longitudinal_base
    if asked is not None and asked not in by_label:
        known = ", ".join(f"ses-{label}" for label in labels)
        return "", "", f"ses-{asked}, the base asked for, is not there; the sessions are {known}"
    bases = [asked] if asked is not None else list(labels)
    everything = [image for label in labels for image in by_label[label]]
    suffixes = [options.fixed_suffix] if options.fixed_suffix else contrasts_in_order(everything)
    having = {each: [label for label in labels if of_contrasts(by_label[label], {each})] for each in suffixes}
    for least in (2, 1):  # sessions that share the contrast; one alone still tells the reason
        for suffix, own in having.items():
            base = next((label for label in bases if label in own), None)
            if base is not None and len(own) >= least:
                return suffix, base, ""
    _, lack = reference_suffix(by_label[bases[0]], options.fixed_suffix)
    what = "base" if asked is not None else "first session"
    return "", "", f"the {what} has no reference: {lack}"
