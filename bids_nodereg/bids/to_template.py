"""The rule ``to-template``: each session's images to each output space, every contrast by one way.

- **The session's reference is registered** onto the template: onto its own contrast where the template
  has it, else onto the template's T1w.
- **Every other contrast goes through the reference it is registered onto.** Its map is the composition
  of the two, so nothing is searched a second time and all contrasts of a session agree on the template
  as they agree with one another. The registration onto the reference is made where no other rule asks for it.
- **The reference of every session goes by itself.** A session whose images move onto the reference of
  another session goes through that one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg.bids.longitudinal import longitudinal
from bids_nodereg.bids.names import natural_key
from bids_nodereg.bids.pairs import Candidate, Pair, Rule, take, within_session
from bids_nodereg.bids.reference import choose_fixed, contrasts_in_order, of_contrasts
from bids_nodereg.bids.sessions import by_participant
from bids_nodereg.bids.spaces import TO_TEMPLATE as RULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import RuleOptions
    from bids_nodereg.bids.templates import Template


def to_template(images: Sequence[Image], options: RuleOptions) -> list[Candidate]:
    """Bring the references to the templates, and through them the images that are registered onto them."""
    rows = [row for row in within_session(images, options) if row.taken or row.unusable]
    links = [row.pair for row in rows if row.pair is not None]
    references, lacking = _references(images, rows, options)
    lacking += [replace(row, rule=RULE) for row in rows if row.unusable]
    candidates = [
        Candidate(RULE, link.fixed, link.moving, _why_link(link), Pair(RULE, link.fixed, link.moving))
        for link in links
    ]
    for template in options.templates:
        candidates += [_direct(reference, template) for reference in references]
        candidates += [_through(link, template) for link in links]
    return candidates + lacking


ALL_RULES: dict[str, Rule] = {
    "within-session": within_session,
    "longitudinal": longitudinal,
    RULE: to_template,
}


def without_repeats(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop a link that this rule needs where another rule chooses the same pair anyway."""
    chosen = [row for row in candidates if row.taken or row.unusable]
    others = {(row.fixed, row.moving) for row in chosen if row.rule != RULE}
    return [row for row in candidates if row.rule != RULE or (row.fixed, row.moving) not in others]


def _references(
    images: Sequence[Image], links: Sequence[Candidate], options: RuleOptions
) -> tuple[list[Image], list[Candidate]]:
    """Images to register onto the template, and for the sessions that have none the reason."""
    used = {link.fixed for link in links if link.fixed is not None}
    busy = used | {link.moving for link in links}
    lacking = []
    for session in (session for sessions in by_participant(images) for session in sessions):
        suffix = options.fixed_suffix or contrasts_in_order(session)[0]
        own = of_contrasts(session, {suffix})
        if own and busy.isdisjoint(session):
            used.add(choose_fixed(own))
        elif busy.isdisjoint(session):
            reason = f"the session has no {suffix} to bring to the template"
            lacking.append(Candidate(RULE, None, session[0], reason))
    return sorted(used, key=lambda image: natural_key(image.relative)), lacking


def _direct(reference: Image, template: Template) -> Candidate:
    fixed = template.image_for(reference.suffix)
    reason = f"the session's reference onto {template.space}, {_where(template, fixed)}"
    return take(Pair(RULE, fixed, reference, fixed_mask=template.mask, template=template), reason)


def _through(link: Pair, template: Template) -> Candidate:
    fixed = template.image_for(link.fixed.suffix)
    reason = f"onto {template.space} through {link.fixed.path.name}: both maps as one, interpolated once"
    pair = Pair(RULE, fixed, link.moving, fixed_mask=template.mask, template=template, via=link.fixed)
    return Candidate(RULE, fixed, link.moving, reason, pair)


def _why_link(link: Pair) -> str:
    moving, fixed = link.moving.suffix, link.fixed.suffix
    return f"{moving} onto the {fixed}: needed to bring it to the template through that"


def _where(template: Template, fixed: Image) -> str:
    written = ", ".join(f"res-{grid.res}" for grid in template.grids if grid.res)
    return f"{fixed.path}" + (f", written at {written}" if written else "")
