"""Show the candidate pairs: as a table for people, as records for programs."""

from __future__ import annotations

import posixpath
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_nodereg.bids.dataset import LeftOut, Selection
    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import Candidate

_HEADINGS = ("taken", "rule", "fixed", "moving", "reason")


def candidate_table(candidates: Iterable[Candidate], left_out: Sequence[LeftOut] = ()) -> str:
    """Lay the candidates and then the files that were left out in columns, with a count below."""
    pairs = [_row(candidate) for candidate in candidates]
    taken = sum(row[0] == "yes" for row in pairs)
    files = [("no", "-", "-", posixpath.basename(left.relative), left.reason) for left in left_out]
    rows = [tuple(" ".join(cell.split()) for cell in row) for row in (*pairs, *files)]
    columns = list(zip(_HEADINGS, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADINGS, *rows)
    ]
    more = f", {len(files)} file(s) left out" if files else ""
    return "\n".join([*lines, f"{taken} of {len(pairs)} candidate pairs taken{more}"])


def candidates_as_json(
    candidates: Iterable[Candidate], left_out: Sequence[LeftOut] = ()
) -> list[dict[str, Any]]:
    """Give the candidates as JSON objects: ``taken``, ``rule``, ``fixed``, ``moving`` (URIs), ``reason``.

    Files that were left out follow, as ``moving``; their ``rule`` and ``fixed`` are null.
    """
    pairs = [
        {
            "taken": candidate.taken,
            "rule": candidate.rule,
            "fixed": None if candidate.fixed is None else candidate.fixed.uri,
            "moving": candidate.moving.uri,
            "reason": candidate.reason,
        }
        for candidate in candidates
    ]
    files = [
        {"taken": False, "rule": None, "fixed": None, "moving": left.uri, "reason": left.reason}
        for left in left_out
    ]
    return [*pairs, *files]


def _row(candidate: Candidate) -> tuple[str, ...]:
    fixed = "-" if candidate.fixed is None else _shown(candidate.fixed)
    taken = "yes" if candidate.taken else "no"
    return (taken, candidate.rule, fixed, _shown(candidate.moving), candidate.reason)


def _shown(image: Image) -> str:
    """File name, which holds all of a BIDS path."""
    return image.path.name


def unusable_message(subject: str, candidates: Iterable[Candidate]) -> str:
    """Name the images of a participant for the lack of which pairs are not taken; empty where none is."""
    problems = {image.relative: image.problem for row in candidates for image in row.unusable}
    if not problems:
        return ""
    shown = "; ".join(f"{relative}: {problem}" for relative, problem in problems.items())
    return f"sub-{subject}: pairs are left out because images cannot be used. {shown}."


def no_pair_message(subject: str, selection: Selection) -> str:
    """Say what was found of a participant without a pair."""
    found = Counter(image.suffix for image in selection.images)
    contrasts = ", ".join(f"{suffix} ({count})" for suffix, count in found.items()) or "none"
    reasons = Counter(left.reason for left in selection.left_out)
    first = {left.reason: left.relative for left in reversed(selection.left_out)}
    left_out = "".join(
        f"; {count} left out (such as {first[reason]}): {reason}" for reason, count in reasons.items()
    )
    return f"sub-{subject}: no pair. Contrasts found: {contrasts}{left_out}."
