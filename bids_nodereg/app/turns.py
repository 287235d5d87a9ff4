"""Pairs that wait for a worker: which one is next, found at once however many there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bids_nodereg.app.executors import Turn
    from bids_nodereg.app.limits import TimeLimit


class WaitingTurns:
    """The pairs of a run that no worker has yet.

    A worker gets the next pair of the participant whose images it has; else of a participant nobody is at;
    else any; among these the first in the order given. A composed map waits for those that it is made of.

    Each pair is put into three heaps when it can be done, and leaves each once; what has been taken by way of
    another heap is passed over. So all n pairs together take a time of the order n log n.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = list(turns)
        self._subjects = [_subject(turn) for turn in turns]
        self._count = len(self._turns)
        self._not_there = Counter(_name(turn) for turn in turns)
        self._lacking: list[int] = []
        """How many maps each composed one still waits for."""
        self._made_of: defaultdict[str, list[int]] = defaultdict(list)
        self._at_work: Counter[str] = Counter()
        self._ready: set[int] = set()
        self._any: list[int] = []
        self._of: defaultdict[str, list[int]] = defaultdict(list)
        self._of_idle: list[tuple[int, str]] = []
        """Pairs of participants nobody was at when they were put here."""
        for place, turn in enumerate(self._turns):
            parts = {part.outputs.name for part in turn.job.parts} & self._not_there.keys()
            self._lacking.append(len(parts))
            for part in parts:
                self._made_of[part].append(place)
            if not parts:
                self._make_ready(place)

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def has_ready(self) -> bool:
        """Whether there is one that need not wait for what others do."""
        return self._first(self._any) is not None

    def take(self, last: Turn | None) -> Turn | None:
        """Take the next pair for a worker, whose last one is given; None where none can be done now."""
        place = None if last is None else self._first(self._of[_subject(last)])
        if place is None:
            place = self._first_of_idle()
        if place is None:
            place = self._first(self._any)
        if place is None:
            return None
        self._ready.remove(place)
        self._at_work[self._subjects[place]] += 1
        self._count -= 1
        return self._turns[place]

    def end(self, turn: Turn) -> None:
        """Take note that a pair that was taken has ended, well or not."""
        name, subject = _name(turn), _subject(turn)
        self._not_there[name] -= 1
        if not self._not_there[name]:
            for place in self._made_of.pop(name, ()):
                self._lacking[place] -= 1
                if not self._lacking[place]:
                    self._make_ready(place)
        self._at_work[subject] -= 1
        first = self._first(self._of[subject])
        if not self._at_work[subject] and first is not None:
            heappush(self._of_idle, (first, subject))

    def _make_ready(self, place: int) -> None:
        subject = self._subjects[place]
        self._ready.add(place)
        heappush(self._any, place)
        heappush(self._of[subject], place)
        if not self._at_work[subject]:
            heappush(self._of_idle, (place, subject))

    def _first(self, heap: list[int]) -> int | None:
        """The first of a heap that has not been taken."""
        while heap and heap[0] not in self._ready:
            heappop(heap)
        return heap[0] if heap else None

    def _first_of_idle(self) -> int | None:
        """The first of a participant nobody is at; what is dropped here comes back when they are left."""
        heap = self._of_idle
        while heap and (heap[0][0] not in self._ready or self._at_work[heap[0][1]]):
            heappop(heap)
        return heap[0][0] if heap else None


class TimedTurns:
    """Turns that wait, of which none is given any more when there is no time for it.

    Parameters
    ----------
    turns
        See :class:`WaitingTurns`.
    limit
        Of the run.
    """

    def __init__(self, turns: Sequence[Turn], limit: TimeLimit) -> None:
        self._waiting = WaitingTurns(turns)
        self._limit = limit
        self.under_way: dict[int, Turn] = {}
        """Those that were taken and have not ended, by their numbers."""

    def __len__(self) -> int:
        """How many wait, and may be done."""
        return 0 if self._limit.is_reached else len(self._waiting)

    def has_ready(self) -> bool:
        """Whether there is one that may be begun now."""
        return self._waiting.has_ready() and self._limit.allows()

    def take(self, last: Turn | None) -> Turn | None:
        """Take the next pair for a worker, whose last one is given; None where none may be begun now."""
        turn = self._waiting.take(last) if self.has_ready() else None
        if turn is not None:
            self._limit.begin(turn.number)
            self.under_way[turn.number] = turn
        return turn

    def end(self, turn: Turn) -> None:
        """Take note that a pair that was taken has ended, well or not."""
        self._limit.end(turn.number)
        self.under_way.pop(turn.number, None)
        self._waiting.end(turn)


def while_there_is_time(turns: Iterable[Turn], limit: TimeLimit) -> Iterator[Turn]:
    """Give one turn after the other, and none any more when there is no time for it."""
    for turn in turns:
        if not limit.allows():
            return
        limit.begin(turn.number)
        yield turn


def _name(turn: Turn) -> str:
    return turn.job.outputs.name


def _subject(turn: Turn) -> str:
    return turn.job.pair.moving.subject
