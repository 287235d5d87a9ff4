"""What the images of a pair are said to be, and which limits follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.quality.plausible import PairKind, limits_for

if TYPE_CHECKING:
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.quality.plausible import Relation
    from bids_nodereg.quality.verdict import Limit


def kind_of(pair: Pair) -> PairKind:
    """How the images of a pair belong together, by their names; a template is another person."""
    relation: Relation = "two people"
    if pair.fixed.subject and pair.fixed.subject == pair.moving.subject:
        relation = "one session" if pair.fixed.session == pair.moving.session else "one person"
    return PairKind(relation, pair.fixed.suffix, pair.moving.suffix)


def limits_of(pair: Pair) -> tuple[Limit, ...]:
    """Limits that a pair has to keep."""
    return limits_for(kind_of(pair))
