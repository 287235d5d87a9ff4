"""Each test of bad input begins without the handlers that an earlier run in this process has left."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _own_log():
    logging.getLogger("nodereg").handlers.clear()
