"""Lengths of time as Slurm writes them."""

from __future__ import annotations

import argparse
import re

FORMS = "M, M:SS, H:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"
_WITH_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?")
_WITHOUT = re.compile(r"(?:(\d+):)??(\d+)(?::(\d+))?")


def seconds_of(text: str) -> int:
    """Read a length of time, in seconds.

    Parameters
    ----------
    text
        As Slurm's ``--time`` takes it. A single number is of minutes.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none, or nothing.

    Examples
    --------
    >>> [seconds_of(text) for text in ("90", "1:30", "1:00:00", "1-2", "1-02:03", "1-02:03:04")]
    [5400, 90, 3600, 93600, 93780, 93784]
    """
    with_days, without = _WITH_DAYS.fullmatch(text), _WITHOUT.fullmatch(text)
    if with_days is not None:
        days, hours, minutes, seconds = (int(number or 0) for number in with_days.groups())
    elif without is not None:
        days = 0
        hours, minutes, seconds = (int(number or 0) for number in without.groups())
    else:
        days = hours = minutes = seconds = 0
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        msg = f"expected a length of time as {FORMS}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return total


def as_slurm(seconds: int) -> str:
    """Write a length of time so that :func:`seconds_of` and Slurm read it.

    Examples
    --------
    >>> as_slurm(90), as_slurm(93784)
    ('0:01:30', '1-02:03:04')
    """
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{seconds:02}" if days else f"{hours}:{minutes:02}:{seconds:02}"
