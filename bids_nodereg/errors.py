"""Every error the program raises on purpose, each with the exit code it ends the run with.

The codes are those of the BIDS execution-spec draft (BEP027) and ``sysexits.h``. Only
:func:`bids_nodereg.cli.main` turns an error into text; everything below raises.
"""

from __future__ import annotations

from typing import ClassVar


class NodeRegError(Exception):
    """Base of all expected errors: one clear message, no traceback for the user.

    A message says what went wrong, where, what was got, what was expected, and what to do.
    """

    exit_code: ClassVar[int] = 1


class InvalidDatasetError(NodeRegError):
    """The input folder is not a BIDS data set."""

    exit_code = 16


class NothingSelectedError(NodeRegError):
    """The filters or labels left no image."""

    exit_code = 18


class UsageError(NodeRegError):
    """The command line or a configuration file asks for something that cannot be."""

    exit_code = 64


class DataError(NodeRegError):
    """An input file is there but its contents cannot be used."""

    exit_code = 65


class MissingInputError(NodeRegError):
    """Something needed is not there: no pair, a missing file, a template not available offline."""

    exit_code = 66


class OutputError(NodeRegError):
    """The output or work directory cannot be created or written."""

    exit_code = 73


class TemporaryError(NodeRegError):
    """A signal or a lost resource ended the run early; running it again may work."""

    exit_code = 75


class ShortOfMemoryError(NodeRegError):
    """A pair does not fit into the memory there is, in any way that it could be done."""

    exit_code = 1
