"""The sub-command ``demo``: the data that come with the program, registered as any other data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.arguments import LEVELS, OneLineParser, is_data_set
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMAND = "demo"
DATA = Path(__file__).parent / "data" / "demo"
TRUTH = DATA / "derivatives" / "truth"


def is_demo(argv: Sequence[str]) -> bool:
    """Tell the sub-command from a data set whose folder has its name (see :func:`is_data_set`).

    Examples
    --------
    >>> is_demo(["demo", "out"]), is_demo(["raw", "out", "participant"]), is_demo(["demo"])
    (True, False, True)
    """
    return list(argv[:1]) == [COMMAND] and not is_data_set(argv)


def demo_words(argv: Sequence[str]) -> list[str]:
    """Words of the ordinary command that stand for those of the sub-command.

    Parameters
    ----------
    argv
        The words after ``demo``: where to write, then any options of the ordinary command, which outweigh
        what the demo sets itself.

    Raises
    ------
    UsageError
        If the output folder is missing, a level of analysis is given, or the data set of a folder ``demo``
        here may be meant.
    SystemExit
        From argparse, for ``--help``.
    """
    output, others = list(argv[:1]), list(argv[1:])
    options = build_parser().parse_args(output)
    if others[:1] and others[0] in LEVELS:
        msg = f"{COMMAND} takes no level of analysis: leave out {others[0]!r}."
        raise UsageError(msg)
    if Path(COMMAND, "dataset_description.json").is_file():
        msg = (
            f"The folder {COMMAND} here is a data set. To register it, add 'participant' after OUTPUT_DIR. "
            "The demo that comes with the program is run from another folder."
        )
        raise UsageError(msg)
    ordinary = [str(DATA), str(options.output_dir), "participant", "--preset", "fast"]
    return [*ordinary, "--derivatives", f"truth={TRUTH}", *others]


def build_parser() -> argparse.ArgumentParser:
    """The one word of its own; all else is the ordinary command's."""
    parser = OneLineParser(
        prog=f"bids-nodereg {COMMAND}",
        usage="bids-nodereg demo OUTPUT_DIR [options]",
        description="Register the four pairs of simulated images that come with the program, with the preset "
        "fast (about half a minute each on two cores), and score them with their exact labels.",
        epilog="Options are those of the ordinary command, such as --participant-label 01; see bids-nodereg "
        "--help. A data set called 'demo' is told from this by the word participant or group.",
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path, help="where the results go")
    return parser
