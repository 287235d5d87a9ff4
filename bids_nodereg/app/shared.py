"""What all pairs of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    from bids_nodereg.app.begun import Begun
    from bids_nodereg.app.claims import Claims
    from bids_nodereg.app.device import Hardware
    from bids_nodereg.app.images import PreparedImages
    from bids_nodereg.app.limits import TimeLimit
    from bids_nodereg.app.pages import Pages
    from bids_nodereg.config import Settings


@dataclass(frozen=True)
class Run:
    """One run of the participant level, as its pairs see it.

    Attributes
    ----------
    run_id
        Names the run in logs and sidecars.
    folder
        Of its log, configuration and status files.
    settings
        Everything that decides the numbers.
    hardware
        Where to compute.
    images
        Images that were prepared before and may serve again.
    pages
        What the reports of the participants need.
    stop
        Set when the run is to end, for the threads beside the main one.
    claims
        The pairs that other runs are to leave alone.
    begun
        Marks of the pairs that are under way.
    limit
        Whether there is time for another pair.
    """

    run_id: str
    folder: Path
    settings: Settings
    hardware: Hardware
    images: PreparedImages
    pages: Pages
    stop: Event
    claims: Claims
    begun: Begun
    limit: TimeLimit
