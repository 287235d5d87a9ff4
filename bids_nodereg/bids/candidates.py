"""Show the candidate pairs: as a table for people, as records for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bids_nodereg.bids.image import Image
    from bids_nodereg.bids.pairs import Candidate

_HEADINGS = ("taken", "rule", "fixed", "moving", "reason")


def candidate_table(candidates: Iterable[Candidate]) -> str:
    """Lay the candidates out in plain text columns, one a line, with a count below."""
    rows = [_row(candidate) for candidate in candidates]
    taken = sum(row[0] == "yes" for row in rows)
    columns = list(zip(_HEADINGS, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADINGS, *rows)
    ]
    return "\n".join([*lines, f"{taken} of {len(rows)} candidate pairs taken"])


def candidates_as_json(candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
    """Give the candidates as JSON objects: ``taken``, ``rule``, ``fixed``, ``moving`` (URIs), ``reason``."""
    return [
        {
            "taken": candidate.taken,
            "rule": candidate.rule,
            "fixed": None if candidate.fixed is None else candidate.fixed.uri,
            "moving": candidate.moving.uri,
            "reason": candidate.reason,
        }
        for candidate in candidates
    ]


def _row(candidate: Candidate) -> tuple[str, ...]:
    fixed = "-" if candidate.fixed is None else _shown(candidate.fixed)
    taken = "yes" if candidate.taken else "no"
    return (taken, candidate.rule, fixed, _shown(candidate.moving), candidate.reason)


def _shown(image: Image) -> str:
    """File name, which holds all of a BIDS path; or the name of the template."""
    return image.space or image.path.name
