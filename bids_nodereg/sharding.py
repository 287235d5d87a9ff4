"""Which part of the participants a task of an array does."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS = "I/N with 1 <= I <= N, slurm:N, or slurm"


def shard(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Read a part and the number of parts.

    Parameters
    ----------
    text
        ``I/N``. ``slurm:N`` is the part with the number of this task, of N parts, whichever tasks were
        submitted. ``slurm`` shares everything out among the tasks that were submitted together.
    environment
        Variables that tell of the task: ``SLURM_ARRAY_TASK_ID`` and its like.

    Returns
    -------
    part, parts
        ``1 <= part <= parts``.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is none of these, or the array does not give every part to one task.

    Examples
    --------
    >>> shard("2/5", {}), shard("slurm:40", {"SLURM_ARRAY_TASK_ID": "7"})
    ((2, 5), (7, 40))
    """
    if text == "slurm":
        return _whole_array(environment)
    match = re.fullmatch(r"(\d+|slurm)([/:])(\d+)", text)
    if match is None or (match[1] == "slurm") is not (match[2] == ":"):
        msg = f"expected {FORMS}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    part = _of_task("ID", environment) if match[1] == "slurm" else int(match[1])
    if not 1 <= part <= int(match[3]):
        task = f", and this is task {part}: number the tasks 1-{match[3]}" if match[1] == "slurm" else ""
        msg = f"expected {FORMS}, got {text!r}{task}"
        raise argparse.ArgumentTypeError(msg)
    return part, int(match[3])


def _whole_array(environment: Mapping[str, str]) -> tuple[int, int]:
    """Share everything out among the tasks of an array; refuse one that is seen to be a part of another."""
    first, last, mine = (_of_task(key, environment) for key in ("MIN", "MAX", "ID"))
    step = _of_task("STEP", environment, 1)
    parts = (last - first) // step + 1
    count = _of_task("COUNT", environment, parts)
    if count != parts or (count == 1 and mine > 1):
        msg = (
            f"slurm: {count} task(s) from {first} to {last} are a part of an array, and how many parts there "
            "are cannot be told. Say slurm:N with N as in --array=1-N; then any of the tasks may be "
            "submitted again"
        )
        raise argparse.ArgumentTypeError(msg)
    return (mine - first) // step + 1, parts


def _of_task(key: str, environment: Mapping[str, str], usual: int | None = None) -> int:
    name = f"SLURM_ARRAY_TASK_{key}"
    text = environment.get(name, "")
    if text.isdecimal():
        return int(text)
    if usual is None:
        got = f"is {text!r}" if text else "is not set"
        msg = (
            f"slurm: {name} {got}, so this is not in an array task, or in a container that is not given "
            'the variables (a clean environment). Say I/N, such as "$SLURM_ARRAY_TASK_ID/40" where the shell '
            "knows it"
        )
        raise argparse.ArgumentTypeError(msg)
    return usual
