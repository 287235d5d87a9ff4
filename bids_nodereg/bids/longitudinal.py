"""The rule ``longitudinal``: the reference of each session moves onto that of the first in time.

Or onto that of the session that is named as base. All are of one contrast, so that the determinant of
the Jacobian is a map of change: above 1 tissue has expanded from the base to the other session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.bids.pairs import Candidate, among, take
from bids_nodereg.bids.reference import choose_fixed, contrasts_in_order, reference_suffix, usable
from bids_nodereg.bids.sessions import by_participant, label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import RuleOptions


def longitudinal(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Pair each session's reference with that of the first in time, or of the base, of one contrast."""
    labelled = [image for image in images if image.session is not None]
    return [
        candidate for sessions in by_participant(labelled) for candidate in _longitudinal(sessions, options)
    ]


def _longitudinal(sessions: Sequence[Sequence[Image]], options: RuleOptions) -> list[Candidate]:
    rule = "longitudinal"
    by_label = {label_of(session): session for session in sessions}
    labels = options.timeline.order(by_label)
    suffix, base, lack = _base(by_label, labels, options)
    base_images = usable(by_label.get(base, ()), {suffix})
    if lack or not base_images:
        return [Candidate(rule, None, by_label[labels[0]][0], lack)]
    fixed = choose_fixed(base_images)
    if len(labels) == 1:
        return [Candidate(rule, None, fixed, f"ses-{base} is the participant's only session")]
    what = "first session that has one" if base != labels[0] else "first session"
    what = "base" if options.longitudinal_base is not None else what
    candidates = []
    for label in labels:
        found = usable(by_label[label], {suffix})
        if label == base:
            continue
        if found:
            moving = choose_fixed(found, fixed)
            when = options.timeline.words(base, label)
            why = f"{suffix} of ses-{label} ({when}) onto that of the {what}, ses-{base}"
            candidates.append(take(rule, fixed, moving, why + among(moving, found)))
        else:
            why = f"ses-{label} has no usable {suffix} to go onto that of ses-{base}"
            candidates.append(Candidate(rule, fixed, by_label[label][0], why))
    return candidates


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
    having = {suffix: [label for label in labels if usable(by_label[label], {suffix})] for suffix in suffixes}
    for least in (2, 1):  # sessions that share the contrast; one alone still tells the reason
        for suffix, own in having.items():
            base = next((label for label in bases if label in own), None)
            if base is not None and len(own) >= least:
                return suffix, base, ""
    _, lack = reference_suffix(by_label[bases[0]], options.fixed_suffix)
    what = "base" if asked is not None else "first session"
    return "", "", f"the {what} has no reference: {lack}"
