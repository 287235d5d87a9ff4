"""Loaded by a dask scheduler of the tests: it then has another version of the program."""

from __future__ import annotations

from typing import Any

from bids_nodereg.app import dask_worker


def dask_setup(_scheduler: Any) -> None:
    """What dask calls in the scheduler."""
    dask_worker.__version__ = "0.0.1"
