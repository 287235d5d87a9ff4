"""Exit codes are an interface: those of the BIDS execution-spec draft and sysexits.h."""

from __future__ import annotations

import os

import pytest

from bids_nodereg import errors
from bids_nodereg.errors import NodeRegError

CODES = {
    "InvalidDatasetError": 16,
    "NothingSelectedError": 18,
    "UsageError": 64,
    "DataError": 65,
    "MissingInputError": 66,
    "OutputError": 73,
    "TemporaryError": 75,
    "ShortOfMemoryError": 1,
}


def test_every_error_has_its_code_and_no_other_exists():
    found = {kind.__name__: kind.exit_code for kind in NodeRegError.__subclasses__()}
    assert {name: code for name, code in found.items() if name in vars(errors)} == CODES
    assert NodeRegError.exit_code == 1


def test_the_codes_are_those_of_sysexits():
    assert errors.UsageError.exit_code == os.EX_USAGE
    assert errors.DataError.exit_code == os.EX_DATAERR
    assert errors.MissingInputError.exit_code == os.EX_NOINPUT
    assert errors.OutputError.exit_code == os.EX_CANTCREAT
    assert errors.TemporaryError.exit_code == os.EX_TEMPFAIL


@pytest.mark.parametrize("name", CODES)
def test_an_error_is_its_message(name):
    assert str(vars(errors)[name]("what, where, what to do")) == "what, where, what to do"
