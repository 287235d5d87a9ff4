"""What the command lines of the program share."""

from __future__ import annotations

import argparse
from typing import Any


def flag(group: argparse._ArgumentGroup, *names: str, **options: Any) -> None:
    """Add an option under its names and under their spelling with underscores."""
    underscored = [f"--{name[2:].replace('-', '_')}" for name in names if "-" in name[2:]]
    group.add_argument(*names, *underscored, **options)


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a whole number of 1 or more, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
