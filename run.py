#!/usr/bin/env python3
"""BIDS App entry point: ``run.py BIDS_DIR OUTPUT_DIR {participant,group} [options]``.

Python looks for modules beside this file first, so a checkout runs its own code, installed or not.
"""

from __future__ import annotations

import sys

from bids_nodereg.cli import entry_point

if __name__ == "__main__":
    sys.exit(entry_point())
