"""What the command lines of the program share."""

from __future__ import annotations

import argparse
import difflib
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


LEVELS = {"participant", "group"}
"""Of analysis, as BIDS Apps have them."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors end as all others: one line, exit code 64."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong, with the option that may have been meant."""
        msg = f"{message}.{self._meant(message)} See: {self.prog} --help"
        raise UsageError(msg)

    def _meant(self, message: str) -> str:
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        names = [name for name in self._option_string_actions if "_" not in name]
        close = difflib.get_close_matches(unknown[1], names, 1) if unknown else []
        return f" Did you mean {close[0]}?" if close else ""


def is_data_set(argv: Sequence[str]) -> bool:
    """Tell a data set whose folder has the name of a sub-command from the sub-command.

    The folder is here, and a level of analysis comes with it, before any option: after one it may be the
    option's value. Where there is no such folder the level is a slip, about which the sub-command can say
    more.

    Examples
    --------
    >>> is_data_set(["demo", "out"]), is_data_set([])
    (False, False)
    """
    return not LEVELS.isdisjoint(leading_words(argv)[1:]) and Path(argv[0]).is_dir()


def leading_words(argv: Sequence[str]) -> list[str]:
    """Words before the first option.

    Examples
    --------
    >>> leading_words(["sbatch", "raw", "out", "--account", "group"])
    ['sbatch', 'raw', 'out']
    """
    return list(takewhile(lambda word: not word.startswith("-"), argv))


def is_command(argv: Sequence[str], command: str) -> bool:
    """Tell a sub-command from a data set whose folder has its name.

    A sub-command takes options only; BIDS Apps take OUTPUT_DIR as the second word.

    Examples
    --------
    >>> is_command(["apply", "--out", "x.nii"], "apply"), is_command(["apply", "out", "participant"], "apply")
    (True, False)
    """
    return list(argv[:1]) == [command] and (len(argv) == 1 or argv[1].startswith("-"))


def flag(group: argparse._ActionsContainer, *names: str, **options: Any) -> None:
    """Add an option under its names and under their spelling with underscores."""
    underscored = [f"--{name[2:].replace('-', '_')}" for name in names if "-" in name[2:]]
    group.add_argument(*names, *underscored, **options)


def folder(text: str) -> Path:
    """Read the path of a folder; an empty word is a variable that was not set, and not this folder."""
    if not text:
        msg = "expected the path of a folder, got an empty word (a variable that is not set?)"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a whole number of 1 or more, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
