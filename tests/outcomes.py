"""What the program was made to suffer, and how each case ended: recorded by the tests, shown as a table.

A test asks for the fixture ``outcome`` and tells it what it has seen, after it has checked it::

    def test_disk_full(outcome):
        ...
        assert code == 73
        outcome("fault", "disk full while writing", "error names the file, no partial file", code=73)

``NODEREG_OUTCOMES=rows.jsonl pytest`` runs the tests that use the fixture, and no others, and appends what
they tell to the file; ``python -m tests.outcomes rows.jsonl docs/reliability-table.md`` makes the table
(``make outcomes`` does both). Without the variable everything runs as ever.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VARIABLE = "NODEREG_OUTCOMES"
TABLE = Path(__file__).parents[1] / "docs" / "reliability-table.md"
COMMAND = "make outcomes"

# kind -> heading, in the order of the table
KINDS = {
    "fault": "Faults, by causing them",
    "bad input": "Bad input",
    "hostile": "Hostile input",
    "fuzz": "Fuzzed readers",
    "long run": "Long runs",
}


@dataclass(frozen=True)
class Outcome:
    """One thing that was tried.

    Attributes
    ----------
    kind
        A key of :data:`KINDS`.
    case
        What was tried, in words that stay the same from run to run.
    result
        How it ended, in words; those too stay the same.
    code
        Exit code of the program, or None where no whole run was made.
    count
        How many times.
    """

    kind: str
    case: str
    result: str
    code: int | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"kind of outcome {self.kind!r}: expected one of {', '.join(KINDS)}."
            raise ValueError(msg)


def append(path: Path, outcome: Outcome) -> None:
    """Add a row to a file of rows; processes may do so at the same time."""
    with path.open("a", encoding="utf-8") as rows:
        rows.write(json.dumps(asdict(outcome)) + "\n")


def read(path: Path) -> list[Outcome]:
    """Read the rows of a file."""
    return [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def table(outcomes: Iterable[Outcome], made: str) -> str:
    """Write the table as Markdown: by kind, cases in the order of the alphabet, equal rows counted together.

    Parameters
    ----------
    outcomes
        What was tried.
    made
        Date, in words.
    """
    counts: Counter[tuple[str, str, str, int | None]] = Counter()
    for each in outcomes:
        counts[each.kind, each.case, each.result, each.code] += each.count
    parts = [
        "# What was tried, and how it ended\n\n"
        f"Made by the tests themselves, {made}, with `{COMMAND}`. A row stands here only if its test passed. "
        "*code* is the exit code of the program, or that of the error which ends it; — where there is none.\n"
    ]
    for kind, heading in KINDS.items():
        rows = sorted((row for row in counts if row[0] == kind), key=_order)
        if rows:
            total = sum(counts[row] for row in rows)
            cases = len({row[1] for row in rows})
            parts.append(f"\n## {heading}\n\n{cases} cases, {total:,} tries.\n\n")
            parts.append("| case | tries | outcome | code |\n|---|---:|---|---:|\n")
            parts += [_row(row, counts[row]) for row in rows]
    return "".join(parts)


def lacking(text: str, outcomes: Iterable[Outcome]) -> list[str]:
    """Cases that a table does not name."""
    named = {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}
    return sorted({each.case for each in outcomes if _cell(each.case) not in named})


def _order(row: tuple[str, str, str, int | None]) -> tuple[str, str, str, int]:
    """Sort key: by the alphabet, whatever the case of the letters; no code before any."""
    return (row[1].casefold(), *row[1:3], -1 if row[3] is None else row[3])


def _row(row: tuple[str, str, str, int | None], count: int) -> str:
    _, case, result, code = row
    return f"| {_cell(case)} | {count:,} | {_cell(result)} | {'—' if code is None else code} |\n"


def _cell(text: str) -> str:
    """Text of a cell: control characters and what Markdown or HTML would take for its own are shown."""
    shown = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(text.split())
    )
    return shown.replace("|", "\\|").replace("<", "&lt;")


def main(argv: Sequence[str]) -> int:
    """Make the table: files of rows, then the table to write."""
    if len(argv) < 2:
        sys.stderr.write("usage: python -m tests.outcomes ROWS.jsonl... TABLE.md\n")
        return 64
    *files, target = map(Path, argv)
    outcomes = [outcome for file in files for outcome in read(file)]
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    target.write_text(table(outcomes, made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
