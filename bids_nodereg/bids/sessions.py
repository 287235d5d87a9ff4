"""The sessions of a participant: which images belong to one, and how far apart in time they were."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bids_nodereg.bids.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_nodereg.bids.image import Image

LABEL_ORDER = "the order of the labels; no times are known of all sessions"


@dataclass(frozen=True)
class Timeline:
    """When the sessions of one participant were.

    Attributes
    ----------
    days
        ``(session label, days from a day that is the same for all)``; empty when it is not known of
        every session.
    source
        Where the days are from, in words.
    notes
        Remarks for the user, such as a table that could not be read.
    """

    days: tuple[tuple[str, float], ...] = ()
    source: str = LABEL_ORDER
    notes: tuple[str, ...] = ()

    def order(self, labels: Iterable[str]) -> list[str]:
        """Sort session labels by time, those of one time (or without any) in natural order."""
        days = dict(self.days)
        return sorted(labels, key=lambda label: (days.get(label, 0.0), natural_key(label)))

    def between(self, one: str, other: str) -> float | None:
        """Days from one session to another, negative when the other was earlier; None if not known."""
        days = dict(self.days)
        return days[other] - days[one] if one in days and other in days else None

    def nearest(self, label: str, others: Sequence[str]) -> str:
        """Find the session nearest in time; of two as near the earlier one.

        Without times the places in natural order count.
        """
        places = {each: float(place) for place, each in enumerate(self.order({label, *others}))}
        at = dict(self.days) if self.between(label, label) is not None else places
        return min(others, key=lambda other: (abs(at[other] - at[label]), places[other]))

    def words(self, one: str, other: str) -> str:
        """How the other session lies to the one: ``203 days later, by acq_time of scans.tsv``."""
        days = self.between(one, other)
        if days is None:
            return f"by {self.source}"
        if round(abs(days), 1) == 0:
            return f"at the same time, by {self.source}"
        number = f"{abs(days):.1f}".removesuffix(".0")
        unit = "day" if number == "1" else "days"
        return f"{number} {unit} {'later' if days > 0 else 'earlier'}, by {self.source}"


def by_participant(images: Iterable[Image]) -> list[list[list[Image]]]:
    """Sort the images in natural order: of each participant the sessions, of each session the images.

    Images outside of any session are a session of their own, the first.
    """

    def session(image: Image) -> tuple[object, ...]:
        return (natural_key(image.subject), image.session is not None, natural_key(image.session or ""))

    ordered = sorted(images, key=lambda image: (*session(image), natural_key(image.relative)))
    sessions = [list(group) for _, group in groupby(ordered, key=session)]
    return [list(own) for _, own in groupby(sessions, key=lambda images: images[0].subject)]


def label_of(session: Sequence[Image]) -> str:
    """Label of the session that the images are of; empty where there are no sessions."""
    return session[0].session or ""


def name_of(session: Sequence[Image]) -> str:
    """Name for people: ``ses-1``."""
    label = session[0].session
    return f"ses-{label}" if label is not None else "the images without a session"
